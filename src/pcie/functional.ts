/**
 * Transfers without TLPs or time: each piece is routed by the components' own decisions and copied.
 * Pieces never cross 4 KiB, a window or a BAR. [PCIE] 2.2.4
 * @module
 */
import { PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import { ZERO_FRAME } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Decision, Verdict } from './component.ts';
import { DmaStatus, Purpose } from './dma-status.ts';
import type { Fabric } from './fabric.ts';
import type { Port } from './port.ts';
import { requestBytes } from './splitting.ts';
import {
  fillCompletion,
  fillCompletionData,
  isConfigWrite,
  TlpKind as Kind,
  Tlp,
  type TlpKind,
} from './tlp.ts';

export class FunctionalPath {
  readonly #fabric: Fabric;
  /** Stands for the request, then for its completion. */
  readonly #tlp = new Tlp(0);
  readonly #request = new Tlp(0);
  readonly #decision = new Decision();

  constructor(fabric: Fabric) {
    this.#fabric = fabric;
  }

  /** Posted: whatever is refused is dropped, and reported where it was refused. */
  write(
    port: Port,
    requester: number,
    address: number,
    sizeBytes: number,
    from: SparseMemory,
    at: number,
    purpose: Purpose,
  ): void {
    for (let done = 0; done < sizeBytes; ) {
      const size = requestBytes(address + done, sizeBytes - done, PAGE_SIZE);
      this.#fill(Kind.MWr, requester, address + done, size, purpose);
      const end = this.#walk(port, this.#tlp);
      if (this.#decision.verdict !== Verdict.Local) {
        this.#refused(end);
        done += size;
        continue;
      }
      this.#hash(end, from, at + done);
      done += end.owner.store(this.#tlp, this.#decision, from, at + done);
    }
  }

  /** Stops at the first refusal; bytes before it have arrived. */
  read(
    port: Port,
    requester: number,
    address: number,
    sizeBytes: number,
    into: SparseMemory,
    at: number,
    purpose: Purpose,
  ): DmaStatus {
    let done = 0;
    do {
      const size = requestBytes(address + done, sizeBytes - done, PAGE_SIZE);
      this.#fill(Kind.MRd, requester, address + done, size, purpose);
      const end = this.#walk(port, this.#tlp);
      if (this.#decision.verdict !== Verdict.Local) return this.#answerRefusal(end);
      this.#fabric.arrived(end.owner.path, end.owner.index, this.#tlp);
      const got = end.owner.load(this.#tlp, this.#decision, into, at + done);
      if (got < 0) return this.#answerFailure(end, got);
      const answered = this.#answer(end, requester, address + done, got, purpose, into, at + done);
      if (!answered) return DmaStatus.Timeout;
      done += got;
    } while (done < sizeBytes);
    return DmaStatus.Ok;
  }

  /**
   * A configuration request of a root complex as `requester`; `value` is what a write carries.
   * @returns the value read, 0 after a write, -1 when nothing answered
   */
  config(
    port: Port,
    requester: number,
    kind: TlpKind,
    target: number,
    offset: number,
    size: number,
    value: number,
  ): number {
    const tlp = this.#tlp;
    tlp.kind = kind;
    tlp.requester = requester;
    tlp.targetId = target;
    tlp.address = offset;
    tlp.sizeBytes = size;
    tlp.purpose = Purpose.Control;
    tlp.seal();
    const end = this.#walk(port, tlp);
    if (this.#decision.verdict !== Verdict.Local) {
      this.#answerRefusal(end);
      return -1;
    }
    // The value travels in a variable: there is no payload to fold into the digest.
    tlp.payloadBytes = 0;
    this.#fabric.arrived(end.owner.path, end.owner.index, tlp);
    const answer = end.owner.configure(end, tlp, value);
    this.#copyRequest();
    if (isConfigWrite(tlp)) fillCompletion(tlp, this.#request, 0, DmaStatus.Ok);
    else fillCompletionData(tlp, this.#request, 0, 0, size);
    this.#walk(end, tlp);
    return answer;
  }

  #fill(kind: TlpKind, requester: number, address: number, size: number, purpose: Purpose): void {
    const tlp = this.#tlp;
    tlp.kind = kind;
    tlp.requester = requester;
    tlp.tag = 0;
    tlp.address = address;
    tlp.sizeBytes = size;
    tlp.purpose = purpose;
    tlp.relaxedOrdering = false;
    tlp.seal();
  }

  /** Follows decisions from `port` on to the port where the TLP stops; the decision says why. */
  #walk(port: Port, tlp: Tlp): Port {
    const decision = this.#decision;
    for (let out = port; ; ) {
      const ingress = out.peer;
      if (ingress === null) {
        decision.refuse(Verdict.Unsupported, 'unsupported-request');
        return out;
      }
      out.count(tlp);
      ingress.owner.decide(ingress, tlp, decision);
      if (decision.verdict !== Verdict.Forward || decision.port === null) return ingress;
      if (tlp.kind <= Kind.MWr) tlp.address = decision.address;
      out = decision.port;
    }
  }

  /** Carries the data of a read back; false when its completion does not find the requester. */
  #answer(
    end: Port,
    requester: number,
    address: number,
    size: number,
    purpose: Purpose,
    into: SparseMemory,
    at: number,
  ): boolean {
    this.#fill(Kind.MRd, requester, address, size, purpose);
    const tlp = this.#tlp;
    this.#copyRequest();
    fillCompletionData(tlp, this.#request, 0, 0, size);
    const home = this.#walk(end, tlp);
    if (this.#decision.verdict !== Verdict.Local) {
      this.#refused(home);
      return false;
    }
    this.#hash(home, into, at);
    return true;
  }

  #answerRefusal(end: Port): DmaStatus {
    const status =
      this.#decision.verdict === Verdict.Violation
        ? DmaStatus.CompleterAbort
        : DmaStatus.UnsupportedRequest;
    this.#refused(end);
    return this.#answerError(end, status);
  }

  /** Passes on the status of a read that `end` carried out elsewhere, where it was refused and reported. */
  #answerFailure(end: Port, minusStatus: number): DmaStatus {
    const { CompleterAbort, Timeout, UnsupportedRequest } = DmaStatus;
    if (minusStatus === -Timeout) return Timeout;
    return this.#answerError(
      end,
      minusStatus === -CompleterAbort ? CompleterAbort : UnsupportedRequest,
    );
  }

  #answerError(end: Port, status: DmaStatus): DmaStatus {
    this.#copyRequest();
    fillCompletion(this.#tlp, this.#request, 0, status);
    this.#walk(end, this.#tlp);
    return status;
  }

  #copyRequest(): void {
    const from = this.#tlp;
    const to = this.#request;
    to.kind = from.kind;
    to.requester = from.requester;
    to.tag = from.tag;
    to.address = from.address;
    to.sizeBytes = from.sizeBytes;
    to.purpose = from.purpose;
  }

  #refused(end: Port): void {
    this.#fabric.refuse(end.path, this.#decision.error, this.#tlp);
  }

  /** Notes a piece at its target, with its bytes as they stand in `memory`. */
  #hash(end: Port, memory: SparseMemory, at: number): void {
    const tlp = this.#tlp;
    const size = tlp.payloadBytes;
    tlp.payloadBytes = 0;
    this.#fabric.arrived(end.owner.path, end.owner.index, tlp);
    tlp.payloadBytes = size;
    for (let done = 0; done < size; ) {
      const bytes = requestBytes(at + done, size - done, PAGE_SIZE);
      const frame = memory.frame(at + done);
      const offset = frame < 0 ? ZERO_FRAME : frame + pageOffset(at + done);
      this.#fabric.traceHash.payload(offset, bytes);
      done += bytes;
    }
  }
}
