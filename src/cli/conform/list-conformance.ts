/**
 * `emu conform lists`: maps every vector through an IOMMU provider with its limits, compares what comes out, and
 * sees that unmap leaves nothing behind. [DMAAPI]
 * @module
 */
import { alignUp, dmaAddr, offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import {
  DmaStand,
  STAND_CLIENT,
  STAND_DOORBELL,
  STAND_REGISTERS,
  type StandBar,
  StandView,
  standPolicy,
} from '#emu/cli/dma-stand.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { MAX_RANGE_BYTES } from '#emu/dma/lists/range-layout.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { MappingRecord } from '#emu/dma/mapping-record.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { IommuProvider } from '#emu/dma/providers/iommu-provider.ts';
import type { ListVector, VectorOutcome, VectorRange, VectorSegment } from './list-vectors.ts';

export interface VectorResult {
  readonly id: string;
  readonly ok: boolean;
  readonly expected: VectorOutcome;
  readonly got: VectorOutcome;
  /** What is wrong besides the outcome, such as something left behind; empty when nothing is. */
  readonly faults: readonly string[];
}

/** Peer memory stands above all addresses of vectors, a slot each, aligned for any granule. */
const PEER_BASE = 2 ** 50;
const SLOT_BYTES = 2 ** 30;

/** Maps one vector, and unmaps it. */
export function conformList(vector: ListVector): VectorResult {
  const stand = new DmaStand();
  try {
    const { list, bars } = place(vector.in);
    const provider = new IommuProvider({
      host: stand,
      view: new StandView(bars),
      registers: STAND_REGISTERS,
      doorbell: STAND_DOORBELL,
      hostBridgeAllowed: standPolicy,
      granuleBytes: vector.granule,
    });
    stand.finish('start', provider.start());
    const device = provider.device(STAND_CLIENT, {
      boundaryBytes: vector.boundaryBytes,
      maxSegmentBytes: vector.maxSegment,
    });
    const before = JSON.stringify([...list]);
    const got = mapOnce(stand, device, list);
    const faults = leftovers(device);
    if (JSON.stringify([...list]) !== before) faults.push('the list was changed');
    const ok = faults.length === 0 && sameOutcome(vector.expect, got);
    return { id: vector.id, ok, expected: vector.expect, got, faults };
  } finally {
    stand.dispose();
  }
}

/** The in-list, and BARs for its peer segments: each decodes its own segment, at the bus address of the vector. */
function place(segments: readonly VectorSegment[]): { list: PhyRangeList; bars: StandBar[] } {
  const list = new PhyRangeList();
  const bars: StandBar[] = [];
  let next = PEER_BASE;
  for (const { kind, addr, len } of segments) {
    let base: PhysAddr = physAddr(addr);
    if (kind !== 'host') {
      base = offsetBy(physAddr(next), addr % SLOT_BYTES);
      const busBase = dmaAddr(kind === 'bus' ? addr : base);
      bars.push({ peer: kind, base, busBase, sizeBytes: len });
      // A slot between two keeps them apart.
      next = alignUp(base + len, SLOT_BYTES) + SLOT_BYTES;
    }
    list.appendApart(base, len);
  }
  return { list, bars };
}

function mapOnce(stand: DmaStand, device: DmaDevice, list: PhyRangeList): VectorOutcome {
  const mapping = device.map(list, Direction.Bidirectional);
  if (isRefusal(mapping)) return { error: mapping.refused };
  const { iova, iovaBytes } =
    mapping instanceof MappingRecord ? mapping : { iova: 0, iovaBytes: 0 };
  const ranges = [...mapping.ranges].map(
    ({ address, length, flags }): VectorRange =>
      (flags & DmaFlag.BusAddress) !== 0
        ? { bus: true, addr: address, len: length }
        : { bus: false, iovaOffset: address - iova, len: length },
  );
  const done = device.unmap(mapping);
  stand.kernel.run();
  done.value;
  return { iovaBytes, ranges };
}

/** What a map with its unmap, or a refused map, has left behind. */
function leftovers({ domain, liveMappings }: DmaDevice): string[] {
  const faults: string[] = [];
  if (liveMappings > 0) faults.push(`${liveMappings} mappings are left`);
  if (!(domain instanceof IommuDomain)) return faults;
  const { table, iovas } = domain;
  if (table.leaves > 0) faults.push(`${table.leaves} page table entries are left`);
  if (iovas.usedBytes > 0) faults.push(`${iovas.usedBytes} bytes of addresses are left`);
  return faults;
}

function sameOutcome(a: VectorOutcome, b: VectorOutcome): boolean {
  if ('error' in a || 'error' in b) return 'error' in a && 'error' in b && a.error === b.error;
  return (
    a.iovaBytes === b.iovaBytes &&
    JSON.stringify(a.ranges.flatMap(pieces)) === JSON.stringify(b.ranges.flatMap(pieces))
  );
}

/** A range as lists store it: cut on a page where 32 bits of length end. */
function pieces(range: VectorRange): readonly (readonly [bus: boolean, at: number, len: number])[] {
  const start = range.bus ? range.addr : range.iovaOffset;
  const cut: [boolean, number, number][] = [];
  for (let done = 0; done < range.len; ) {
    const longest = MAX_RANGE_BYTES - ((start + done) & 0xfff);
    const len = Math.min(range.len - done, longest);
    cut.push([range.bus, start + done, len]);
    done += len;
  }
  return cut;
}
