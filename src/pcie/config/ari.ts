/**
 * Alternative Routing-ID Interpretation: function numbers of 8 bits and no device number. [PCIE] 6.13, 7.8.8
 * @module
 */
import { ExtendedId } from './config-registers.ts';
import type { ConfigSpace } from './config-space.ts';
import { Ari, AriCapability } from './function-registers.ts';

/** Appends an ARI capability; `nextFunction` is 0 for the last function. */
export function addAri(config: ConfigSpace, nextFunction: number): number {
  const at = config.appendExtended(ExtendedId.Ari, 1, Ari.SIZE);
  const reset = AriCapability.NextFunction.of(nextFunction);
  config.define({ name: 'AriCapability', offset: at + Ari.Capability, width: 16, reset });
  config.define({ name: 'AriControl', offset: at + Ari.Control, width: 16 });
  return at;
}
