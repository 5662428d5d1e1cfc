/**
 * Transfers without TLPs or time: each piece is routed by the components' own decisions and copied.
 * Pieces never cross 4 KiB, a window or a BAR. [PCIE] 2.2.4
 * @module
 */
import { PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import { ZERO_FRAME } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { DmaJob } from '#emu/pcie/endpoint/dma-job.ts';
import { countPayload } from '#emu/pcie/link/link-counters.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { DAMAGED, refuseDamaged } from '#emu/pcie/tlp/damage.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { sendMessage } from '#emu/pcie/tlp/message.ts';
import { completionFlags } from '#emu/pcie/tlp/request-attributes.ts';
import { requestBytes } from '#emu/pcie/tlp/splitting.ts';
import {
  fillCompletion,
  fillCompletionData,
  isConfigWrite,
  isMemory,
  TlpKind as Kind,
  Tlp,
  TlpFlag,
  type TlpKind,
  withFlags,
} from '#emu/pcie/tlp/tlp.ts';
import { Decision, Verdict } from './component.ts';
import type { Fabric } from './fabric.ts';

export class FunctionalPath {
  readonly #fabric: Fabric;
  /** Stands for the request, then for its completion. */
  readonly #tlp: Tlp;
  readonly #request = new Tlp(0);
  readonly #decision = new Decision();
  /** Of the requests to come. */
  #flags = 0;
  #pasid = 0;

  constructor(fabric: Fabric) {
    this.#fabric = fabric;
    // Only operands of AtomicOps are ever put there.
    this.#tlp = new Tlp(fabric.scratch.ensureFrame(0));
  }

  /** Sets `Tlp.flags` and `Tlp.pasid` of the requests to come. */
  requestAs(flags: number, pasid: number): void {
    this.#flags = flags;
    this.#pasid = pasid;
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
    let done = 0;
    do {
      const size = requestBytes(address + done, sizeBytes - done, PAGE_SIZE);
      this.#fill(Kind.MWr, requester, address + done, size, purpose);
      const end = this.#walk(port, this.#tlp);
      if (this.#decision.verdict !== Verdict.Local) {
        done += this.#dropped(port, end);
        continue;
      }
      this.#hash(end, from, at + done);
      done += end.owner.store(this.#tlp, this.#decision, from, at + done);
    } while (done < sizeBytes);
  }

  /**
   * Stops at the first refusal; bytes before it have arrived. Model: so have those whose completion gets lost or
   * damaged on its way back.
   */
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
      const from = address + done;
      const status = this.#answer(Kind.MRd, end, requester, from, got, purpose, into, at + done);
      if (status !== DmaStatus.Ok) return status;
      done += got;
    } while (done < sizeBytes);
    return DmaStatus.Ok;
  }

  /** An AtomicOp: takes its operands from the job's memory, where the original value is put. */
  atomic(port: Port, requester: number, job: DmaJob): DmaStatus {
    const { atomic, address, sizeBytes, purpose, memory, at } = job;
    if (memory === null) return DmaStatus.UnsupportedRequest;
    const tlp = this.#tlp;
    this.#fill(atomic, requester, address, sizeBytes, purpose);
    memory.copyOut(at, tlp.payloadAt, tlp.payloadBytes);
    const end = this.#walk(port, tlp);
    if (this.#decision.verdict !== Verdict.Local) return this.#answerRefusal(end);
    this.#fabric.arrived(end.owner.path, end.owner.index, tlp);
    end.owner.load(tlp, this.#decision, memory, at);
    return this.#answer(atomic, end, requester, address, sizeBytes, purpose, memory, at);
  }

  /**
   * A configuration request of a root complex as `requester`; `value` is what a write carries.
   * @returns the value read, 0 after a write, or minus the status with which it was refused
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
    tlp.flags = 0;
    tlp.seal();
    const end = this.#walk(port, tlp);
    if (this.#decision.verdict !== Verdict.Local) {
      return -this.#answerRefusal(end);
    }
    // The value travels in a variable: there is no payload to fold into the digest.
    tlp.payloadBytes = 0;
    this.#fabric.arrived(end.owner.path, end.owner.index, tlp);
    const answer = end.owner.configure(end, tlp, value);
    this.#copyRequest();
    if (isConfigWrite(tlp)) fillCompletion(tlp, this.#request, 0, DmaStatus.Ok);
    else fillCompletionData(tlp, this.#request, 0, 0, 4);
    const home = this.#walk(end, tlp);
    if (this.#isHome(home)) return answer;
    this.#refused(home);
    return -DmaStatus.Timeout;
  }

  #fill(kind: TlpKind, requester: number, address: number, size: number, purpose: Purpose): void {
    const tlp = this.#tlp;
    tlp.kind = kind;
    tlp.requester = requester;
    tlp.tag = 0;
    tlp.address = address;
    tlp.sizeBytes = size;
    tlp.purpose = purpose;
    tlp.flags = this.#flags;
    tlp.pasid = this.#pasid;
    tlp.seal();
  }

  /** Follows decisions from `port` on to the port where the TLP stops; the decision says why. */
  #walk(port: Port, tlp: Tlp): Port {
    const decision = this.#decision;
    const { injector } = this.#fabric;
    // Of the TLPs that the piece would be cut into.
    const largest = Math.min(tlp.dataCredits, port.payloadCredits);
    for (let out = port; ; ) {
      const ingress = out.peer;
      if (ingress === null) {
        decision.refuse(Verdict.Unsupported, 'unsupported-request');
        return out;
      }
      if (injector !== null && !injector.passes(out, tlp)) {
        decision.verdict = Verdict.Swallow;
        return ingress;
      }
      countPayload(out.counters, tlp);
      if ((tlp.flags & TlpFlag.Malformed) !== 0 || largest > ingress.payloadCredits) {
        decision.refuse(Verdict.Drop, 'malformed-tlp');
        return ingress;
      }
      ingress.owner.decide(ingress, tlp, decision);
      if (decision.verdict !== Verdict.Forward || decision.port === null) return ingress;
      if (isMemory(tlp)) tlp.address = decision.address;
      out = decision.port;
    }
  }

  /** Carries the data of a read back; what went wrong when its completion does not reach the requester whole. */
  #answer(
    kind: TlpKind,
    end: Port,
    requester: number,
    address: number,
    size: number,
    purpose: Purpose,
    into: SparseMemory,
    at: number,
  ): DmaStatus {
    this.#fill(kind, requester, address, size, purpose);
    const tlp = this.#tlp;
    this.#copyRequest();
    fillCompletionData(tlp, this.#request, 0, 0, size);
    const flags = this.#flagsOf(end);
    if (flags !== 0) withFlags(tlp, flags);
    const home = this.#walk(end, tlp);
    if (!this.#isHome(home)) {
      this.#refused(home);
      return this.#decision.error === 'poisoned-tlp' ? DmaStatus.Poisoned : DmaStatus.Timeout;
    }
    this.#hash(home, into, at);
    return DmaStatus.Ok;
  }

  /** What the function at `path` adds to its completion of the request; a digest matters only to a fault. */
  #flagsOf({ path }: Port): number {
    const { errorSites, injector } = this.#fabric;
    const site = errorSites.get(path);
    if (site === undefined) return 0;
    const hasDigest = injector !== null && site.aer?.ecrcGeneration === true;
    return completionFlags(this.#request, site.config) | (hasDigest ? TlpFlag.TD : 0);
  }

  /** Whether a completion has reached its requester, and undamaged. */
  #isHome(home: Port): boolean {
    const decision = this.#decision;
    const tlp = this.#tlp;
    const isThere = decision.verdict === Verdict.Local;
    if (isThere && (tlp.flags & DAMAGED) !== 0) {
      refuseDamaged(this.#fabric, home.path, tlp, decision);
    }
    return decision.verdict === Verdict.Local;
  }

  #answerRefusal(end: Port): DmaStatus {
    const { verdict } = this.#decision;
    if (verdict === Verdict.Drop || verdict === Verdict.Swallow) {
      this.#refused(end);
      return DmaStatus.Timeout;
    }
    const status =
      verdict === Verdict.Violation ? DmaStatus.CompleterAbort : DmaStatus.UnsupportedRequest;
    this.#refused(end);
    return this.#answerError(end, status);
  }

  /** Passes on the status of a read that `end` carried out elsewhere, where it was refused and reported. */
  #answerFailure(end: Port, minusStatus: number): DmaStatus {
    const { CompleterAbort, Poisoned, Timeout, UnsupportedRequest } = DmaStatus;
    if (minusStatus === -Timeout) return Timeout;
    if (minusStatus === -Poisoned) return this.#answerPoison(end);
    return this.#answerError(
      end,
      minusStatus === -CompleterAbort ? CompleterAbort : UnsupportedRequest,
    );
  }

  /** Passes data on that came poisoned. */
  #answerPoison(end: Port): DmaStatus {
    this.#copyRequest();
    fillCompletionData(this.#tlp, this.#request, 0, 0, this.#request.sizeBytes);
    withFlags(this.#tlp, TlpFlag.EP | this.#flagsOf(end));
    const home = this.#walk(end, this.#tlp);
    if (!this.#isHome(home)) this.#refused(home);
    return this.#decision.error === 'poisoned-tlp' ? DmaStatus.Poisoned : DmaStatus.Timeout;
  }

  #answerError(end: Port, status: DmaStatus): DmaStatus {
    this.#copyRequest();
    fillCompletion(this.#tlp, this.#request, 0, status);
    const home = this.#walk(end, this.#tlp);
    if (this.#isHome(home)) return status;
    this.#refused(home);
    return DmaStatus.Timeout;
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
    to.flags = from.flags;
  }

  /** Reports a write that was refused at `end`; returns its bytes, of a malformed one those of one TLP from `port`. */
  #dropped(port: Port, end: Port): number {
    const tlp = this.#tlp;
    if (this.#decision.error === 'malformed-tlp') {
      tlp.sizeBytes = requestBytes(tlp.address, tlp.sizeBytes, port.payloadCredits << 4);
      tlp.seal();
    }
    this.#refused(end);
    return tlp.sizeBytes;
  }

  #refused(end: Port): void {
    if (this.#decision.verdict === Verdict.Swallow) return;
    const { error, site } = this.#decision;
    this.#fabric.refuse((site ?? end).path, error, this.#tlp);
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

/** Carries a transfer or message of a function out, and gives a read its status. */
export function carryOut(path: FunctionalPath, job: DmaJob, port: Port, requester: number): void {
  const { address, sizeBytes, purpose } = job;
  if (job.messageCode >= 0) {
    return sendMessage(port, job.messageCode, job.routing, requester, job.body ?? {});
  }
  const { scratch } = port.fabric;
  if (job.memory === null) scratch.setU32(0, job.message);
  const memory = job.memory ?? scratch;
  const at = job.memory === null ? 0 : job.at;
  path.requestAs(job.flags, job.pasid);
  if (job.isWrite) path.write(port, requester, address, sizeBytes, memory, at, purpose);
  else if (job.atomic !== Kind.MRd) job.status = path.atomic(port, requester, job);
  else job.status = path.read(port, requester, address, sizeBytes, memory, at, purpose);
}
