/**
 * A function's side of requests from others: BAR writes and reads, configuration, and the completions that
 * answer them. [PCIE] 2.3.1
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Decision, Verdict } from '#emu/pcie/component.ts';
import { answerConfig, answerError, configValue } from '#emu/pcie/config/config-access.ts';
import { CapabilityId, DevCap2, Pcie } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { CONFIG_RETRY } from '#emu/pcie/config/readiness.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { completesAtomic, newValueAt } from '#emu/pcie/tlp/atomic-operation.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { completionFlags } from '#emu/pcie/tlp/request-attributes.ts';
import { completionBytes } from '#emu/pcie/tlp/splitting.ts';
import {
  FlowClass,
  fillCompletionData,
  isAtomic,
  isMemory,
  isMessage,
  type Tlp,
  TlpKind,
  withFlags,
} from '#emu/pcie/tlp/tlp.ts';
import { TlpRing } from '#emu/pcie/tlp/tlp-ring.ts';
import type { BarSpace } from './bar-space.ts';
import type { Endpoint } from './endpoint.ts';

/** Read completion boundary of every completer but a root complex, bytes. [PCIE] 2.3.1.1 */
const RCB = 128;
/** Functional fidelity: where the original value of an AtomicOp is, behind its operands. */
const OPERANDS = 32;
/** Completions kept at the port. */
const AHEAD = 2;

export class Completer {
  readonly #endpoint: Endpoint;
  readonly #bars: BarSpace;
  readonly #latencyPs: number;
  /** An old completer does not know the upper tag bits, so its completions lack them. [PCIE] 2.2.6.2 */
  readonly #tagMask: number;
  /** Reads whose latency is over, in order of arrival. */
  readonly #reads = new TlpRing();
  /** Bytes of the oldest read that are answered. */
  #done = 0;
  readonly #decision = new Decision();

  constructor(endpoint: Endpoint, bars: BarSpace, latencyPs: number) {
    this.#endpoint = endpoint;
    this.#bars = bars;
    this.#latencyPs = latencyPs;
    this.#tagMask = hasTenBitTags(endpoint.config) ? 0x3ff : 0xff;
  }

  /** Whether a BAR takes the request's first byte, and, in timed fidelity, all of it. */
  claims(tlp: Tlp): boolean {
    const found = this.#bars.find(tlp, 0, tlp.sizeBytes || 1);
    if (tlp.kind > TlpKind.MWr && !this.#completes(tlp)) return false;
    return found > 0 && (found >= tlp.sizeBytes || this.#endpoint.fabric.functional);
  }

  /** AtomicOps are for memory, and for functions that announce them. [PCIE] 6.15 */
  #completes(tlp: Tlp): boolean {
    return this.#bars.hitsMemory && completesAtomic(this.#endpoint.config, tlp);
  }

  receive(ingress: Port, tlp: Tlp): void {
    const endpoint = this.#endpoint;
    const { fabric } = endpoint;
    endpoint.decide(ingress, tlp, this.#decision);
    if (this.#decision.verdict !== Verdict.Local) return this.#refuse(ingress, tlp);
    if (tlp.kind > TlpKind.MWr) return this.#receiveOther(ingress, tlp);
    fabric.arrived(endpoint.path, endpoint.index, tlp);
    if (tlp.kind === TlpKind.MRd) {
      fabric.kernel.schedule(this.#latencyPs, endpoint, 0, tlp);
      return;
    }
    if (tlp.sizeBytes > 0) this.#bars.write(tlp, tlp.sizeBytes, tlp.payloadAt);
    ingress.release(tlp);
    fabric.tlps.give(tlp);
  }

  /** What is neither a read nor a write of memory. */
  #receiveOther(ingress: Port, tlp: Tlp): void {
    const endpoint = this.#endpoint;
    const { fabric } = endpoint;
    if (isMessage(tlp)) {
      endpoint.message(ingress, tlp);
    } else {
      fabric.arrived(endpoint.path, endpoint.index, tlp);
      if (isAtomic(tlp)) {
        return fabric.kernel.schedule(this.#latencyPs, endpoint, 0, tlp);
      }
      const value = endpoint.configure(ingress, tlp, configValue(tlp));
      const { tlps } = fabric;
      const cpl =
        value === CONFIG_RETRY
          ? answerError(tlps, tlp, tlp.targetId, DmaStatus.RequestRetry)
          : answerConfig(tlps, tlp, tlp.targetId, value);
      ingress.send(cpl);
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
    if (size === 0) return 0;
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
    if (tlp.kind !== TlpKind.MRd) {
      const originalAt = tlp.payloadAt + OPERANDS;
      this.#execute(tlp, originalAt);
      into.copyIn(at, originalAt, size);
      return size;
    }
    if (bars.loadInto(tlp, size, into, at)) return size;
    const scratchAt = this.#endpoint.fabric.scratch.ensureFrame(0);
    bars.read(tlp, 0, size, scratchAt);
    into.copyIn(at, scratchAt, size);
    return size;
  }

  /** Carries out an AtomicOp on the BAR last found; the original value is put at `originalAt` of the arena. */
  #execute(tlp: Tlp, originalAt: number): void {
    this.#bars.read(tlp, 0, tlp.sizeBytes, originalAt);
    this.#bars.write(tlp, tlp.sizeBytes, newValueAt(tlp, originalAt));
  }

  /** Drops what waits here, as a reset does. */
  reset(): void {
    for (let tlp = this.#reads.peek(); tlp !== null; tlp = this.#reads.peek()) this.#retire(tlp);
  }

  #pump(): void {
    const { port, fabric, id, config, digestFlags } = this.#endpoint;
    while (port.queued(FlowClass.Completion) < AHEAD) {
      const tlp = this.#reads.peek();
      if (tlp === null) return;
      // Only the lower bits count, and as an argument a double would be boxed.
      const low = (tlp.address + this.#done) & (RCB - 1);
      const left = tlp.sizeBytes - this.#done;
      const size = completionBytes(low, left, config.maxPayloadBytes, RCB);
      const cpl = fabric.tlps.take();
      fillCompletionData(cpl, tlp, id, this.#done, size);
      cpl.tag &= this.#tagMask;
      const flags = digestFlags | completionFlags(tlp, config);
      if (flags !== 0) withFlags(cpl, flags);
      if (size > 0 && this.#bars.find(tlp, this.#done, size) === size) {
        if (tlp.kind === TlpKind.MRd) this.#bars.read(tlp, this.#done, size, cpl.payloadAt);
        else this.#execute(tlp, cpl.payloadAt);
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
    const isDropped = this.#decision.verdict === Verdict.Drop;
    if (tlp.flowClass === FlowClass.NonPosted && !isDropped) {
      const completer = isMemory(tlp) ? id : tlp.targetId;
      ingress.send(answerError(fabric.tlps, tlp, completer, DmaStatus.UnsupportedRequest));
    }
    ingress.release(tlp);
    fabric.tlps.give(tlp);
  }
}

function hasTenBitTags(config: ConfigSpace): boolean {
  const at = config.capability(CapabilityId.Pcie);
  return DevCap2.TenBitTagCompleter.get(config.read(at + Pcie.DevCap2, 4)) === 1;
}
