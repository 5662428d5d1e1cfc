/**
 * Resizable BARs: the capability, and the change of a BAR's size that software asks for by it. [PCIE] 7.8.6
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import type { BarDecode } from './config-bar.ts';
import type { BarSpec } from './config-header.ts';
import { ExtendedId } from './config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from './config-space.ts';
import {
  ResizableBarCapability as Capability,
  ResizableBarControl as Control,
  ResizableBar as Offset,
} from './function-registers.ts';

/** Smallest size that a code stands for, that of code 0. */
const SMALLEST = 2 ** 20;
/** Size codes that the capability register has a bit for. */
const CODES = 28;

/** Code of a size of at least 1 MiB, a power of two. */
export const sizeToCode = (sizeBytes: number): number => 31 - Math.clz32(sizeBytes / SMALLEST);
export const codeToSize = (code: number): number => SMALLEST * 2 ** code;

interface Entry {
  readonly bar: BarDecode;
  /** Offset of its Control register. */
  readonly at: number;
  /** Code that a reset brings back. */
  readonly initial: number;
  /** Bit n: code n is supported. */
  readonly codes: number;
}

export class ResizableBars implements ConfigWatcher {
  readonly #config: ConfigSpace;
  readonly #entries: readonly Entry[];

  /** Appends the capability for the BARs that have other sizes than their first. @throws USAGE */
  constructor(config: ConfigSpace, bars: readonly BarSpec[]) {
    this.#config = config;
    const at = config.appendExtended(
      ExtendedId.ResizableBar,
      1,
      4 + Offset.ENTRY_SIZE * bars.length,
    );
    this.#entries = bars.map((bar, i) => this.#entry(bar, at + i * Offset.ENTRY_SIZE, bars.length));
    config.watch(at, 4 + Offset.ENTRY_SIZE * bars.length, this);
  }

  configWritten(): void {
    const config = this.#config;
    for (const { bar, at, codes } of this.#entries) {
      const register = config.read(at, 4);
      const code = Control.Size.get(register);
      const before = sizeToCode(bar.sizeBytes);
      if (code === before) continue;
      // Model: a size that is not supported, or asked for while the BAR decodes, changes nothing.
      const isGood = code < CODES && ((codes >>> code) & 1) === 1 && !config.memoryEnable;
      if (isGood) config.resizeBar(bar.index, codeToSize(code));
      else config.view.setUint32(at, Control.Size.put(register, before), true);
    }
  }

  configReset(): void {
    for (const { bar, initial } of this.#entries) {
      this.#config.resizeBar(bar.index, codeToSize(initial));
    }
  }

  #entry(spec: BarSpec, at: number, count: number): Entry {
    const sizes = [spec.sizeBytes, ...(spec.otherSizes ?? [])];
    let codes = 0;
    for (const size of sizes) codes |= 1 << checkedCode(spec, size);
    const initial = sizeToCode(spec.sizeBytes);
    this.#config.define({
      name: `ResizableCapability${spec.index}`,
      offset: at + Offset.Capability,
      width: 32,
      reset: Capability.Sizes.of(codes),
    });
    this.#config.define({
      name: `ResizableControl${spec.index}`,
      offset: at + Offset.Control,
      width: 32,
      reset: Control.Index.of(spec.index) | Control.Count.of(count) | Control.Size.of(initial),
      writable: Control.Size.mask,
    });
    const bar = this.#config.bars.find(({ index }) => index === spec.index)!;
    return { bar, at: at + Offset.Control, initial, codes };
  }
}

function checkedCode({ index, width }: BarSpec, size: number): number {
  const code = sizeToCode(size);
  const most = width === 32 ? 2 ** 31 : codeToSize(CODES - 1);
  if (size >= SMALLEST && size <= most && codeToSize(code) === size) return code;
  throw usage(
    `bars[${index}].otherSizes: expected powers of two from ${SMALLEST} to ${most}, and sizeBytes one too, got ${size}`,
  );
}
