/**
 * Peer memory: what may be added to a pool, pages counted one by one, the nearest provider, and any use of a
 * pool against a plain model.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Bdf, bdf, offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { unpinUserPages } from '#emu/host/memory/pinning.ts';
import type { PeerMemory } from '#emu/host/peer/peer-memory.ts';
import type { PeerPool } from '#emu/host/peer/peer-pool.ts';
import { throwsCode } from '#test/support/usage-error.ts';
import {
  after,
  BUS_OFFSET,
  Device,
  DRIVE_BAR,
  GPU_BAR,
  granted,
  MiB,
  PAGE,
  peerRig,
  pinned,
  rangesOf,
  refusedCode,
  userSpace,
} from '#test/support/user-rig.ts';

const { gpu, drive, nic, far } = Device;

describe('providers', () => {
  it('stand for a memory BAR, one each, with the offset to the bus', () => {
    const { peers } = peerRig();
    const provider = granted(peers.provider(gpu, 0));
    assert.deepEqual(
      [provider.owner, provider.bar, provider.base, provider.sizeBytes, provider.busOffset],
      [gpu, 0, GPU_BAR, 16 * MiB, BUS_OFFSET],
    );
    assert.equal(provider.busAddress(offsetBy(GPU_BAR, 5)), GPU_BAR + 5 + BUS_OFFSET);
    assert.deepEqual([provider.holds(GPU_BAR), provider.holds(DRIVE_BAR)], [true, false]);
    assert.equal(peers.provider(gpu, 0), provider);
    assert.notEqual(peers.provider(gpu, 2), provider);
  });

  it('are refused for anything else with EINVAL', () => {
    const { peers } = peerRig();
    assert.equal(refusedCode(peers.provider(gpu, 1)), 'EINVAL');
    assert.equal(refusedCode(peers.provider(bdf(9, 0, 0), 0)), 'EINVAL');
  });
});

describe('pools', () => {
  it('take what is added: whole pages in the BAR, once', () => {
    const { peers } = peerRig();
    const add = (sizeBytes: number, offset: number, bar = 0): string | PeerPool => {
      const result = peers.addResource(gpu, bar, { sizeBytes, offset });
      return 'refused' in result ? result.refused : result;
    };
    assert.equal(add(0, 0, 1), 'EINVAL');
    assert.equal(add(PAGE, 16 * MiB), 'EINVAL');
    assert.equal(add(2 * PAGE, 16 * MiB - PAGE), 'EINVAL');
    assert.equal(add(0, 17 * MiB), 'EINVAL');
    assert.equal(add(100, 0), 'EINVAL');
    assert.equal(add(PAGE, 512), 'EINVAL');
    assert.equal(peers.pool(gpu), null);
    const pool = add(4 * PAGE, PAGE);
    assert.equal(peers.pool(gpu), pool);
    assert.equal(add(2 * PAGE, 4 * PAGE), 'EBUSY');
    assert.equal(add(0, 16 * MiB - PAGE), pool);
    assert.equal(add(0, 0, 2), pool);
    assert.equal(peers.pool(gpu)!.sizeBytes, 5 * PAGE + 64 * 1024);
  });

  it('give contiguous pages until there are none, and take them back page by page', () => {
    const pool = granted(peerRig().peers.addResource(gpu, 0, { sizeBytes: 4 * PAGE }));
    const two = granted(pool.allocate(PAGE + 1));
    const one = granted(pool.allocate(PAGE));
    assert.deepEqual([two, one], [GPU_BAR, GPU_BAR + 2 * PAGE]);
    assert.equal(pool.availableBytes, PAGE);
    assert.equal(refusedCode(pool.allocate(2 * PAGE)), 'ENOMEM');
    assert.equal(refusedCode(pool.allocate(0)), 'EINVAL');
    pool.free(one, PAGE);
    assert.equal(pool.allocate(2 * PAGE), one);
    pool.free(offsetBy(two, PAGE), PAGE);
    assert.equal(pool.allocate(PAGE), two + PAGE);
    throwsCode('INVARIANT', /dropped but not held/, () => {
      pool.free(one, 2 * PAGE);
      pool.free(one, PAGE);
    });
    throwsCode('INVARIANT', /not in this pool/, () => pool.free(physAddr(0), PAGE));
  });

  it('give lists of one range and bus addresses', () => {
    const pool = granted(peerRig().peers.addResource(gpu, 0));
    assert.deepEqual(rangesOf(granted(pool.allocateList(5000))), [[GPU_BAR, 5000]]);
    assert.equal(pool.busAddress(GPU_BAR), GPU_BAR + BUS_OFFSET);
    assert.equal(refusedCode(pool.allocateList(17 * MiB)), 'ENOMEM');
  });

  it('can be published when there is memory', () => {
    const { peers } = peerRig();
    assert.equal(refusedCode(peers.publish(gpu)), 'ENODEV');
    const pool = granted(peers.addResource(gpu, 0));
    assert.equal(peers.publish(gpu), null);
    assert.equal(pool.isPublished, true);
    peers.publish(gpu, false);
    assert.equal(pool.isPublished, false);
  });
});

describe('user mappings of peer memory', () => {
  it('hold pages until the last mapping and the last pin are gone', () => {
    const pool = granted(peerRig().peers.addResource(gpu, 0, { sizeBytes: 8 * PAGE }));
    const space = userSpace();
    const at = granted(space.mapPeer(pool, 3 * PAGE));
    const again = granted(space.mapPeer(pool, PAGE, { address: offsetBy(GPU_BAR, 2 * PAGE) }));
    assert.equal(space.translate(again), GPU_BAR + 2 * PAGE);
    assert.equal(pool.availableBytes, 5 * PAGE);
    const list = pinned(space, after(at, PAGE), PAGE, { peerMemory: true });
    space.unmap(at, 3 * PAGE);
    assert.equal(pool.availableBytes, 6 * PAGE);
    unpinUserPages(space, list);
    assert.equal(pool.availableBytes, 7 * PAGE);
    space.dispose();
    assert.equal(pool.availableBytes, 8 * PAGE);
  });

  it('are refused as the pool refuses, and leave nothing behind', () => {
    const pool = granted(peerRig().peers.addResource(gpu, 0, { sizeBytes: 2 * PAGE }));
    const space = userSpace();
    assert.equal(refusedCode(space.mapPeer(pool, 3 * PAGE)), 'ENOMEM');
    assert.equal(refusedCode(space.mapPeer(pool, PAGE, { address: GPU_BAR })), 'EINVAL');
    assert.equal(refusedCode(space.mapPeer(pool, PAGE, { address: DRIVE_BAR })), 'EINVAL');
    const at = space.mapAnonymous(PAGE);
    throwsCode('USAGE', /overlaps/, () => space.mapPeer(pool, PAGE, { at }));
    assert.equal(pool.availableBytes, 2 * PAGE);
    throwsCode('USAGE', /memory of a device/, () => {
      space.write(granted(space.mapPeer(pool, PAGE)), new Uint8Array(1));
    });
  });
});

describe('the nearest provider', () => {
  const offerAll = (peers: PeerMemory, owners: readonly Bdf[]): void => {
    for (const owner of owners) {
      granted(peers.addResource(owner, owner === drive ? 4 : 0));
      peers.publish(owner);
    }
  };

  it('has the least sum of distances to all clients', () => {
    const { peers } = peerRig(true);
    offerAll(peers, [far, gpu]);
    assert.equal(peers.distance(gpu, [nic]), 4);
    assert.equal(peers.distance(gpu, [nic, drive, gpu]), 8);
    assert.equal(peers.findNearest([nic, drive])?.owner, gpu);
    assert.equal(peers.findNearest([far])?.owner, far);
  });

  it('does not exist for no client, or when one of them cannot reach it', () => {
    const { peers } = peerRig(false);
    offerAll(peers, [gpu, drive]);
    assert.equal(peers.distance(gpu, []), -1);
    assert.equal(peers.findNearest([]), null);
    assert.equal(peers.distance(gpu, [nic, far]), -1);
    assert.equal(peers.findNearest([nic, far]), null);
    assert.equal(peers.distance(gpu, [bdf(9, 0, 0)]), -1);
    peers.publish(gpu, false);
    assert.equal(peers.findNearest([nic])?.owner, drive);
    peers.publish(drive, false);
    assert.equal(peers.findNearest([nic]), null);
  });

  it('is any of those equally near, the same for the same seed', () => {
    const choices = (seed: number): (Bdf | undefined)[] => {
      const { peers } = peerRig(true, seed);
      offerAll(peers, [far, gpu, drive]);
      return Array.from({ length: 40 }, () => peers.findNearest([nic])?.owner);
    };
    assert.deepEqual(choices(3), choices(3));
    assert.notDeepEqual(choices(3), choices(4));
    assert.deepEqual(new Set(choices(3)), new Set([gpu, drive]));
  });
});

/** What may happen to a pool; numbers choose among what there is. */
const stepArbitrary = fc.record({
  kind: fc.constantFrom('allocate', 'free', 'map', 'unmap', 'pin', 'unpin'),
  pages: fc.integer({ min: 1, max: 5 }),
  which: fc.nat(20),
});
type Step = typeof stepArbitrary extends fc.Arbitrary<infer S> ? S : never;

/** Everything that refers to pages of a pool. */
class Users {
  readonly space = userSpace();
  readonly pool: PeerPool;
  readonly own: [PhysAddr, number][] = [];
  readonly mapped: [ReturnType<typeof after>, number][] = [];
  readonly pins: PhyRangeList[] = [];

  constructor(pool: PeerPool) {
    this.pool = pool;
  }

  apply({ kind, pages, which }: Step): void {
    const size = pages * PAGE;
    const pick = <T>(from: T[]): T | undefined => from[which % from.length];
    const take = <T>(from: T[]): T | undefined => from.splice(which % from.length, 1)[0];
    if (kind === 'allocate') {
      const address = this.pool.allocate(size);
      if (typeof address === 'number') this.own.push([address, size]);
    } else if (kind === 'map') {
      const at = this.space.mapPeer(this.pool, size);
      if (typeof at === 'number') this.mapped.push([at, size]);
    } else if (kind === 'pin') {
      const area = pick(this.mapped);
      if (area) this.pins.push(pinned(this.space, area[0], area[1], { peerMemory: true }));
    } else if (kind === 'free') this.free(take(this.own));
    else if (kind === 'unmap') this.unmap(take(this.mapped));
    else this.unpin(take(this.pins));
  }

  /** Pages that anything refers to. */
  get usedPages(): number {
    const pages = new Set<number>();
    const add = (address: number, size: number): void => {
      for (let at = address; at < address + size; at += PAGE) pages.add(at);
    };
    for (const [address, size] of this.own) add(address, size);
    for (const [at, size] of this.mapped) add(this.space.translate(at)!, size);
    for (const list of this.pins) add(list.address(0), list.sizeBytes);
    return pages.size;
  }

  endAll(): void {
    for (const entry of this.own.splice(0)) this.free(entry);
    for (const entry of this.mapped.splice(0)) this.unmap(entry);
    for (const list of this.pins.splice(0)) this.unpin(list);
  }

  free(entry: [PhysAddr, number] | undefined): void {
    if (entry) this.pool.free(...entry);
  }
  unmap(entry: [ReturnType<typeof after>, number] | undefined): void {
    if (entry) this.space.unmap(...entry);
  }
  unpin(list: PhyRangeList | undefined): void {
    if (list) unpinUserPages(this.space, list);
  }
}

describe('any use of a pool', () => {
  it('keeps account of every page, and a removal ends exactly when nothing is left', () => {
    const check = (steps: Step[]): void => {
      const { peers } = peerRig();
      const users = new Users(granted(peers.addResource(gpu, 0, { sizeBytes: 32 * PAGE })));
      for (const step of steps) {
        users.apply(step);
        assert.equal(users.pool.availableBytes, (32 - users.usedPages) * PAGE);
      }
      const done = peers.remove(gpu);
      users.mapped.length = 0;
      assert.equal(done.done, users.usedPages === 0);
      users.endAll();
      assert.equal(done.done, true);
    };
    const steps = fc.array(stepArbitrary, { minLength: 5, maxLength: 60 });
    fc.assert(fc.property(steps, check), { numRuns: 60 });
  });
});
