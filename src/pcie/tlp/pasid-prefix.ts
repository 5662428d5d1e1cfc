/**
 * The PASID TLP prefix: the one place that knows where its bits are. [PCIE] 6.20.2
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import type { TlpDescription } from './tlp-description.ts';

/** Format and type of the end-to-end prefix that carries a PASID. */
export const PASID_PREFIX = 0x91;

/**
 * Model: public implementations disagree on the two request bits (22:21 or 21:20); this is the second.
 */
const PasidPrefix = {
  FmtType: new Bits(31, 24),
  Privileged: new Bits(21),
  Execute: new Bits(20),
  Pasid: new Bits(19, 0),
} as const;

/** Process address space of a request. */
export interface Pasid {
  /** 20 bits. */
  readonly pasid: number;
  readonly execute: boolean;
  readonly privileged: boolean;
}

/** The prefix DW for a process address space. */
export const pasidPrefix = ({ pasid, execute, privileged }: Pasid): number =>
  (PasidPrefix.FmtType.of(PASID_PREFIX) |
    PasidPrefix.Privileged.of(+privileged) |
    PasidPrefix.Execute.of(+execute) |
    PasidPrefix.Pasid.of(pasid)) >>>
  0;

/** What the first PASID prefix of a TLP says, or null without one. */
export function pasidOf({ prefixes }: Pick<TlpDescription, 'prefixes'>): Pasid | null {
  const dw = prefixes.find((prefix) => PasidPrefix.FmtType.get(prefix) === PASID_PREFIX);
  if (dw === undefined) return null;
  return {
    pasid: PasidPrefix.Pasid.get(dw),
    execute: PasidPrefix.Execute.get(dw) === 1,
    privileged: PasidPrefix.Privileged.get(dw) === 1,
  };
}
