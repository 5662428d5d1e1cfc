/**
 * The optional extended capabilities of an endpoint's function: those that only hold registers, and resizable BARs.
 * [PCIE] 7.8, 7.9.3, 10.5
 * @module
 */
import { addSerialNumber } from './capabilities.ts';
import type { BarSpec } from './config-header.ts';
import { Header } from './config-registers.ts';
import type { ConfigSpace } from './config-space.ts';
import type { InterruptPin } from './intx.ts';
import { ResizableBars } from './resizable-bar.ts';
import { addTranslation, type TranslationOptions } from './translation-capabilities.ts';

export interface FunctionCapabilities extends TranslationOptions {
  /** Device Serial Number, below 2^52. */
  readonly serialNumber?: number;
}

interface Spec extends FunctionCapabilities {
  readonly bars: readonly BarSpec[];
  readonly interruptPin?: InterruptPin;
}

/** Appends what `spec` asks for. @throws USAGE for sizes that a resizable BAR cannot have */
export function addFunctionCapabilities(config: ConfigSpace, spec: Spec): void {
  const { interruptPin = 0, serialNumber, bars } = spec;
  config.define({
    name: 'InterruptPin',
    offset: Header.InterruptPin,
    width: 8,
    reset: interruptPin,
  });
  if (serialNumber !== undefined) addSerialNumber(config, serialNumber);
  addTranslation(config, spec);
  const resizable = bars.filter(({ otherSizes }) => otherSizes !== undefined);
  if (resizable.length > 0) new ResizableBars(config, resizable);
}
