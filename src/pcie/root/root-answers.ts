/**
 * What the root complex answers requests with that end in it: data of host memory or all ones, split at the root
 * port's read completion boundary, or a failure. Sends; decides nothing. [PCIE] 2.3.1.1
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { answerError } from '#emu/pcie/config/config-access.ts';
import type { Aer } from '#emu/pcie/errors/aer.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { newValueAt } from '#emu/pcie/tlp/atomic-operation.ts';
import { completionFlags } from '#emu/pcie/tlp/request-attributes.ts';
import { completionBytes } from '#emu/pcie/tlp/splitting.ts';
import {
  FlowClass,
  fillCompletionData,
  isAtomic,
  type Tlp,
  TlpFlag,
  withFlags,
} from '#emu/pcie/tlp/tlp.ts';
import type { RootComplex } from './root-complex.ts';

export class RootAnswers {
  readonly #root: RootComplex;
  /** Of the root ports, once the first has answered. */
  #aers: readonly (Aer | null)[] | null = null;

  constructor(root: RootComplex) {
    this.#root = root;
  }

  /** Sends the data of a read or AtomicOp back, or all ones. The record stays the caller's. */
  data(ingress: Port, tlp: Tlp, isOnes: boolean): void {
    if (isAtomic(tlp) && !isOnes) return this.#atomic(ingress, tlp);
    const { fabric, memory, hosts, bridges, completionBytes: limit } = this.#root;
    const completer = hosts.ofPort(ingress.index).id;
    const bridge = bridges[ingress.index]!;
    const { maxPayloadBytes, rcbBytes } = bridge;
    const most = maxPayloadBytes < limit ? maxPayloadBytes : limit;
    const flags = this.#digestFlags(ingress) | completionFlags(tlp, bridge);
    let done = 0;
    do {
      const address = tlp.address + done;
      const size = completionBytes(address, tlp.sizeBytes - done, most, rcbBytes);
      const cpl = fabric.tlps.take();
      fillCompletionData(cpl, tlp, completer, done, size);
      if (flags !== 0) withFlags(cpl, flags);
      if (isOnes) arena.fill(cpl.payloadAt, 0xff, size);
      else if (size > 0) memory.copyOut(address, cpl.payloadAt, size);
      ingress.send(cpl);
      done += size;
    } while (done < tlp.sizeBytes);
  }

  /** Carries out an AtomicOp on host memory and sends the original value back. */
  #atomic(ingress: Port, tlp: Tlp): void {
    const { fabric, hosts, bridges } = this.#root;
    const cpl = fabric.tlps.take();
    fillCompletionData(cpl, tlp, hosts.ofPort(ingress.index).id, 0, tlp.sizeBytes);
    const flags = this.#digestFlags(ingress) | completionFlags(tlp, bridges[ingress.index]!);
    if (flags !== 0) withFlags(cpl, flags);
    this.#execute(tlp, tlp.address, cpl.payloadAt);
    ingress.send(cpl);
  }

  /** An AtomicOp in functional fidelity: the original value is put into `into`; returns its bytes. */
  load(tlp: Tlp, address: number, into: SparseMemory, at: number): number {
    const originalAt = tlp.payloadAt + 2 * tlp.sizeBytes;
    this.#root.server.count(false, tlp.purpose, tlp.sizeBytes);
    this.#execute(tlp, address, originalAt);
    into.copyIn(at, originalAt, tlp.sizeBytes);
    return tlp.sizeBytes;
  }

  #execute(tlp: Tlp, address: number, originalAt: number): void {
    const { memory, server } = this.#root;
    const { sizeBytes, purpose } = tlp;
    memory.copyOut(address, originalAt, sizeBytes);
    memory.copyIn(address, newValueAt(tlp, originalAt), sizeBytes);
    server.count(true, purpose, sizeBytes);
  }

  /** `TlpFlag.TD` where a root port's completions leave with a digest, else 0. [PCIE] 2.7.1 */
  #digestFlags({ index }: Port): number {
    const { ports, fabric } = this.#root;
    this.#aers ??= ports.map(({ path }) => fabric.errorSites.get(path)?.aer ?? null);
    return this.#aers[index]?.ecrcGeneration ? TlpFlag.TD : 0;
  }

  /** Tells the requester of a non-posted request its `status`. */
  failure(ingress: Port, tlp: Tlp): void {
    if (tlp.flowClass !== FlowClass.NonPosted) return;
    const completer = this.#root.hosts.ofPort(ingress.index).id;
    ingress.send(answerError(this.#root.fabric.tlps, tlp, completer, tlp.status));
  }
}
