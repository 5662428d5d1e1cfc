/**
 * Lists of peer memory know whose each range is, and what they are of is not freed while it is mapped; and what firmware
 * says of devices, on whole machines. [P2PDMA], [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy } from '#emu/base/units.ts';
import { PhyFlag, PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { PROVIDER_INDEX } from '#emu/dma/lists/range-layout.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { machine } from '#emu/host/machine.ts';
import type { MachineSpec } from '#emu/host/machine-spec.ts';
import { AddressSpace } from '#emu/host/memory/address-space.ts';
import { pinUserPages } from '#emu/host/memory/pinning.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { granted, MiB, PAGE } from '#test/support/user-rig.ts';

const { Bidirectional, ToDevice } = Direction;
const isChecker = (text: RegExp) => (error: unknown) =>
  error instanceof EmuError && error.code === 'CHECKER' && text.test(error.message);

function booted(spec: Partial<MachineSpec> = {}) {
  const names = ['client', 'a', 'b'];
  const rootPorts = names.map((name) => ({ device: barMemory(name, MiB) }));
  const made = machine({ checker: true, ...spec, rootPorts }).build({ fidelity: 'functional' });
  made.boot();
  made.kernel.run();
  const pool = (name: string) => granted(made.peerMemory.addResource(made.function(name).bdf, 0));
  return { made, client: made.function('client'), pool };
}

describe('ranges of peer memory', () => {
  it('carry their provider, wherever the list was made, and several in one list', () => {
    const { made, client, pool } = booted();
    const { peerMemory, mm, pins } = made;
    const list = new PhyRangeList().append(mm.allocate(PAGE), PAGE);
    for (const name of ['b', 'a']) {
      const part = granted(pool(name).allocateList(2 * PAGE));
      for (const { address, length, flags } of part) list.append(address, length, flags);
    }
    const owners = [...list].map(({ flags }) => peerMemory.providerOf(flags)?.owner ?? null);
    assert.deepEqual(owners, [null, made.function('b').bdf, made.function('a').bdf]);
    assert.ok(!isRefusal(client.dma.map(list, Bidirectional)));

    const provider = peerMemory.providerOf(list.flags(1))!;
    const request = { importer: 'client', peerMemory: true, onRevoke: () => {} };
    const range = { offset: MiB / 2, sizeBytes: PAGE };
    const lease = granted(provider.lease([range], request));
    assert.equal(peerMemory.providerOf(lease.list.flags(0)), provider);

    const space = new AddressSpace({ mm, pins });
    const user = granted(space.mapPeer(peerMemory.pool(provider.owner)!, PAGE));
    const pinned = granted(pinUserPages(space, user, PAGE, { peerMemory: true }));
    assert.equal(peerMemory.providerOf(pinned.flags(0)), provider);
    assert.equal(pinned.flags(0), PhyFlag.Pinned | PROVIDER_INDEX.of(provider.index));
    assert.ok(pinned.hold!.endsStrictly, 'a peer that leaves waits for the pin');
    const host = granted(space.mapAnonymous(PAGE));
    const plain = granted(pinUserPages(space, host, PAGE));
    assert.deepEqual([plain.flags(0), plain.hold!.endsStrictly], [PhyFlag.Pinned, false]);
    made.dispose();
  });

  it('of two providers side by side are not joined', () => {
    const list = new PhyRangeList();
    const at = (index: number) => PROVIDER_INDEX.of(index);
    const first = booted().made.mm.allocate(PAGE);
    list.append(first, PAGE, at(1)).append(offsetBy(first, PAGE), PAGE, at(2));
    assert.equal(list.count, 2);
  });
});

describe('allocations of peer memory', () => {
  it('are counted while they are mapped, in part too, and not freed until then', () => {
    const { made, client, pool } = booted();
    const peer = pool('a');
    const list = granted(peer.allocateList(2 * PAGE));
    const mapping = client.dma.map(list.slice(PAGE, PAGE), Bidirectional);
    assert.ok(!isRefusal(mapping));
    assert.equal(list.hold!.mappings, 1);
    const text =
      /free of peer memory with 1 mappings.*allocated at .*peer-lists.*wrong call at .*peer-lists/;
    assert.throws(() => peer.free(list.address(0), 2 * PAGE), isChecker(text));
    assert.equal(peer.availableBytes, MiB - 2 * PAGE);
    void client.dma.unmap(mapping);
    made.kernel.run();
    peer.free(list.address(0), 2 * PAGE);
    assert.equal(peer.availableBytes, MiB);
    assert.throws(() => client.dma.map(list, ToDevice), isChecker(/that was freed.*freed at/));
    // The next user of the pages has nothing to do with it.
    const next = granted(peer.allocateList(2 * PAGE));
    assert.ok(!isRefusal(client.dma.map(next, ToDevice)));
    made.dispose();
  });

  it('are not mapped once their device leaves, which waits for those that are', () => {
    const { made, client, pool } = booted();
    const peer = pool('a');
    const [one, two] = [granted(peer.allocateList(PAGE)), granted(peer.allocateList(PAGE))];
    const mapping = client.dma.map(one, Bidirectional);
    assert.ok(!isRefusal(mapping));
    const removed = made.peerMemory.remove(peer.owner);
    const answer = client.dma.map(two, Bidirectional);
    assert.ok(isRefusal(answer) && answer.refused === 'ENODEV');
    peer.free(two.address(0), PAGE);
    void client.dma.unmap(mapping);
    made.kernel.run();
    assert.equal(removed.done, false);
    peer.free(one.address(0), PAGE);
    assert.equal(removed.done, true);
    made.dispose();
  });
});

describe('scatterlists of a machine', () => {
  it('name peer memory that has pages, and no other', () => {
    const { made, client, pool } = booted({ dma: { provider: 'legacy' } });
    const bar = made.function('a').bar(0);
    const before = client.dma.map(PhyRangeList.of(bar.address, PAGE), ToDevice);
    assert.ok(isRefusal(before) && before.refused === 'EREMOTEIO');
    const list = granted(pool('a').allocateList(PAGE));
    const mapping = client.dma.map(list, ToDevice);
    assert.ok(!isRefusal(mapping), 'with pages');
    assert.equal(Number(mapping.ranges.address(0)), Number(list.address(0)));
    const beyond = PhyRangeList.of(made.function('b').bar(0).address, PAGE);
    assert.ok(isRefusal(client.dma.map(beyond, ToDevice)));
    made.dispose();
  });
});

describe('what firmware says of devices', () => {
  it('gives hostile ones copies of what is not whole pages, and strict unmaps', () => {
    const devices = { client: { untrusted: true } };
    const { made, client } = booted({ iommu: { flush: 'lazy' }, dma: { devices } });
    assert.equal(made.bounce, null);
    const used = made.mm.usedBytes;
    const at = made.mm.allocate(PAGE);
    const mapping = client.dma.map(PhyRangeList.of(offsetBy(at, 8), 100), Bidirectional);
    assert.ok(!isRefusal(mapping) && mapping.needsSync);
    assert.equal(made.bounce!.usedSlots, 2);
    assert.ok(made.mm.usedBytes > used + made.bounce!.sizeBytes, 'taken when it is needed');
    const done = client.dma.unmap(mapping);
    assert.equal(done.done, false);
    made.kernel.run();
    assert.deepEqual([done.done, made.bounce!.usedSlots], [true, 0]);
    const trusted = made.function('a').dma.map(PhyRangeList.of(offsetBy(at, 8), 100), ToDevice);
    assert.ok(!isRefusal(trusted) && !trusted.needsSync);
    made.dispose();
  });

  it('counts caches for those that are not coherent', () => {
    const { made, client } = booted({ dma: { devices: { client: { coherent: false } } } });
    const list = PhyRangeList.of(made.mm.allocate(PAGE), PAGE);
    assert.ok(!isRefusal(client.dma.map(list, ToDevice)));
    assert.deepEqual([client.dma.maintainedBytes, client.dma.traits.isCoherent], [PAGE, false]);
    made.dispose();
  });

  it('is checked, key by key', () => {
    const refused = (spec: Partial<MachineSpec>): string => {
      try {
        machine({ rootPorts: [{ device: barMemory('a', MiB) }], ...spec });
      } catch (error) {
        return error instanceof EmuError && error.code === 'USAGE' ? error.message : `${error}`;
      }
      return 'accepted';
    };
    const cases: readonly (readonly [Partial<MachineSpec>, RegExp])[] = [
      [{ dma: { devices: 5 as never } }, /^dma\.devices: expected an object by device name, got 5/],
      [{ dma: { devices: { a: 1 as never } } }, /^dma\.devices\.a: expected an object, got 1/],
      [
        { dma: { devices: { a: { coherent: 1 as never } } } },
        /^dma\.devices\.a\.coherent: expected true or false, got 1/,
      ],
      [{ dma: { devices: { a: { untrusted: true } } } }, /^dma\.devices\.a\.untrusted: .*IOMMU/],
      [
        { iommu: true, dma: { provider: 'direct', devices: { a: { untrusted: true } } } },
        /^dma\.devices\.a\.untrusted: /,
      ],
      [{ dma: { provider: 'legacy', devices: {} } }, /^dma\.devices: .*'legacy'/],
      [{ iommu: true, dma: { devices: { a: { untrusted: true } } } }, /^accepted/],
    ];
    for (const [spec, text] of cases) assert.match(refused(spec), text);
  });
});

describe('a driver that lets go of its addresses', () => {
  it('gets others the next time', () => {
    const { made, client } = booted({ iommu: true });
    const list = PhyRangeList.of(made.mm.allocate(PAGE), PAGE);
    const first = client.dma;
    assert.ok(!isRefusal(first.map(list, ToDevice)));
    const failed = made.kernel.spawn('detach', client.detachDma());
    assert.throws(
      () => {
        made.kernel.run();
        failed.value;
      },
      isChecker(/detach with 1 mappings/),
    );
    made.dispose();
  });

  it('when nothing is mapped', () => {
    const { made, client } = booted({ iommu: true });
    const list = PhyRangeList.of(made.mm.allocate(PAGE), PAGE);
    const first = client.dma;
    const mapping = first.map(list, ToDevice);
    assert.ok(!isRefusal(mapping));
    void first.unmap(mapping);
    const done = made.kernel.spawn('detach', client.detachDma());
    made.kernel.run();
    assert.ok(done.done);
    assert.notEqual(client.dma, first);
    assert.ok(!isRefusal(client.dma.map(list, ToDevice)));
    made.dispose();
  });
});
