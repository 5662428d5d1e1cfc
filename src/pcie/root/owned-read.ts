/**
 * An entry of a root complex's table of reads taken over: which pieces are sent, have come and are answered.
 * [PCIE] 1.3.1
 * @module
 */
import { PAGE_SIZE } from '#emu/base/units.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import type { Tlp } from '#emu/pcie/tlp/tlp.ts';

/** One more than a read within 4 KiB has. */
const MAX_PIECES = PAGE_SIZE / 64 + 1;

/** State of a piece; a failed one is `Failed` plus its completion status, a lost one was never answered. */
export const Piece = { Waiting: 0, Arrived: 1, Lost: 2, Failed: 3 } as const;
/** One read taken over. */
export class OwnedRead {
  /** As it came, until its last completion has been sent. */
  request: Tlp | null = null;
  ingress: Port | null = null;
  egress: Port | null = null;
  sizeBytes = 0;
  splitBytes = 64;
  /** Bytes of the first piece's unit that lie before the read. */
  lead = 0;
  pieces = 0;
  /** Pieces sent, and pieces whose tag is still out. */
  issued = 0;
  outstanding = 0;
  /** Pieces that arrived without a gap before them, and bytes answered. */
  arrived = 0;
  answered = 0;
  readonly states = new Uint8Array(MAX_PIECES);
  /** Pieces whose data are known to be bad. */
  readonly #poisoned = new Set<number>();
  /** Where its bytes collect. */
  readonly at: number;

  constructor(at: number) {
    this.at = at;
  }

  /** First byte of a piece, counted from the read's first. */
  begin(piece: number): number {
    return Math.max(0, piece * this.splitBytes - this.lead);
  }

  /** The byte after its last. */
  end(piece: number): number {
    return Math.min(this.sizeBytes, this.begin(piece + 1));
  }

  /** Begins anew, with nothing sent. */
  start(): void {
    this.issued = 0;
    this.arrived = 0;
    this.answered = 0;
    this.states.fill(Piece.Waiting);
    this.#poisoned.clear();
  }

  poison(piece: number): void {
    this.#poisoned.add(piece);
  }

  /** Whether any of these bytes came poisoned. */
  isPoisoned(offset: number, sizeBytes: number): boolean {
    if (this.#poisoned.size === 0) return false;
    return [...this.#poisoned].some(
      (piece) => this.begin(piece) < offset + sizeBytes && this.end(piece) > offset,
    );
  }
}
