/**
 * Closed forms of what a link costs: rates, framing, headers, skip ordered sets and serialisation, generations
 * 1 to 6. Acknowledgements are in ack-timing.ts, flits in flit-timing.ts. [PCIE] 3.5, 3.6, 4.2
 * @module
 */
import { FLIT_BYTES, FLIT_TLP_BYTES } from './flit-timing.ts';
import type { LinkSpec } from './link.ts';

/** Generation and lanes; any {@link LinkSpec} is one. */
export interface TimedLink {
  readonly gen: LinkSpec['gen'];
  readonly width: LinkSpec['width'];
}
export type Generation = TimedLink['gen'];

/** What a generation does to bytes. */
interface Signalling {
  readonly gigatransfers: number;
  /** Share of the raw bits that carries TLP and DLLP bytes. */
  readonly efficiency: number;
  /** Around each TLP: STP, sequence number, LCRC and END, or STP token and LCRC. */
  readonly framingBytes: number;
  /** One DLLP with its framing. */
  readonly dllpBytes: number;
  /** Units from one skip ordered set to the next, fewest and most, and how many of them it takes. */
  readonly skip: { readonly fewest: number; readonly most: number; readonly cost: number } | null;
}

/** 4 symbols every 1180 to 1538. [PCIE] 4.2.7.3 */
const SYMBOL_SKIP = { fewest: 1180, most: 1538, cost: 4 };
/** One block after every 370 to 375 others. [PCIE] 4.2.7.3 */
const BLOCK_SKIP = { fewest: 371, most: 376, cost: 1 };
const symbols = (gigatransfers: number): Signalling => ({
  gigatransfers,
  efficiency: 8 / 10,
  framingBytes: 8,
  dllpBytes: 8,
  skip: SYMBOL_SKIP,
});
const blocks = (gigatransfers: number): Signalling => ({
  gigatransfers,
  efficiency: 128 / 130,
  framingBytes: 8,
  dllpBytes: 8,
  skip: BLOCK_SKIP,
});
const SIGNALLING: Readonly<Record<Generation, Signalling>> = {
  1: symbols(2.5),
  2: symbols(5),
  3: blocks(8),
  4: blocks(16),
  5: blocks(32),
  // Acknowledgements, flow control and CRC have their place in the flit; nothing more is paid for them.
  6: {
    gigatransfers: 64,
    efficiency: FLIT_TLP_BYTES / FLIT_BYTES,
    framingBytes: 0,
    dllpBytes: 0,
    skip: null,
  },
};

/** Header of a request with 64-bit address, and of any other TLP but messages, bytes. [PCIE] 2.2.1 */
export const HEADER_4DW = 16;
export const HEADER_3DW = 12;

/** Bytes around one TLP in data link and physical layer. */
export const framingBytes = (gen: Generation): number => SIGNALLING[gen].framingBytes;
/** Bytes of one DLLP on the wire; 0 in flit mode, where it rides along. */
export const dllpBytes = (gen: Generation): number => SIGNALLING[gen].dllpBytes;

/** Time in which a lane moves one byte before encoding, ps: the unit of the protocol's time limits. [PCIE] 3.6.2 */
export const symbolPs = (gen: Generation): number =>
  (gen <= 2 ? 10_000 : 8_000) / SIGNALLING[gen].gigatransfers;

/** TLP and DLLP bytes that all lanes move per ns, skip ordered sets left out. */
export const bytesPerNs = ({ gen, width }: TimedLink): number => {
  const { gigatransfers, efficiency } = SIGNALLING[gen];
  return (gigatransfers * width * efficiency) / 8;
};

/** What a TLP is made of, as far as its time goes. */
export interface TlpSize {
  readonly headerBytes: number;
  /** Whole DWs. */
  readonly payloadBytes: number;
  /** Prefixes and digest. */
  readonly extraBytes?: number;
}

/** Bytes of a TLP on the wire, framing included. */
export const wireBytes = (gen: Generation, tlp: TlpSize): number =>
  framingBytes(gen) + tlp.headerBytes + tlp.payloadBytes + (tlp.extraBytes ?? 0);

/** Time to put bytes on all lanes, ps; not rounded. */
export const serialisationPs = (link: TimedLink, bytes: number): number =>
  (1000 * bytes) / bytesPerNs(link);

/** Payload per wire byte. */
export const payloadFraction = (gen: Generation, tlp: TlpSize): number =>
  tlp.payloadBytes / wireBytes(gen, tlp);

/** Share of the time left by skip ordered sets: `least` with the shortest interval, `most` with the longest. */
export function skipFactor(gen: Generation): { readonly least: number; readonly most: number } {
  const { skip } = SIGNALLING[gen];
  if (skip === null) return { least: 1, most: 1 };
  const factor = (interval: number): number => (interval - skip.cost) / interval;
  return { least: factor(skip.fewest), most: factor(skip.most) };
}

/** Payload of back-to-back TLPs in GB/s; skip ordered sets and DLLPs are factors of the caller's choice. */
export const payloadRate = (link: TimedLink, tlp: TlpSize): number =>
  bytesPerNs(link) * payloadFraction(link.gen, tlp);
