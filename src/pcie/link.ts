/**
 * Link speeds, widths and receive credits: what a link costs, not what crosses it.
 * [PCIE] 2.6.1, 4.2
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { serialisationPs, skipFactor } from './link-timing.ts';

export interface LinkSpec {
  /** PCI Express generation, 1 to 5. */
  readonly gen: 1 | 2 | 3 | 4 | 5;
  /** Lanes. */
  readonly width: 1 | 2 | 4 | 8 | 16;
  /** One-way time of flight with both PHYs, ps. Default 10 ns. */
  readonly propagationPs?: number;
  /** Charge skip ordered sets, Acks and UpdateFCs. Default false: TLP framing only. */
  readonly overheads?: boolean;
  /** Chance of a damaged bit, 0 to 1e-5: damaged TLPs are replayed. Default 0. */
  readonly bitErrorRate?: number;
}

/** Receive buffer advertised at initialisation; 0 means infinite. [PCIE] 2.6.1 */
export interface Credits {
  readonly PH: number;
  readonly PD: number;
  readonly NPH: number;
  readonly NPD: number;
  readonly CplH: number;
  readonly CplD: number;
}

const GENERATIONS: readonly number[] = [1, 2, 3, 4, 5];
const WIDTHS: readonly number[] = [1, 2, 4, 8, 16];
export const DEFAULT_LINK: LinkSpec = { gen: 4, width: 16 };
export const DEFAULT_PROPAGATION_PS = 10_000;

/** What a port with a full-size buffer advertises: the most that unscaled counters allow. [PCIE] 2.6.1.2 */
export const FULL_CREDITS: Credits = {
  PH: 127,
  PD: 2032,
  NPH: 127,
  NPD: 127,
  CplH: 127,
  CplD: 2032,
};
/** Endpoints and root complexes that sink completions advertise them infinite. [PCIE] 2.6.1 */
export const ENDPOINT_CREDITS: Credits = { ...FULL_CREDITS, CplH: 0, CplD: 0 };

/** @throws USAGE for a generation or width that no link has. */
export function checkLink(link: LinkSpec, where: string): void {
  if (!GENERATIONS.includes(link.gen)) {
    throw usage(`${where}: link gen must be one of ${GENERATIONS.join(', ')}; got ${link.gen}`);
  }
  if (!WIDTHS.includes(link.width)) {
    throw usage(`${where}: link width must be one of ${WIDTHS.join(', ')}; got ${link.width}`);
  }
  const propagation = link.propagationPs ?? 0;
  if (!Number.isInteger(propagation) || propagation < 0 || propagation > 1e9) {
    throw usage(`${where}: propagationPs must be an integer of 0 to 1e9; got ${propagation}`);
  }
  const errors = link.bitErrorRate ?? 0;
  if (!(errors >= 0 && errors <= MAX_BIT_ERROR_RATE)) {
    throw usage(`${where}: bitErrorRate must be 0 to ${MAX_BIT_ERROR_RATE}; got ${errors}`);
  }
}

/** Time of one byte over all lanes, ps. */
export const psPerByte = (link: LinkSpec): number => serialisationPs(link, 1);

/** Beyond it most TLPs of 4 KiB would be damaged every time. */
const MAX_BIT_ERROR_RATE = 1e-5;
const LONGEST_TLP_BYTES = 4096 + 64;

/** Serialisation time in ps by wire bytes / 4, so that the hot path looks it up. */
export function serialisationTable(link: LinkSpec): Int32Array {
  const perByte = psPerByte(link) / (link.overheads ? skipFactor(link.gen).most : 1);
  const table = new Int32Array(LONGEST_TLP_BYTES / 4 + 1);
  for (let dw = 0; dw < table.length; dw++) table[dw] = Math.round(dw * 4 * perByte);
  return table;
}
