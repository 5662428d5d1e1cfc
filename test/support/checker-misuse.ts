/**
 * The least wrong use for each class of the checker's reports, and as what dma-debug reports it. Builds; asserts nothing but
 * that mapping works. [DMAAPI] @module
 */
import assert from 'node:assert/strict';
import { dmaAddr, offsetBy, physAddr } from '#emu/base/units.ts';
import { DmaChecker } from '#emu/dma/checker/checker.ts';
import type { CheckerClass } from '#emu/dma/checker/checker-class.ts';
import { DmaAttr } from '#emu/dma/dma-attr.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { RequestIterator } from '#emu/dma/iova/request-iterator.ts';
import { MAPPING_ERROR, SingleMapper } from '#emu/dma/iova/single-mapper.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { CLIENT, FakeView, IommuDriverRig, threePorts } from '#test/support/dma-rig.ts';

export const HOST = physAddr(2 ** 36);
export const PAGE = 4096;
export const PATH = 'rc0.port0.dev0';
const { ToDevice, FromDevice, Bidirectional } = Direction;
const { SkipCpuSync } = DmaAttr;
export const page = (at = 0, sizeBytes = PAGE): PhyRangeList =>
  PhyRangeList.of(offsetBy(HOST, at), sizeBytes);

/** A checked function, behind an IOMMU or not; its call sites are numbered in the order of the calls. */
export class CheckedBench {
  readonly rig = new IommuDriverRig();
  readonly device;
  readonly singles;
  readonly checker: DmaChecker;

  constructor(limits: Partial<DmaLimits> = {}, isDirect = false) {
    const { kernel } = this.rig.host;
    const direct = new DirectProvider({ kernel, view: new FakeView(threePorts()) });
    this.device = isDirect ? direct.device(CLIENT, limits) : this.rig.device;
    this.singles = new SingleMapper(this.device);
    let calls = 0;
    const here = (): object => {
      const name = `site${calls++}`;
      return { toString: () => name };
    };
    const memory = { base: 0, sizeBytes: 2 ** 40 };
    this.checker = new DmaChecker({ kernel, here, onError: 'collect', memory });
    this.checker.attach(this.device, PATH, limits);
  }

  map(list: PhyRangeList, direction: Direction = Bidirectional, attrs = 0): DmaMapping {
    const mapping = this.device.map(list, direction, attrs);
    return isRefusal(mapping) ? assert.fail(mapping.reason) : mapping;
  }

  single(direction: Direction = Bidirectional, attrs = 0) {
    const address = this.singles.map(HOST, PAGE, direction, attrs);
    assert.equal(this.singles.mappingError(address), null);
    return address;
  }

  state(): IovaState {
    const state = new IovaState(this.device);
    assert.ok(state.tryAlloc(HOST, 2 * PAGE));
    assert.equal(state.link(HOST, 0, 2 * PAGE, ToDevice), null);
    return state;
  }

  access(address: number, isWrite: boolean): void {
    this.checker.accessed(PATH, dmaAddr(address), 64, isWrite);
  }
}

export interface Misuse {
  readonly kind: CheckerClass;
  /** As dma-debug says it; or why it says nothing. */
  readonly linux: string;
  readonly limits?: Partial<DmaLimits>;
  readonly isDirect?: boolean;
  readonly misuse: (bench: CheckedBench) => void;
}

const UNSEEN = '(not seen by dma-debug)';

export const MISUSES: readonly Misuse[] = [
  {
    kind: 'invalid-address',
    linux: 'free an invalid DMA memory address',
    misuse: ({ singles }) => void singles.unmap(MAPPING_ERROR, PAGE, ToDevice),
  },
  {
    kind: 'not-mapped',
    linux: 'free DMA memory it has not allocated: never',
    misuse: ({ singles }) => void singles.unmap(dmaAddr(0x1000), PAGE, ToDevice),
  },
  {
    kind: 'not-mapped',
    linux: 'free DMA memory it has not allocated: already freed',
    misuse: (bench) => {
      const address = bench.single(ToDevice);
      void bench.singles.unmap(address, PAGE, ToDevice);
      void bench.singles.unmap(address, PAGE, ToDevice);
    },
  },
  {
    kind: 'not-mapped',
    linux: 'the same, a list',
    misuse: (bench) => {
      const mapping = bench.map(page());
      void bench.device.unmap(mapping);
      void bench.device.unmap(mapping);
    },
  },
  {
    kind: 'not-mapped',
    linux: 'sync DMA memory it has not allocated',
    misuse: ({ singles }) => singles.sync(dmaAddr(0x1000), PAGE, ToDevice, 'cpu'),
  },
  {
    kind: 'not-mapped',
    linux: `two-step, not linked ${UNSEEN}`,
    misuse: (bench) => {
      const state = bench.state();
      void state.unlink(0, PAGE);
      void state.unlink(0, PAGE);
    },
  },
  {
    kind: 'other-size',
    linux: 'free DMA memory with different size',
    misuse: (bench) => void bench.singles.unmap(bench.single(ToDevice), 2 * PAGE, ToDevice),
  },
  {
    kind: 'other-size',
    linux: `two-step ${UNSEEN}`,
    misuse: (bench) => {
      const state = bench.state();
      state.sync(0, 2 * PAGE);
      void state.destroy(PAGE);
    },
  },
  {
    kind: 'wrong-function',
    linux: 'free with wrong function: a list as a single',
    misuse: (bench) => {
      const address = bench.map(page()).ranges.address(0);
      void bench.singles.unmap(address, PAGE, Bidirectional);
    },
  },
  {
    kind: 'wrong-function',
    linux: 'free with wrong function: two-step as a single',
    misuse: (bench) => void bench.singles.unmap(bench.state().address, PAGE, ToDevice),
  },
  {
    kind: 'wrong-function',
    linux: 'free with wrong function: two-step as a list',
    misuse: (bench) => void bench.device.unmap(bench.state() as never),
  },
  {
    kind: 'other-count',
    linux: 'free DMA sg list with different entry count',
    misuse: (bench) => void bench.device.unmap(bench.map(page()), { count: 2 }),
  },
  {
    kind: 'other-direction',
    linux: 'free DMA memory with different direction',
    misuse: (bench) => void bench.singles.unmap(bench.single(ToDevice), PAGE, FromDevice),
  },
  {
    kind: 'other-direction',
    linux: 'the same, a list',
    misuse: (bench) =>
      void bench.device.unmap(bench.map(page(), ToDevice), { direction: FromDevice }),
  },
  {
    kind: 'other-direction',
    linux: `two-step ${UNSEEN}`,
    misuse: (bench) => void bench.state().unlink(0, PAGE, { direction: FromDevice }),
  },
  {
    kind: 'unchecked',
    linux: 'failed to check map error',
    misuse: ({ singles }) => void singles.unmap(singles.map(HOST, PAGE, ToDevice), PAGE, ToDevice),
  },
  {
    kind: 'other-attributes',
    linux: 'free DMA memory with different attributes',
    misuse: (bench) =>
      void bench.singles.unmap(bench.single(ToDevice, SkipCpuSync), PAGE, ToDevice),
  },
  {
    kind: 'other-attributes',
    linux: `two-step ${UNSEEN}`,
    misuse: (bench) => void bench.state().unlink(0, PAGE, { attrs: SkipCpuSync }),
  },
  {
    kind: 'invalid-area',
    linux: 'map invalid area',
    misuse: (bench) => void bench.map(PhyRangeList.of(physAddr(2 ** 41), PAGE)),
    isDirect: true,
  },
  {
    kind: 'long-segment',
    linux: 'mapping sg segment longer than device claims to support',
    limits: { maxSegmentBytes: PAGE },
    isDirect: true,
    misuse: (bench) => void bench.map(page(0, PAGE + 1)),
  },
  {
    kind: 'segment-boundary',
    linux: 'mapping sg segment across boundary',
    limits: { boundaryBytes: 8 * PAGE },
    isDirect: true,
    misuse: (bench) => void bench.map(page(7 * PAGE, PAGE + 1)),
  },
  {
    kind: 'outside',
    linux: 'sync DMA memory outside allocated range',
    misuse: (bench) =>
      bench.device.sync(bench.map(page()), 'cpu', { offsetBytes: PAGE - 1, sizeBytes: 2 }),
  },
  {
    kind: 'outside',
    linux: 'the same, a single',
    misuse: (bench) => bench.singles.sync(bench.single(ToDevice), 2 * PAGE, ToDevice, 'cpu'),
  },
  {
    kind: 'outside',
    linux: `two-step ${UNSEEN}`,
    misuse: (bench) => bench.state().sync(PAGE, 2 * PAGE),
  },
  {
    kind: 'other-direction',
    linux: 'sync DMA memory with different direction',
    misuse: (bench) => bench.singles.sync(bench.single(Bidirectional), PAGE, ToDevice, 'cpu'),
  },
  {
    kind: 'sync-direction',
    linux: 'sync device read-only DMA memory for cpu',
    misuse: (bench) => bench.singles.sync(bench.single(ToDevice), PAGE, FromDevice, 'cpu'),
  },
  {
    kind: 'sync-direction',
    linux: 'sync device write-only DMA memory to device',
    misuse: (bench) => bench.singles.sync(bench.single(FromDevice), PAGE, ToDevice, 'device'),
  },
  {
    kind: 'other-count',
    linux: 'sync sg list with different entry count',
    misuse: (bench) => bench.device.sync(bench.map(page()), 'cpu', undefined, { count: 2 }),
  },
  {
    kind: 'leak',
    linux: 'device driver has pending DMA allocations while released from device',
    misuse: (bench) => {
      bench.map(page());
      bench.checker.unbound(PATH);
    },
  },
  {
    kind: 'leak',
    linux: 'the same, when its addresses are given up',
    misuse: (bench) => {
      bench.state();
      void bench.device.detach();
    },
  },
  {
    kind: 'overlap',
    linux: 'cacheline tracking EEXIST, overlapping mappings',
    misuse: (bench) => {
      bench.map(page(0, 8), FromDevice);
      bench.map(page(8, 8), Bidirectional);
    },
  },
  {
    kind: 'overlap-count',
    linux: 'exceeded 7 overlapping mappings of cacheline',
    misuse: (bench) => {
      for (let i = 0; i < 9; i++) bench.map(page(), FromDevice, SkipCpuSync);
    },
  },
  {
    kind: 'order',
    linux: `link without sync ${UNSEEN}`,
    misuse: (bench) => void bench.state().destroy(2 * PAGE),
  },
  {
    kind: 'order',
    linux: `overlapping link ${UNSEEN}`,
    misuse: (bench) => void bench.state().link(HOST, PAGE, PAGE, ToDevice),
  },
  {
    kind: 'order',
    linux: `a request on a request ${UNSEEN}`,
    misuse: ({ device, rig }) => {
      const request = new RequestIterator(device, rig.host.kernel);
      request.start(page(), ToDevice);
      request.start(page(PAGE), ToDevice);
    },
  },
  {
    kind: 'not-synced',
    linux: `access to what is linked and not synced ${UNSEEN}`,
    misuse: (bench) => bench.access(bench.state().address, false),
  },
  {
    kind: 'direction',
    linux: `rights that the route does not enforce ${UNSEEN}`,
    misuse: (bench) => bench.access(bench.map(page(), FromDevice).ranges.address(0), false),
  },
  {
    kind: 'direction',
    linux: `the same, two-step ${UNSEEN}`,
    misuse: (bench) => {
      const state = bench.state();
      state.sync(0, 2 * PAGE);
      bench.access(state.address, true);
    },
  },
  {
    kind: 'cpu-owned',
    linux: `access to what is the CPU's ${UNSEEN}`,
    misuse: (bench) => {
      const mapping = bench.map(page());
      bench.device.sync(mapping, 'cpu');
      bench.access(mapping.ranges.address(0), true);
    },
  },
  {
    kind: 'after-unmap',
    linux: UNSEEN,
    misuse: (bench) => {
      const mapping = bench.map(page());
      void bench.device.unmap(mapping);
      bench.access(mapping.ranges.address(0), true);
    },
  },
  {
    kind: 'revoked',
    linux: UNSEEN,
    misuse: (bench) => {
      const list = page();
      const hold = { mappings: 0, isWritable: true, endsStrictly: true };
      const calls = { admit: () => null, mapped: () => {}, unmapped: () => {} };
      const revocable = { ...hold, ...calls, isRevoked: false };
      list.hold = revocable;
      const mapping = bench.map(list);
      revocable.isRevoked = true;
      bench.access(mapping.ranges.address(0), true);
    },
  },
];
