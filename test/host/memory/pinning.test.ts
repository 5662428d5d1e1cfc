/**
 * Pinning: lists cover exactly the bytes in order, counts balance, every refusal, and every wrong use caught with the
 * places of the pin and of the wrong call.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { physAddr } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyFlag, PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { siteOf } from '#emu/host/call-site.ts';
import { AddressSpace } from '#emu/host/memory/address-space.ts';
import { Access } from '#emu/host/memory/area-map.ts';
import { PageBytes } from '#emu/host/memory/page-tables.ts';
import { PinLedger } from '#emu/host/memory/pin-ledger.ts';
import { type PinFlags, pinUserPages, unpinUserPages } from '#emu/host/memory/pinning.ts';
import { USER_LIMIT, type UserAddr, userAddr } from '#emu/host/memory/user-address.ts';
import { throwsCode } from '#test/support/usage-error.ts';
import {
  after,
  Device,
  DRIVE_BAR,
  GiB,
  GPU_BAR,
  granted,
  KiB,
  MiB,
  PAGE,
  peerRig,
  pinned,
  rangesOf,
  refusedCode,
  userHost,
  userSpace,
} from '#test/support/user-rig.ts';

/** Pins of the page behind a user address. */
function pinsAt(space: AddressSpace, at: UserAddr): number {
  return space.keeperOf(space.areaAt(at)!)!.pinsAt(space.translate(at)!);
}

describe('a pinned list', () => {
  it('is one range for contiguous memory, partial at both ends', () => {
    const space = userSpace();
    const at = space.mapAnonymous(64 * KiB);
    const list = pinned(space, after(at, 100), 3 * PAGE, { write: true });
    const first = space.translate(after(at, 100))!;
    assert.deepEqual(rangesOf(list), [[first, 3 * PAGE]]);
    assert.equal(list.flags(0), PhyFlag.Pinned);
    assert.equal(space.residentBytes, 4 * PAGE);
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => pinsAt(space, after(at, i * PAGE))),
      [1, 1, 1, 1],
    );
    assert.equal(space.host.pins.pinnedBytes, 3 * PAGE);
    unpinUserPages(space, list);
    assert.equal(pinsAt(space, at), 0);
    assert.deepEqual([space.host.pins.pinnedBytes, space.host.pins.live.length], [0, 0]);
  });

  it('has a range a page where memory is scattered', () => {
    const space = userSpace(2 * GiB, { runBytes: PAGE });
    const at = space.mapAnonymous(GiB);
    const list = pinned(space, after(at, 512), GiB - 1024);
    assert.deepEqual([list.count, list.sizeBytes], [2 ** 18, GiB - 1024]);
    assert.deepEqual([list.length(0), list.length(2 ** 18 - 1)], [PAGE - 512, PAGE - 512]);
    assert.equal(list.address(777), space.translate(after(at, 777 * PAGE)));
    unpinUserPages(space, list);
    space.dispose();
    assert.equal(space.host.mm.usedBytes, 0);
  });

  it('joins large pages, across lists split at 4 GiB, and counts each of them once', () => {
    const space = userSpace(8 * GiB);
    const at = space.mapAnonymous(6 * GiB, { pageBytes: PageBytes.Giant });
    const list = pinned(space, at, 6 * GiB);
    assert.deepEqual(
      rangesOf(list).map(([, length]) => length),
      [4 * GiB - PAGE, 2 * GiB + PAGE],
    );
    for (let i = 0; i < 6; i++) assert.equal(pinsAt(space, after(at, i * GiB)), 1);
    unpinUserPages(space, list);
    for (let i = 0; i < 6; i++) assert.equal(pinsAt(space, after(at, i * GiB)), 0);
  });

  it('goes across areas of all page sizes', () => {
    const space = userSpace();
    const at = userAddr(GiB);
    space.mapAnonymous(2 * MiB, { at, pageBytes: PageBytes.Large });
    space.mapAnonymous(2 * PAGE, { at: after(at, 2 * MiB) });
    const list = pinned(space, after(at, MiB), MiB + PAGE + 1);
    assert.equal(list.sizeBytes, MiB + PAGE + 1);
    assert.equal(list.address(0), space.translate(after(at, MiB)));
    unpinUserPages(space, list);
  });

  it('stays where it is after its area is unmapped, until it is unpinned', () => {
    const host = userHost();
    const space = new AddressSpace(host);
    const at = space.mapAnonymous(8 * PAGE);
    space.fill(at, 8 * PAGE, 0x5a);
    const list = pinned(space, after(at, PAGE), 2 * PAGE);
    space.dispose();
    assert.equal(space.usedBytes, 2 * PAGE);
    const again = space.mapAnonymous(MiB, { populate: true });
    space.fill(again, MiB, 0x11);
    const bytes = new Uint8Array(2 * PAGE);
    host.memory.read(list.address(0), bytes);
    assert.deepEqual(bytes, new Uint8Array(2 * PAGE).fill(0x5a));
    space.dispose();
    unpinUserPages(space, list);
    assert.deepEqual([host.mm.usedBytes, host.memory.residentBytes], [0, 0]);
  });
});

describe('pinned memory', () => {
  it('can be pinned several times', () => {
    const space = userSpace();
    const at = space.mapAnonymous(PAGE);
    const lists = [1, 2, 3].map(() => pinned(space, at, PAGE));
    assert.equal(pinsAt(space, at), 3);
    for (const list of lists) unpinUserPages(space, list);
    assert.equal(pinsAt(space, at), 0);
  });

  it('mixes host and peer memory, never joining that of two providers', () => {
    const { peers } = peerRig();
    const space = userSpace();
    const gpu = granted(peers.addResource(Device.gpu, 0));
    const drive = granted(peers.addResource(Device.drive, 4));
    gpu.allocate(16 * MiB - PAGE);
    const at = space.mapAnonymous(PAGE);
    space.mapPeer(gpu, PAGE, { at: after(at, PAGE) });
    space.mapPeer(drive, PAGE, { at: after(at, 2 * PAGE) });
    const list = pinned(space, at, 3 * PAGE, { peerMemory: true });
    assert.deepEqual(rangesOf(list).slice(1), [
      [GPU_BAR + 16 * MiB - PAGE, PAGE],
      [DRIVE_BAR, PAGE],
    ]);
    assert.deepEqual([gpu.pinsAt(DRIVE_BAR - 1), drive.pinsAt(DRIVE_BAR)], [1, 1]);
    space.dispose();
    assert.equal(gpu.availableBytes, 0);
    unpinUserPages(space, list);
    assert.deepEqual([gpu.availableBytes, drive.availableBytes], [PAGE, 2 * MiB]);
  });
});

describe('pinning is refused', () => {
  const refused = (
    space: AddressSpace,
    at: UserAddr,
    sizeBytes: number,
    flags?: PinFlags,
  ): [code: string, address: number | undefined] => {
    const result = pinUserPages(space, at, sizeBytes, flags);
    assert.equal(space.host.pins.live.length, 0);
    return [refusedCode(result), 'address' in result ? Number(result.address) : undefined];
  };

  it('at holes, with EFAULT and the first address that cannot be pinned', () => {
    const space = userSpace();
    const at = space.mapAnonymous(2 * PAGE);
    assert.deepEqual(refused(space, at, 2 * PAGE + 1), ['EFAULT', at + 2 * PAGE]);
    assert.deepEqual(refused(space, userAddr(4096), 1), ['EFAULT', 4096]);
    assert.deepEqual(refused(space, userAddr(USER_LIMIT), 1), ['EFAULT', USER_LIMIT]);
    assert.equal(space.residentBytes, 0);
  });

  it('without the rights, with EFAULT', () => {
    const space = userSpace();
    const at = space.mapAnonymous(2 * PAGE, { access: Access.Read });
    assert.deepEqual(refused(space, at, 1, { write: true }), ['EFAULT', at]);
    unpinUserPages(space, pinned(space, at, 1));
    space.protect(after(at, PAGE), PAGE, Access.None);
    assert.deepEqual(refused(space, at, 2 * PAGE), ['EFAULT', at + PAGE]);
  });

  it('for device addresses without a provider, with EFAULT even when peer memory is welcome', () => {
    const space = userSpace();
    const at = space.mapDevice(GPU_BAR, PAGE);
    assert.deepEqual(refused(space, at, 8, { peerMemory: true }), ['EFAULT', at]);
  });

  it('for peer memory, with EREMOTEIO without the flag and EINVAL for long', () => {
    const space = userSpace();
    const pool = granted(peerRig().peers.addResource(Device.gpu, 0));
    const at = granted(space.mapPeer(pool, 2 * PAGE, { access: Access.Read }));
    const peerMemory = true;
    assert.deepEqual(refused(space, after(at, 8), 8), ['EREMOTEIO', at + 8]);
    assert.deepEqual(refused(space, at, 8, { longterm: true }), ['EREMOTEIO', at]);
    assert.deepEqual(refused(space, at, 8, { longterm: true, peerMemory }), ['EINVAL', at]);
    assert.deepEqual(refused(space, at, 8, { write: true, peerMemory }), ['EFAULT', at]);
    unpinUserPages(space, pinned(space, at, 2 * PAGE, { peerMemory }));
    const host = space.mapAnonymous(PAGE);
    unpinUserPages(space, pinned(space, host, PAGE, { longterm: true }));
  });

  it('when host memory runs out, with ENOMEM', () => {
    const space = userSpace(MiB);
    const at = space.mapAnonymous(2 * MiB);
    assert.deepEqual(refused(space, at, 2 * MiB), ['ENOMEM', at + MiB]);
    space.dispose();
    assert.equal(space.host.mm.usedBytes, 0);
  });

  it('and what is no range of user addresses is an error', () => {
    const space = userSpace();
    const at = space.mapAnonymous(PAGE);
    throwsCode('USAGE', /positive number of bytes, got 0/, () => pinUserPages(space, at, 0));
    throwsCode('USAGE', /positive number/, () => pinUserPages(space, at, 1.5));
    throwsCode('USAGE', /user address, got -1/, () => pinUserPages(space, userAddr(-1), 1));
    throwsCode('USAGE', /unpin: expected a PhyRangeList, got DmaRangeList/, () => {
      // @ts-expect-error: a list of DMA ranges is refused by the compiler too.
      unpinUserPages(space, new DmaRangeList());
    });
  });
});

/** Asserts a checker's error that names `places` different lines of this file. */
function caught(message: RegExp, places: number, attempt: () => void): void {
  assert.throws(attempt, (error) => {
    assert.ok(error instanceof EmuError && error.code === 'CHECKER', String(error));
    assert.match(error.message, message);
    const sites = error.message.match(/pinning\.test\.ts:\d+/g) ?? [];
    assert.equal(new Set(sites).size, places, error.message);
    assert.match(String(error.detail.callSite), /pinning\.test\.ts:\d+:\d+/);
    return true;
  });
}
const setUp = () => {
  const space = userSpace();
  const at = space.mapAnonymous(4 * PAGE);
  const list = pinUserPages(space, at, 4 * PAGE);
  if ('refused' in list) throw new Error(list.reason);
  return { space, at, list };
};

describe('wrong use of a pin', () => {
  it('is caught: unpin twice, naming the pin, the first unpin and the second', () => {
    const { space, list } = setUp();
    unpinUserPages(space, list);
    caught(
      /second unpin of a list; 16384 bytes at .* of process, pinned at .*; unpinned first/,
      3,
      () => unpinUserPages(space, list),
    );
  });

  it('is caught: unpin of a part, with the whole still pinned', () => {
    const { space, at, list } = setUp();
    caught(/unpin of a part of a pinned list, 4096 of 16384 bytes/, 2, () =>
      unpinUserPages(space, list.slice(PAGE, PAGE)),
    );
    assert.equal(pinsAt(space, at), 1);
    unpinUserPages(space, list);
  });

  it('is caught: unpin of a list that grew', () => {
    const { space, list } = setUp();
    list.append(physAddr(0x1000), PAGE, PhyFlag.Pinned);
    caught(/unpin of a list changed from 1 of 16384 to 2 ranges of 20480 bytes/, 2, () =>
      unpinUserPages(space, list),
    );
  });

  it('is caught: unpin while mapped for a device', () => {
    const { space, at, list } = setUp();
    const hold = list.hold!;
    assert.equal(hold.admit(), null);
    assert.deepEqual([hold.isRevoked, hold.isWritable, hold.mappings], [false, false, 0]);
    hold.mapped();
    hold.mapped();
    hold.unmapped();
    caught(/unpin of a list with 1 mappings not yet unmapped/, 2, () =>
      unpinUserPages(space, list),
    );
    assert.equal(pinsAt(space, at), 1);
    hold.unmapped();
    caught(/unmap of a pinned list that is not mapped/, 2, () => hold.unmapped());
    unpinUserPages(space, list);
    caught(/map of a list that is not pinned any more/, 3, () => hold.admit());
  });

  it('is caught: unpin of what nobody pinned', () => {
    const { space, list } = setUp();
    caught(/unpin of a list that was not pinned/, 1, () =>
      unpinUserPages(space, PhyRangeList.of(list.address(0), PAGE)),
    );
    caught(/not pinned/, 1, () => {
      unpinUserPages(space, PhyRangeList.of(physAddr(0), PAGE, PhyFlag.Pinned));
    });
    caught(/not pinned/, 1, () => unpinUserPages(space, new PhyRangeList()));
  });

  it('shows in the account of live pins', () => {
    const { space } = setUp();
    const [pin] = space.host.pins.live;
    assert.match(
      String(pin),
      /^16384 bytes at 0x\w+ of process, pinned at .*pinning\.test\.ts:\d+/,
    );
    assert.deepEqual([pin?.isLive, pin?.isWritable], [true, false]);
  });

  it('is reported without places when they are not recorded', () => {
    const space = new AddressSpace({ ...userHost(), pins: new PinLedger() });
    const list = pinned(space, space.mapAnonymous(PAGE), PAGE);
    unpinUserPages(space, list);
    throwsCode('CHECKER', /second unpin .* an unknown place/, () => unpinUserPages(space, list));
  });
});

describe('call sites', () => {
  it('are the nearest frame outside host and DMA software', () => {
    const stack = String(new Error('x').stack).split('\n')[1] ?? '';
    const own = stack.replace('/test/host/', '/src/host/');
    assert.notEqual(own, stack);
    const outside = '    at drive (file:///there/driver.ts:3:4)';
    assert.equal(siteOf(`Error\n${own}\n${outside}`), 'drive (/there/driver.ts:3:4)');
    assert.match(siteOf(`Error\n${own}`), /src\/host\/memory\/pinning/);
    assert.equal(siteOf('Error'), 'an unknown place');
  });
});

/** Two areas side by side, one of them of large pages, and pins and unmappings in any order. */
const pinArbitrary = fc.record({
  offset: fc.nat(5 * MiB),
  sizeBytes: fc.oneof(fc.integer({ min: 1, max: 3 * PAGE }), fc.integer({ min: 1, max: MiB })),
  unpinAt: fc.option(fc.nat(30)),
});

describe('any sequence of pins', () => {
  /** Every byte of the list is the one that the process sees there, in order. */
  function coversInOrder(space: AddressSpace, at: UserAddr, list: PhyRangeList): void {
    let done = 0;
    let end = -1;
    for (const { address, length, flags } of list) {
      assert.equal(flags, PhyFlag.Pinned);
      assert.notEqual(address, end, 'two ranges that continue each other');
      for (let i = 0; i < length; i += PAGE - ((address + i) % PAGE)) {
        assert.equal(space.translate(after(at, done + i)), address + i);
      }
      assert.equal(space.translate(after(at, done + length - 1)), address + length - 1);
      done += length;
      end = address + length;
    }
    assert.equal(done, list.sizeBytes);
  }

  it('covers exactly the bytes, balances the counts and leaves nothing', () => {
    const check = (
      steps: { offset: number; sizeBytes: number; unpinAt: number | null }[],
      runBytes: number,
    ) => {
      const space = userSpace(64 * MiB, { runBytes });
      const base = userAddr(GiB);
      space.mapAnonymous(4 * MiB, { at: base, pageBytes: PageBytes.Large });
      space.mapAnonymous(2 * MiB, { at: after(base, 4 * MiB) });
      const live: PhyRangeList[] = [];
      for (const { offset, sizeBytes, unpinAt } of steps) {
        const list = pinned(space, after(base, offset), sizeBytes);
        coversInOrder(space, after(base, offset), list);
        assert.equal(list.sizeBytes, sizeBytes);
        live.push(list);
        if (unpinAt !== null) unpinUserPages(space, live.splice(unpinAt % live.length, 1)[0]!);
      }
      const sum = live.reduce((bytes, list) => bytes + list.sizeBytes, 0);
      assert.equal(space.host.pins.pinnedBytes, sum);
      space.dispose();
      for (const list of live) unpinUserPages(space, list);
      assert.deepEqual([space.usedBytes, space.host.mm.usedBytes], [0, 0]);
    };
    const steps = fc.array(pinArbitrary, { maxLength: 25 });
    fc.assert(fc.property(steps, fc.constantFrom(PAGE, 16 * KiB, MiB), check), { numRuns: 40 });
  });
});
