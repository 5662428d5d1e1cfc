/**
 * Finds out the sizes of BARs by writing ones and reading what stayed. [PCIE] 7.5.1.2.1
 * @module
 */
import { dmaAddr, physAddr } from '#emu/base/units.ts';
import { BAR_TYPE_64, Bar } from '#emu/pcie/config/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import type { ConfigIo } from './config-io.ts';
import type { NodeBar } from './pci-node.ts';

const ALL_ONES = 0xffff_ffff;

/** Memory BARs among the `count` registers from `bar0` on, each for `copies` functions; decoding must be off. */
export function* sizeBars(
  io: ConfigIo,
  bar0: number,
  count: number,
  copies = 1,
): Process<NodeBar[]> {
  const found: NodeBar[] = [];
  for (let index = 0; index < count; ) {
    const low = yield* sizeRegister(io, bar0 + 4 * index);
    const is64 = !Bar.IoSpace.get(low) && Bar.Type.get(low) === BAR_TYPE_64;
    const high = is64 ? yield* sizeRegister(io, bar0 + 4 * index + 4) : 0;
    const sizeBytes = sizeFromMask(low & ~Bar.Flags.mask, high);
    if (sizeBytes > 0 && !Bar.IoSpace.get(low)) {
      const prefetchable = Bar.Prefetchable.get(low) === 1;
      const width = is64 ? 64 : 32;
      const unassigned = { address: physAddr(0), busAddress: dmaAddr(0) };
      found.push({ index, sizeBytes, copies, width, prefetchable, ...unassigned });
    }
    index += is64 ? 2 : 1;
  }
  return found;
}

function* sizeRegister(io: ConfigIo, at: number): Process<number> {
  yield* io.write(at, 4, ALL_ONES);
  const mask = yield* io.read(at, 4);
  yield* io.write(at, 4, 0);
  return mask;
}

/** Size from the writable address bits: their lowest one; 0 when there is none. */
function sizeFromMask(low: number, high: number): number {
  if (low !== 0) return (low & -low) >>> 0;
  return ((high & -high) >>> 0) * 2 ** 32;
}
