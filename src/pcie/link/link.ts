/**
 * Link speeds, widths and receive credits: what a link costs, not what crosses it.
 * [PCIE] 2.6.1, 4.2
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { FRAMING_BYTES } from '#emu/pcie/tlp/tlp.ts';
import { flitPs } from './flit-timing.ts';
import { framingBytes, serialisationPs, skipFactor } from './link-timing.ts';

/** Virtual channels that both ends of a link are capable of; software enables them. [PCIE] 7.9.1 */
export interface VcOptions {
  /** 1 to 8, VC0 included. */
  readonly count: number;
  /** Highest VC ID that shares the link in turns; those above go first, the highest before all. Default 0. */
  readonly lowPriority?: number;
}

export interface LinkSpec {
  /** PCI Express generation, 1 to 6; 6 is flit mode. */
  readonly gen: 1 | 2 | 3 | 4 | 5 | 6;
  /** Lanes. */
  readonly width: 1 | 2 | 4 | 8 | 16;
  /** One-way time of flight with both PHYs, ps. Default 10 ns. */
  readonly propagationPs?: number;
  /**
   * Charge skip ordered sets, Acks and UpdateFCs: as few of the latter as their time limits allow, or with `eager`
   * one of each for every TLP. Default false: TLP framing only.
   */
  readonly overheads?: boolean | 'eager';
  /** Chance of a damaged bit, 0 to 1e-5: damaged TLPs are replayed. Default 0. */
  readonly bitErrorRate?: number;
  /** What the end nearer to the root advertises where it is not the component's own. */
  readonly upperCredits?: Partial<Credits>;
  /** The same for the other end. */
  readonly lowerCredits?: Partial<Credits>;
  /**
   * Scaled Flow Control, from generation 4 on: how many times as many credits may be outstanding. Default 1.
   * Model: credits come back one by one, not in units of this. [PCIE] 3.4.2
   */
  readonly creditScale?: 1 | 4 | 16;
  /** Default: VC0 alone, and no capability that tells of more. */
  readonly virtualChannels?: VcOptions;
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

const GENERATIONS: readonly number[] = [1, 2, 3, 4, 5, 6];
const FLIT_GENERATION = 6;
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
  const { overheads = false } = link;
  if (typeof overheads !== 'boolean' && overheads !== 'eager') {
    throw usage(`${where}: overheads must be true, false or 'eager'; got ${String(overheads)}`);
  }
  const errors = link.bitErrorRate ?? 0;
  if (!(errors >= 0 && errors <= MAX_BIT_ERROR_RATE)) {
    throw usage(`${where}: bitErrorRate must be 0 to ${MAX_BIT_ERROR_RATE}; got ${errors}`);
  }
  checkScale(link, where);
  if (link.virtualChannels !== undefined) checkChannels(link.virtualChannels, where);
}

function checkChannels({ count, lowPriority = 0 }: VcOptions, where: string): void {
  if (!Number.isInteger(count) || count < 1 || count > MAX_CHANNELS) {
    throw usage(`${where}: virtualChannels.count must be 1 to ${MAX_CHANNELS}; got ${count}`);
  }
  if (!Number.isInteger(lowPriority) || lowPriority < 0 || lowPriority >= count) {
    const expected = `0 to ${count - 1}`;
    throw usage(`${where}: virtualChannels.lowPriority must be ${expected}; got ${lowPriority}`);
  }
}

function checkScale({ gen, creditScale = 1 }: LinkSpec, where: string): void {
  if (!CREDIT_SCALES.includes(creditScale)) {
    throw usage(
      `${where}: creditScale must be one of ${CREDIT_SCALES.join(', ')}; got ${creditScale}`,
    );
  }
  if (creditScale > 1 && gen < FIRST_SCALED) {
    throw usage(
      `${where}: creditScale ${creditScale} needs gen ${FIRST_SCALED} or more; got ${gen}`,
    );
  }
}

/**
 * What a port of `own` buffers advertises at one end of a link, checked: no more than the counters hold, and enough
 * for any TLP of `maxPayloadBytes`. @throws USAGE
 */
export function advertisedCredits(
  own: Credits,
  link: LinkSpec,
  isUpper: boolean,
  maxPayloadBytes: number,
  where: string,
): Credits {
  const given = isUpper ? link.upperCredits : link.lowerCredits;
  if (given === undefined) return own;
  const all = { ...own, ...given };
  const scale = link.creditScale ?? 1;
  for (const key of CREDIT_TYPES) {
    const least = key === 'PD' || key === 'CplD' ? Math.ceil(maxPayloadBytes / CREDIT_BYTES) : 1;
    const most = (key.endsWith('H') ? MAX_HEADERS : MAX_DATA) * scale;
    const amount = all[key];
    if (amount === 0 || (Number.isInteger(amount) && amount >= least && amount <= most)) continue;
    throw usage(`${where}: ${key} must be 0 (infinite) or ${least} to ${most}; got ${amount}`);
  }
  return all;
}

/** VC IDs. [PCIE] 6.3.1 */
export const MAX_CHANNELS = 8;
const CREDIT_SCALES: readonly number[] = [1, 4, 16];
/** The generation that brought Scaled Flow Control. [PCIE] 3.4.2 */
const FIRST_SCALED = 4;
const CREDIT_TYPES = ['PH', 'PD', 'NPH', 'NPD', 'CplH', 'CplD'] as const;
/** Payload of one data credit. [PCIE] 2.6.1 */
const CREDIT_BYTES = 16;
/** Outstanding credits that counters of 8 and 12 bits can tell apart. [PCIE] 2.6.1.2 */
const MAX_HEADERS = 127;
const MAX_DATA = 2047;

/** Time of one byte over all lanes, ps. */
export const psPerByte = (link: LinkSpec): number => serialisationPs(link, 1);

/** Beyond it most TLPs of 4 KiB would be damaged every time. */
const MAX_BIT_ERROR_RATE = 1e-5;
const LONGEST_TLP_BYTES = 4096 + 64;
/** Three DLLPs of 8 bytes. */
const INIT_FC_BYTES = 24;

/**
 * Serialisation time in ps by wire bytes / 4 of a TLP, so that the hot path looks it up. In flit mode the framing
 * that those bytes count is not there. Model: and neither is orthogonal header content but the PASID's.
 */
export function serialisationTable(link: LinkSpec): Int32Array {
  const perByte = psPerByte(link) / (link.overheads ? skipFactor(link.gen).most : 1);
  const absent = FRAMING_BYTES - framingBytes(link.gen);
  const table = new Int32Array(LONGEST_TLP_BYTES / 4 + 1);
  for (let dw = 0; dw < table.length; dw++) {
    table[dw] = Math.round(Math.max(dw * 4 - absent, 0) * perByte);
  }
  return table;
}

/**
 * From the last symbol sent to the other end's use of what it carried, ps. Model: in flit mode one flit more, since
 * it is checked as a whole, wherever in it the TLP ends.
 */
export const flightPs = (link: LinkSpec): number =>
  (link.propagationPs ?? DEFAULT_PROPAGATION_PS) +
  (link.gen === FLIT_GENERATION ? Math.round(flitPs(link.width)) : 0);

/** Time of flow control initialisation: InitFC1 and InitFC2 of three classes, each answered. [PCIE] 3.4.1 */
export function initialisationPs(link: LinkSpec): number {
  return Math.ceil(2 * (flightPs(link) + INIT_FC_BYTES * psPerByte(link)));
}
