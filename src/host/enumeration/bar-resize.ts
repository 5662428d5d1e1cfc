/**
 * Gives resizable BARs the sizes wanted before addresses are assigned, while nothing decodes. [PCIE] 7.8.6
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { formatSize } from '#emu/host/checks/spec-fields.ts';
import type { BarSizes } from '#emu/host/machine-spec.ts';
import { ExtendedId } from '#emu/pcie/config/config-registers.ts';
import {
  ResizableBar,
  ResizableBarCapability,
  ResizableBarControl,
} from '#emu/pcie/config/function-registers.ts';
import { codeToSize } from '#emu/pcie/config/resizable-bar.ts';
import type { Process } from '#emu/sim/process.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import type { LinkSettings } from './link-settings.ts';
import type { PciNode } from './pci-node.ts';

export interface EnumerationSettings extends LinkSettings {
  readonly barSizes?: BarSizes;
}

/** @throws USAGE for a size that a BAR cannot have, naming those it can */
export function* resizeBars(
  port: ConfigPort,
  nodes: readonly PciNode[],
  wanted: BarSizes,
): Process<void> {
  for (const node of nodes) {
    const at = node.extendedCapabilities.get(ExtendedId.ResizableBar);
    const size = wanted === 'largest' ? Number.POSITIVE_INFINITY : wanted[node.name];
    if (at !== undefined && size !== undefined) yield* resize(port, node, at, size);
  }
}

function* resize(port: ConfigPort, node: PciNode, from: number, wanted: number): Process<void> {
  const io = new ConfigIo(port, node.bdf);
  const count = ResizableBarControl.Count.get(yield* io.read(from + ResizableBar.Control, 4));
  for (let i = 0; i < count; i++) {
    const at = from + i * ResizableBar.ENTRY_SIZE;
    const capability = yield* io.read(at + ResizableBar.Capability, 4);
    const control = yield* io.read(at + ResizableBar.Control, 4);
    const index = ResizableBarControl.Index.get(control);
    const code = codeOf(node, index, ResizableBarCapability.Sizes.get(capability), wanted);
    yield* io.write(at + ResizableBar.Control, 4, ResizableBarControl.Size.put(control, code));
    const bar = node.bars.find((one) => one.index === index);
    if (bar) bar.sizeBytes = codeToSize(code);
  }
}

/** Code of the size wanted, or of the largest for an infinite one. */
function codeOf({ path }: PciNode, index: number, codes: number, wanted: number): number {
  const largest = 31 - Math.clz32(codes);
  if (wanted === Number.POSITIVE_INFINITY) return largest;
  const sizes: string[] = [];
  for (let code = 0; code <= largest; code++) {
    if (((codes >>> code) & 1) === 0) continue;
    if (codeToSize(code) === wanted) return code;
    sizes.push(formatSize(codeToSize(code)));
  }
  throw usage(
    `barSizes: expected one of ${sizes.join(', ')} for BAR${index} of ${path}, got ${wanted}`,
  );
}
