/**
 * Reads between hierarchies that a root complex carries out in its own name: cut into aligned pieces, each with
 * its own requester ID and tag, put together again and answered in the requester's. [PCIE] 1.3.1, 2.3.1.1
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { PAGE_SIZE } from '#emu/base/units.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { answerError } from '#emu/pcie/config/config-access.ts';
import { FunctionalPath } from '#emu/pcie/functional.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { DAMAGED, damageOf } from '#emu/pcie/tlp/damage.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { completionFlags } from '#emu/pcie/tlp/request-attributes.ts';
import { completionBytes } from '#emu/pcie/tlp/splitting.ts';
import { fillCompletionData, Tlp, TlpFlag, TlpKind, withFlags } from '#emu/pcie/tlp/tlp.ts';
import { TlpRing } from '#emu/pcie/tlp/tlp-ring.ts';
import { OwnedRead, Piece } from './owned-read.ts';
import { RequestTimeouts, type TimedRequests } from './request-timeouts.ts';
import type { RootComplex } from './root-complex.ts';

/** How much a root complex keeps of such reads at a time. */
export interface PeerReadTable {
  /** Reads taken over; more wait in the receive buffers of their ports. Default 32. */
  readonly entries?: number;
  /** Pieces on their way, 1 to 256. Default 64. */
  readonly tags?: number;
}

const DEFAULT_ENTRIES = 32;
const DEFAULT_TAGS = 64;
const MAX_ENTRIES = 256;
const MAX_TAGS = 256;
const UNANSWERED = Piece.Failed + DmaStatus.UnsupportedRequest;

export class PeerReads implements TimedRequests {
  readonly path: string;
  readonly #root: RootComplex;
  readonly #functional: FunctionalPath | null;
  readonly #data: SparseMemory;
  readonly #free: OwnedRead[];
  readonly #waiting = new TlpRing();
  /** The entry whose pieces are being sent. */
  #sending: OwnedRead | null = null;
  readonly #tags: Int32Array;
  #freeTags: number;
  /** By tag. */
  readonly #owner: (OwnedRead | null)[];
  readonly #piece: Int32Array;
  readonly #left: Int32Array;
  readonly #timeouts: RequestTimeouts;
  readonly #shown = new Tlp(0);

  constructor(root: RootComplex, table: PeerReadTable = {}) {
    const { entries = DEFAULT_ENTRIES, tags = DEFAULT_TAGS } = table;
    checkPeerReadTable(table, 'peerReads');
    this.#root = root;
    this.path = `${root.path}.peer-reads`;
    this.#functional = root.fabric.functional ? new FunctionalPath(root.fabric) : null;
    this.#data = new SparseMemory(entries * PAGE_SIZE, `${root.path} peer reads`);
    this.#free = Array.from({ length: entries }, (_, i) => new OwnedRead(i * PAGE_SIZE));
    this.#tags = Int32Array.from({ length: tags }, (_, i) => tags - 1 - i);
    this.#freeTags = tags;
    this.#owner = new Array<OwnedRead | null>(tags).fill(null);
    this.#piece = new Int32Array(tags);
    this.#left = new Int32Array(tags);
    this.#timeouts = new RequestTimeouts(root.fabric.kernel, this.path, this, tags);
  }

  /** Entries in use. */
  get inUse(): number {
    return this.#data.sizeBytes / PAGE_SIZE - this.#free.length;
  }

  /** Takes over a read that has come in by its `ingress` and would go out by its `egress`. */
  start(tlp: Tlp): void {
    this.#root.fabric.arrived(this.#root.path, this.#root.index, tlp);
    this.#waiting.push(tlp);
    this.#pump();
  }

  /** Takes the completion of a piece; false when nothing waits for it. The caller keeps the record. */
  complete(tlp: Tlp): boolean {
    const { tag } = tlp;
    const read = this.#owner[tag] ?? null;
    if (read === null || read.egress === null) return false;
    if (tlp.targetId !== this.#root.hosts.portId(read.egress)) return false;
    const piece = this.#piece[tag]!;
    if ((tlp.flags & DAMAGED) !== 0 && this.#isLost(read, piece, read.egress, tlp)) return true;
    if (tlp.kind === TlpKind.CplD && tlp.status === DmaStatus.Ok) {
      const left = this.#left[tag]!;
      if (tlp.sizeBytes > left) return false;
      this.#data.copyIn(read.at + read.end(piece) - left, tlp.payloadAt, tlp.sizeBytes);
      this.#left[tag] = left - tlp.sizeBytes;
      if (left > tlp.sizeBytes) return true;
      read.states[piece] = Piece.Arrived;
    } else {
      read.states[piece] = Piece.Failed + (tlp.status || DmaStatus.UnsupportedRequest);
    }
    this.#end(tag, read);
    this.#pump();
    return true;
  }

  /** Reports a damaged completion: poisoned data go on as such, a bad digest leaves its piece to the timeout. */
  #isLost(read: OwnedRead, piece: number, egress: Port, tlp: Tlp): boolean {
    const { fabric } = this.#root;
    const error = damageOf(fabric, egress.path, tlp);
    if (error === null) return false;
    fabric.refuse(egress.path, error, tlp);
    if (error !== 'poisoned-tlp') return true;
    read.poison(piece);
    return false;
  }

  /** Nothing that was asked by `port`, whose link is down, will be answered: Unsupported Request. [PCIE] 2.9.1 */
  linkDown(port: Port): void {
    for (const [tag, read] of this.#owner.entries()) {
      if (read === null || read.egress !== port) continue;
      read.states[this.#piece[tag]!] = UNANSWERED;
      this.#end(tag, read);
    }
    this.#pump();
  }

  /** The state of a piece is known, and its tag is free again. */
  #end(tag: number, read: OwnedRead): void {
    this.#owner[tag] = null;
    this.#tags[this.#freeTags++] = tag;
    this.#timeouts.stop(tag);
    read.outstanding--;
    this.#answer(read);
  }

  /** A piece was never answered. [PCIE] 2.8 */
  expired(tag: number): void {
    const read = this.#owner[tag] ?? null;
    if (read === null) return;
    this.#report(read, tag);
    read.states[this.#piece[tag]!] = Piece.Lost;
    this.#owner[tag] = null;
    read.outstanding--;
    this.#answer(read);
    this.#pump();
  }

  /** Whatever was on its way to the tag has come by now. */
  freed(tag: number): void {
    this.#tags[this.#freeTags++] = tag;
    this.#pump();
  }

  /**
   * Functional fidelity: asks `egress` for what `tlp` reads, in the root complex's name; `address` of the
   * decision is on that port's bus. Returns the bytes read, or minus the status of a failure.
   */
  load(tlp: Tlp, at: { readonly address: number }, egress: Port, to: SparseMemory, toAt: number) {
    const id = this.#root.hosts.portId(egress);
    const { sizeBytes, purpose } = tlp;
    const status = this.#functional?.read(egress, id, at.address, sizeBytes, to, toAt, purpose);
    return status ? -status : sizeBytes;
  }

  dispose(): void {
    this.#data.dispose();
  }

  /** Sends pieces, read by read in order of arrival, while there are tags and entries. */
  #pump(): void {
    while (this.#freeTags > 0) {
      this.#sending ??= this.#admit();
      const read = this.#sending;
      if (read === null) return;
      // A failure has made the rest pointless.
      if (read.request !== null) this.#send(read, read.request);
      if (read.request === null || read.issued === read.pieces) this.#sending = null;
    }
  }

  /** Gives the oldest read that waits an entry, and its receive buffer back. */
  #admit(): OwnedRead | null {
    const tlp = this.#waiting.peek();
    const read = tlp === null ? undefined : this.#free.pop();
    if (tlp === null || read === undefined) return null;
    this.#waiting.drop();
    const { ingress, egress } = tlp;
    read.request = tlp;
    read.ingress = ingress;
    read.egress = egress;
    read.splitBytes = this.#root.peers.splitBytes(ingress?.index ?? 0, egress?.index ?? 0);
    read.sizeBytes = tlp.sizeBytes;
    read.lead = tlp.address & (read.splitBytes - 1);
    read.pieces = Math.max(1, Math.ceil((read.lead + tlp.sizeBytes) / read.splitBytes));
    read.start();
    ingress?.release(tlp);
    return read;
  }

  #send(read: OwnedRead, request: Tlp): void {
    const { egress } = read;
    if (egress === null) return;
    const piece = read.issued++;
    if (!egress.isUp) {
      read.states[piece] = UNANSWERED;
      return this.#answer(read);
    }
    const begin = read.begin(piece);
    const tag = this.#tags[--this.#freeTags]!;
    const tlp = this.#root.fabric.tlps.take();
    tlp.kind = TlpKind.MRd;
    tlp.requester = this.#root.hosts.portId(egress);
    tlp.tag = tag;
    tlp.address = request.address + begin;
    tlp.sizeBytes = read.end(piece) - begin;
    tlp.purpose = request.purpose;
    tlp.flags = request.flags;
    tlp.seal();
    this.#owner[tag] = read;
    this.#piece[tag] = piece;
    this.#left[tag] = tlp.sizeBytes;
    read.outstanding++;
    this.#timeouts.start(tag, this.#root.bridges[egress.index]!.completionTimeoutPs);
    egress.send(tlp);
  }

  #report(read: OwnedRead, tag: number): void {
    const { egress, request } = read;
    if (egress === null) return;
    const tlp = this.#shown;
    tlp.kind = TlpKind.MRd;
    tlp.requester = this.#root.hosts.portId(egress);
    tlp.tag = tag;
    tlp.address = (request?.address ?? 0) + read.end(this.#piece[tag]!) - this.#left[tag]!;
    tlp.sizeBytes = this.#left[tag]!;
    tlp.seal();
    this.#root.fabric.refuse(egress.path, 'completion-timeout', tlp);
  }

  /** Sends whatever completions are whole, and retires the read behind the last. */
  #answer(read: OwnedRead): void {
    while (read.states[read.arrived] === Piece.Arrived) read.arrived++;
    const { request, ingress } = read;
    if (request !== null && ingress !== null) {
      const isDone =
        this.#sendWhole(read, request, ingress) || this.#sendError(read, request, ingress);
      if (isDone) {
        this.#root.fabric.tlps.give(request);
        read.request = null;
      }
    }
    if (read.request === null && read.outstanding === 0) this.#free.push(read);
  }

  /** True once every byte is answered. */
  #sendWhole(read: OwnedRead, request: Tlp, ingress: Port): boolean {
    const whole = read.arrived === read.pieces;
    const ready = whole ? request.sizeBytes : read.begin(read.arrived);
    const { hosts, bridges, fabric } = this.#root;
    const completer = hosts.ofPort(ingress.index).id;
    const bridge = bridges[ingress.index]!;
    const { maxPayloadBytes, rcbBytes } = bridge;
    const order = completionFlags(request, bridge);
    do {
      const { answered } = read;
      const size = completionBytes(
        request.address + answered,
        request.sizeBytes - answered,
        maxPayloadBytes,
        rcbBytes,
      );
      if (answered + size > ready || !(whole || size > 0)) return false;
      const cpl = fabric.tlps.take();
      fillCompletionData(cpl, request, completer, answered, size);
      const flags = order | (read.isPoisoned(answered, size) ? TlpFlag.EP : 0);
      if (flags !== 0) withFlags(cpl, flags);
      if (size > 0) this.#data.copyOut(read.at + answered, cpl.payloadAt, size);
      read.answered += size;
      ingress.send(cpl);
    } while (read.answered < request.sizeBytes);
    return true;
  }

  /**
   * True when the next bytes will never come: the read ends with their status, or in silence where they were
   * lost, so that its requester runs into a timeout of its own.
   */
  #sendError(read: OwnedRead, request: Tlp, ingress: Port): boolean {
    const state = read.arrived < read.pieces ? read.states[read.arrived]! : Piece.Waiting;
    if (state < Piece.Failed) return state === Piece.Lost;
    const status =
      state - Piece.Failed === DmaStatus.CompleterAbort
        ? DmaStatus.CompleterAbort
        : DmaStatus.UnsupportedRequest;
    const { hosts, fabric } = this.#root;
    ingress.send(answerError(fabric.tlps, request, hosts.ofPort(ingress.index).id, status));
    return true;
  }
}

/** @throws USAGE that names the field below `where` */
export function checkPeerReadTable({ entries, tags }: PeerReadTable, where: string): void {
  for (const [key, value, most] of [
    ['entries', entries, MAX_ENTRIES],
    ['tags', tags, MAX_TAGS],
  ] as const) {
    if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= most)) continue;
    throw usage(`${where}.${key}: expected 1 to ${most}, got ${value}`);
  }
}
