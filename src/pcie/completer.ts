/**
 * A function's side of requests from others: BAR writes and reads, configuration, and the completions that
 * answer them. [PCIE] 2.3.1
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { BarSpace } from './bar-space.ts';
import { Decision, Verdict } from './component.ts';
import { answerConfig, answerError, configValue } from './config-access.ts';
import { DmaStatus } from './dma-status.ts';
import type { Endpoint } from './endpoint.ts';
import type { Port } from './port.ts';
import { completionBytes } from './splitting.ts';
import { FlowClass, fillCompletionData, isMemory, type Tlp, TlpKind } from './tlp.ts';
import { TlpRing } from './tlp-ring.ts';

/** Read completion boundary of every completer but a root complex, bytes. [PCIE] 2.3.1.1 */
const RCB = 128;
/** Completions kept at the port. */
const AHEAD = 2;

export class Completer {
  readonly #endpoint: Endpoint;
  readonly #bars: BarSpace;
  readonly #latencyPs: number;
  /** Reads whose latency is over, in order of arrival. */
  readonly #reads = new TlpRing();
  /** Bytes of the oldest read that are answered. */
  #done = 0;
  readonly #decision = new Decision();

  constructor(endpoint: Endpoint, bars: BarSpace, latencyPs: number) {
    this.#endpoint = endpoint;
    this.#bars = bars;
    this.#latencyPs = latencyPs;
  }

  /** Whether a BAR takes the request's first byte, and, in timed fidelity, all of it. */
  claims(tlp: Tlp): boolean {
    const found = this.#bars.find(tlp, 0, tlp.sizeBytes || 1);
    return found > 0 && (found >= tlp.sizeBytes || this.#endpoint.fabric.functional);
  }

  receive(ingress: Port, tlp: Tlp): void {
    const endpoint = this.#endpoint;
    const { fabric } = endpoint;
    endpoint.decide(ingress, tlp, this.#decision);
    if (this.#decision.verdict !== Verdict.Local) return this.#refuse(ingress, tlp);
    fabric.arrived(endpoint.path, endpoint.index, tlp);
    if (tlp.kind === TlpKind.MRd) {
      fabric.kernel.schedule(this.#latencyPs, endpoint, 0, tlp);
      return;
    }
    if (tlp.kind === TlpKind.MWr) {
      this.#bars.write(tlp, tlp.sizeBytes, tlp.payloadAt);
    } else {
      const value = endpoint.configure(ingress, tlp, configValue(tlp));
      ingress.send(answerConfig(fabric.tlps, tlp, tlp.targetId, value));
    }
    ingress.release(tlp);
    fabric.tlps.give(tlp);
  }

  /** Begins to answer a read whose latency is over. */
  answer(tlp: Tlp): void {
    this.#reads.push(tlp);
    this.#pump();
  }

  /** A completion has left. */
  sent(): void {
    this.#pump();
  }

  store(tlp: Tlp, from: SparseMemory, at: number): number {
    const bars = this.#bars;
    const size = bars.find(tlp, 0, tlp.sizeBytes);
    if (bars.storeFrom(tlp, size, from, at)) return size;
    const scratchAt = this.#endpoint.fabric.scratch.ensureFrame(0);
    from.copyOut(at, scratchAt, size);
    bars.write(tlp, size, scratchAt);
    return size;
  }

  load(tlp: Tlp, into: SparseMemory, at: number): number {
    const bars = this.#bars;
    const size = bars.find(tlp, 0, tlp.sizeBytes || 1);
    if (tlp.sizeBytes === 0) return 0;
    if (bars.loadInto(tlp, size, into, at)) return size;
    const scratchAt = this.#endpoint.fabric.scratch.ensureFrame(0);
    bars.read(tlp, 0, size, scratchAt);
    into.copyIn(at, scratchAt, size);
    return size;
  }

  /** Drops what waits here, as a reset does. */
  reset(): void {
    for (let tlp = this.#reads.peek(); tlp !== null; tlp = this.#reads.peek()) this.#retire(tlp);
  }

  #pump(): void {
    const { port, fabric, id, config } = this.#endpoint;
    while (port.queued(FlowClass.Completion) < AHEAD) {
      const tlp = this.#reads.peek();
      if (tlp === null) return;
      const address = tlp.address + this.#done;
      const left = tlp.sizeBytes - this.#done;
      const size = completionBytes(address, left, config.maxPayloadBytes, RCB);
      const cpl = fabric.tlps.take();
      fillCompletionData(cpl, tlp, id, this.#done, size);
      if (size > 0 && this.#bars.find(tlp, this.#done, size) === size) {
        this.#bars.read(tlp, this.#done, size, cpl.payloadAt);
      } else {
        // The BAR was moved or switched off after the request had been accepted.
        arena.fill(cpl.payloadAt, 0xff, size);
      }
      this.#done += size;
      if (this.#done >= tlp.sizeBytes) this.#retire(tlp);
      port.send(cpl);
    }
  }

  #retire(tlp: Tlp): void {
    this.#reads.drop();
    this.#done = 0;
    tlp.ingress?.release(tlp);
    this.#endpoint.fabric.tlps.give(tlp);
  }

  #refuse(ingress: Port, tlp: Tlp): void {
    const { fabric, id, path } = this.#endpoint;
    fabric.refuse(path, this.#decision.error, tlp);
    if (tlp.flowClass === FlowClass.NonPosted) {
      const completer = isMemory(tlp) ? id : tlp.targetId;
      ingress.send(answerError(fabric.tlps, tlp, completer, DmaStatus.UnsupportedRequest));
    }
    ingress.release(tlp);
    fabric.tlps.give(tlp);
  }
}
