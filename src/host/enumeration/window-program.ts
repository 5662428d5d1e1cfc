/**
 * Writes assigned addresses into BARs and bridge windows, then turns decoding on, parents first.
 * Bus mastering of endpoints is their drivers' business. [PCIE] 7.5.1.1.3, 7.5.1.3
 * @module
 */
import { hi32, lo32 } from '#emu/base/units.ts';
import {
  Command,
  Header,
  Type1,
  WINDOW_GRANULE,
  windowRegister,
  windowUpper,
} from '#emu/pcie/config/config-registers.ts';
import { SrIov } from '#emu/pcie/config/function-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import type { BridgeWindow, NodeBar, PciNode } from './pci-node.ts';

/** Programs one function and everything below it. */
export function* programTree(port: ConfigPort, root: PciNode): Process<void> {
  for (const node of root.subtree()) {
    const io = new ConfigIo(port, node.bdf);
    for (const bar of node.bars) yield* programBar(io, Header.Bar0, bar);
    if (node.sriov !== null) {
      for (const bar of node.sriov.bars) {
        yield* programBar(io, node.sriov.at + SrIov.VfBar0, bar);
      }
    }
    if (node.isBridge) yield* programBridge(io, node);
    const enable = Command.MSE.of(1) | Command.BME.of(+node.isBridge);
    yield* io.write(Header.Command, 2, enable);
  }
}

function* programBar(io: ConfigIo, bar0: number, bar: NodeBar): Process<void> {
  const at = bar0 + 4 * bar.index;
  yield* io.write(at, 4, lo32(bar.busAddress));
  if (bar.width === 64) yield* io.write(at + 4, 4, hi32(bar.busAddress));
}

function* programBridge(io: ConfigIo, node: PciNode): Process<void> {
  const low = ends(node.low);
  yield* io.write(Type1.MemoryBase, 2, windowRegister(low.base));
  yield* io.write(Type1.MemoryLimit, 2, windowRegister(low.last));
  const high = ends(node.high);
  yield* io.write(Type1.PrefetchBaseUpper, 4, windowUpper(high.base));
  yield* io.write(Type1.PrefetchLimitUpper, 4, windowUpper(high.last));
  yield* io.write(Type1.PrefetchBase, 2, windowRegister(high.base));
  yield* io.write(Type1.PrefetchLimit, 2, windowRegister(high.last));
}

/** First and last address of a window; a closed one has its base above its limit. */
const ends = ({ base, limit }: BridgeWindow): { base: number; last: number } =>
  limit > base
    ? { base, last: limit - WINDOW_GRANULE }
    : { base: 2 ** 32 - WINDOW_GRANULE, last: 0 };
