/**
 * A device's only door to the fabric: one function with its configuration space, BARs, interrupts and DMA.
 * Models have an endpoint; none extends it. [PCIE] 2.2, 6.1.4, 7.5
 * @module
 */
import type { DmaAddr } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import { BarSpace, type BarTarget } from './bar-space.ts';
import { addPcie, setLinkUp } from './capabilities.ts';
import { Completer } from './completer.ts';
import { type Component, type Decision, Verdict } from './component.ts';
import { accessConfig } from './config-access.ts';
import type { BarSpec, Identity } from './config-header.ts';
import { PortType } from './config-registers.ts';
import { ConfigSpace } from './config-space.ts';
import type { DmaClient } from './dma-job.ts';
import { DmaRequester } from './dma-requester.ts';
import type { Purpose } from './dma-status.ts';
import type { Fabric } from './fabric.ts';
import { ENDPOINT_CREDITS, type LinkSpec } from './link.ts';
import { Msi } from './msi.ts';
import { Msix, type MsixOptions } from './msi-x.ts';
import { Port } from './port.ts';
import { type FlowClass, isCompletion, isConfigWrite, isMemory, Tlp } from './tlp.ts';

export type { BarHandler } from './bar-space.ts';
export type { DmaClient } from './dma-job.ts';

export const DEFAULT_MAX_PAYLOAD = 512;
export const DEFAULT_COMPLETER_LATENCY_PS = 50_000;

export interface EndpointSpec {
  readonly identity: Identity;
  readonly bars: readonly (BarSpec & { readonly target: BarTarget })[];
  /** Vectors of a 64-bit maskable MSI capability. */
  readonly msi?: { readonly vectors: 1 | 2 | 4 | 8 | 16 | 32 };
  readonly msix?: MsixOptions;
  /** Max_Payload_Size Supported, bytes. Default 512. */
  readonly maxPayloadBytes?: 128 | 256 | 512 | 1024 | 2048 | 4096;
  /** Outstanding requests that the device can have; 256 needs extended tags enabled too. Default 256. */
  readonly tags?: 32 | 256;
  /** Keep a tag out of use after its completion timeout, so that a late completion finds nobody. Default true. */
  readonly tagQuarantine?: boolean;
  /** From the arrival of a read to its first completion, ps. Default 50 ns. */
  readonly completerLatencyPs?: number;
}

export class Endpoint implements Component, Target {
  readonly path: string;
  readonly index: number;
  readonly fabric: Fabric;
  readonly config: ConfigSpace;
  readonly port: Port;
  /** Max_Payload_Size Supported, bytes. */
  readonly maxPayloadBytes: number;
  /** Called when a reset of this function has begun; its registers are already reset. */
  onReset: (() => void) | null = null;
  /** Called when the machine is taken apart, so that the model frees its memories. */
  onDispose: (() => void) | null = null;
  /** The model behind it, for tests and observers. */
  model: object | null = null;
  readonly #requester: DmaRequester;
  readonly #completer: Completer;
  readonly #bars: BarSpace;
  readonly #msi: Msi | null;
  readonly #msix: Msix | null;

  constructor(fabric: Fabric, path: string, spec: EndpointSpec) {
    this.fabric = fabric;
    this.path = path;
    this.index = fabric.nextIndex();
    this.maxPayloadBytes = spec.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD;
    this.config = new ConfigSpace({ type: 0, identity: spec.identity, bars: spec.bars });
    const tags = spec.tags ?? 256;
    addPcie(this.config, {
      portType: PortType.Endpoint,
      maxPayloadBytes: this.maxPayloadBytes,
      extendedTags: tags > 32,
    });
    this.port = new Port(fabric, this, 0, path, { credits: ENDPOINT_CREDITS });
    this.#requester = new DmaRequester(
      fabric,
      path,
      this.port,
      this.config,
      tags,
      spec.tagQuarantine ?? true,
    );
    this.#msi = spec.msi ? new Msi(this.config, spec.msi.vectors, this.#requester) : null;
    this.#msix = spec.msix ? new Msix(this.config, spec.msix, this.#requester) : null;
    const targets = spec.bars.map(({ index, target }) => ({ index, target }));
    const bars = new BarSpace(this.config, targets, this.#msix);
    this.#bars = bars;
    const latencyPs = spec.completerLatencyPs ?? DEFAULT_COMPLETER_LATENCY_PS;
    this.#completer = new Completer(this, bars, latencyPs);
    this.config.onWrite = () => bars.refresh();
    this.config.onFunctionReset = () => this.#reset();
  }

  /** Whether the function may send requests. [PCIE] 7.5.1.1.3 */
  get busMaster(): boolean {
    return this.config.busMaster;
  }

  /** Requester ID, 0 before software has written to this function. */
  get id(): number {
    return this.#requester.id;
  }

  /** Read requests without their completion yet. */
  get outstandingReads(): number {
    return this.#requester.outstanding;
  }

  /** The function's own memory behind BAR `index`, or null where that has registers: for tests and probes. */
  barMemory(index: number): SparseMemory | null {
    return this.#bars.memory(index);
  }

  /** Tells the configuration space what the link trained to. */
  linkUp(link: LinkSpec): void {
    setLinkUp(this.config, link);
  }

  /**
   * Reads `sizeBytes` (> 0) at `address` into `into` at `at`. The transfer is cut as MRRS and 4 KiB
   * require; the client is told once, later, when every byte or an error is in.
   */
  read(
    address: DmaAddr,
    sizeBytes: number,
    into: SparseMemory,
    at: number,
    purpose: Purpose,
    client: DmaClient,
    arg: number,
  ): void {
    if (this.fabric.dmaWatch !== null) {
      this.fabric.dmaWatch.accessed(this.path, address, sizeBytes, false);
    }
    this.#requester.transfer(false, address, sizeBytes, into, at, purpose, client, arg);
  }

  /**
   * Writes `sizeBytes` (> 0) from `from` at `at`. Posted: the client is told once the bytes have been
   * taken, which says nothing of their arrival. Writes and interrupts leave in the order of the calls.
   */
  write(
    address: DmaAddr,
    sizeBytes: number,
    from: SparseMemory,
    at: number,
    purpose: Purpose,
    client: DmaClient | null,
    arg: number,
  ): void {
    if (this.fabric.dmaWatch !== null) {
      this.fabric.dmaWatch.accessed(this.path, address, sizeBytes, true);
    }
    this.#requester.transfer(true, address, sizeBytes, from, at, purpose, client, arg);
  }

  /** Signals an interrupt: by MSI-X when enabled, else by MSI when enabled, else not at all. */
  raise(vector: number): void {
    if (this.#msix?.raise(vector)) return;
    this.#msi?.raise(vector);
  }

  decide(_ingress: Port, tlp: Tlp, out: Decision): void {
    out.address = tlp.address;
    out.latencyPs = 0;
    if (isMemory(tlp) && !this.#completer.claims(tlp)) {
      out.refuse(Verdict.Unsupported, 'unsupported-request');
    } else if (isCompletion(tlp) && tlp.targetId !== this.id) {
      out.refuse(Verdict.Drop, 'unexpected-completion');
    } else if (!isMemory(tlp) && !isCompletion(tlp) && (tlp.targetId & 7) !== 0) {
      out.refuse(Verdict.Unsupported, 'unsupported-request');
    } else {
      out.local();
    }
  }

  receive(ingress: Port, tlp: Tlp): void {
    if (!isCompletion(tlp)) return this.#completer.receive(ingress, tlp);
    this.fabric.arrived(this.path, this.index, tlp);
    if (!this.#requester.complete(tlp)) {
      this.fabric.refuse(this.path, 'unexpected-completion', tlp);
    }
    ingress.release(tlp);
    this.fabric.tlps.give(tlp);
  }

  sent(_port: Port, flowClass: FlowClass): void {
    if (flowClass === 2) this.#completer.sent();
    else this.#requester.sent(flowClass);
  }

  handle(_op: number, arg: EventArg): void {
    if (arg instanceof Tlp) this.#completer.answer(arg);
  }

  store(tlp: Tlp, _decision: Decision, from: SparseMemory, at: number): number {
    return this.#completer.store(tlp, from, at);
  }

  load(tlp: Tlp, _decision: Decision, into: SparseMemory, at: number): number {
    return this.#completer.load(tlp, into, at);
  }

  configure(_ingress: Port, tlp: Tlp, value: number): number {
    // Bus and device number are captured from every configuration write. [PCIE] 2.2.6.2
    if (isConfigWrite(tlp)) this.#requester.id = tlp.targetId;
    return accessConfig(this.config, tlp, value);
  }

  /** Frees the model's memories. */
  dispose(): void {
    this.onDispose?.();
  }

  #reset(): void {
    this.#requester.reset();
    this.#completer.reset();
    this.onReset?.();
  }
}
