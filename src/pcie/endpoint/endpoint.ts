/**
 * A device's only door to the fabric: one function with its configuration space, BARs, interrupts and DMA.
 * Models have an endpoint; none extends it. [PCIE] 2.2, 6.1.4, 7.5
 * @module
 */
import type { DmaAddr } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { type Component, type Decision, Verdict } from '#emu/pcie/component.ts';
import { addPcie, setLinkDown, setLinkUp } from '#emu/pcie/config/capabilities.ts';
import { accessConfig } from '#emu/pcie/config/config-access.ts';
import type { BarSpec, Identity } from '#emu/pcie/config/config-header.ts';
import { PortType } from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import {
  addFunctionCapabilities,
  type FunctionCapabilities,
} from '#emu/pcie/config/function-capabilities.ts';
import { type InterruptPin, Intx } from '#emu/pcie/config/intx.ts';
import { sendIntx } from '#emu/pcie/config/intx-wires.ts';
import { Msi } from '#emu/pcie/config/msi.ts';
import { Msix, type MsixOptions } from '#emu/pcie/config/msi-x.ts';
import { CONFIG_RETRY, Readiness, type ReadinessOptions } from '#emu/pcie/config/readiness.ts';
import { Sriov, type SriovOptions } from '#emu/pcie/config/sriov.ts';
import type { AerOptions } from '#emu/pcie/errors/aer-registers.ts';
import { addErrorSite } from '#emu/pcie/errors/error-registers.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { ENDPOINT_CREDITS, type LinkSpec } from '#emu/pcie/link/link.ts';
import { PayloadLimit } from '#emu/pcie/link/payload-limit.ts';
import { Port } from '#emu/pcie/link/port.ts';
import type { AtomicKind } from '#emu/pcie/tlp/atomic-operation.ts';
import { DAMAGED, refuseDamaged } from '#emu/pcie/tlp/damage.ts';
import type { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { endsAtFunction, type MessageBody, MessageInbox } from '#emu/pcie/tlp/message.ts';
import type { RequestAttributes } from '#emu/pcie/tlp/request-attributes.ts';
import {
  type FlowClass,
  isCompletion,
  isConfigWrite,
  isIo,
  isMemory,
  isMessage,
  isType1Config,
  Tlp,
} from '#emu/pcie/tlp/tlp.ts';
import type { MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import { BarSpace, type BarTarget } from './bar-space.ts';
import { Completer } from './completer.ts';
import type { DmaClient } from './dma-job.ts';
import { DmaRequester } from './dma-requester.ts';

export type { BarHandler } from './bar-space.ts';
export type { DmaClient } from './dma-job.ts';

export const DEFAULT_MAX_PAYLOAD = 512;
export const DEFAULT_COMPLETER_LATENCY_PS = 50_000;

export interface EndpointSpec extends FunctionCapabilities, ReadinessOptions {
  readonly identity: Identity;
  readonly bars: readonly (BarSpec & { readonly target: BarTarget })[];
  /** Vectors of a 64-bit maskable MSI capability. */
  readonly msi?: { readonly vectors: 1 | 2 | 4 | 8 | 16 | 32 };
  readonly msix?: MsixOptions;
  /** Which of INTA to INTD the function drives when software uses neither MSI nor MSI-X. Default none. */
  readonly interruptPin?: InterruptPin;
  /** Virtual functions behind this one. */
  readonly sriov?: SriovOptions;
  /** The physical function of this virtual one. */
  readonly vfOf?: Endpoint;
  /** Max_Payload_Size Supported, bytes. Default 512. */
  readonly maxPayloadBytes?: 128 | 256 | 512 | 1024 | 2048 | 4096;
  /** Outstanding requests that the device can have; 256 and 768 need their tags enabled too. Default 256. */
  readonly tags?: 32 | 256 | 768;
  /** Advanced Error Reporting; default as the machine says. */
  readonly aer?: boolean | AerOptions;
  /** 10-Bit Tag Completer Supported; an old function is none. Default true. [PCIE] 2.2.6.2 */
  readonly tenBitCompleter?: boolean;
  /** AtomicOps at its memory BARs, and of its own. Default false. [PCIE] 6.15 */
  readonly atomics?: boolean;
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
  /** Virtual functions behind this one, or null. */
  readonly sriov: Sriov | null;
  /** Max_Payload_Size Supported, bytes. */
  readonly maxPayloadBytes: number;
  /** Takes changes of the pin, INTA is 0: by default they are sent; functions of one device merge theirs. */
  onIntx: (from: Endpoint, wire: number, asserted: boolean) => void = sendIntx;
  /** Called when a reset of this function has begun; its registers are already reset. */
  onReset: (() => void) | null = null;
  /** Called when the machine is taken apart, so that the model frees its memories. */
  onDispose: (() => void) | null = null;
  /** The model behind it, for tests and observers. */
  model: object | null = null;
  /** Messages from above that end here. */
  readonly messages = new MessageInbox();
  #port: Port;
  /** Within its device, below 256; -1 for a virtual function. */
  #number = 0;
  readonly #requester: DmaRequester;
  readonly #completer: Completer;
  readonly #bars: BarSpace;
  readonly #msi: Msi | null;
  readonly #msix: Msix | null;
  readonly #intx: Intx | null;
  readonly #readiness: Readiness;

  constructor(fabric: Fabric, path: string, spec: EndpointSpec) {
    this.fabric = fabric;
    this.path = path;
    this.index = fabric.nextIndex();
    this.maxPayloadBytes = spec.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD;
    const { identity, bars: barSpecs, vfOf = null } = spec;
    this.config = new ConfigSpace({ type: 0, identity, bars: barSpecs, isVirtual: vfOf !== null });
    this.config.physical = vfOf?.config ?? null;
    const tags = spec.tags ?? 256;
    addPcie(this.config, {
      portType: PortType.Endpoint,
      maxPayloadBytes: this.maxPayloadBytes,
      extendedTags: tags > 32,
      tenBitTags: tags > 256,
      tenBitCompleter: spec.tenBitCompleter ?? true,
      atomics: spec.atomics ?? false,
    });
    this.#port = new Port(fabric, this, 0, path, { credits: ENDPOINT_CREDITS });
    new PayloadLimit(this.#port, [this.config]);
    this.#requester = new DmaRequester(
      fabric,
      path,
      this.#port,
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
    addFunctionCapabilities(this.config, spec);
    this.#readiness = new Readiness(fabric.kernel.clock, spec);
    this.#intx = spec.interruptPin ? this.#interruptPin(spec.interruptPin) : null;
    this.sriov = spec.sriov ? new Sriov(this, spec.sriov) : null;
    addErrorSite(fabric, this, spec.aer);
    this.#requester.style.aer = fabric.errorSites.get(path)?.aer ?? null;
    this.config.onWrite = () => bars.refresh();
    this.config.onFunctionReset = () => this.#reset(true);
  }

  /** The link of the device, shared by its functions. */
  get port(): Port {
    return this.#port;
  }

  /** Whether the function may send requests. [PCIE] 7.5.1.1.3 */
  get busMaster(): boolean {
    return this.config.busMaster;
  }

  /** Requester ID, 0 before software has written to this function. */
  get id(): number {
    return this.#requester.id;
  }
  /** For a virtual function, whose physical function numbers it. */
  set id(id: number) {
    this.#requester.id = id;
  }

  /** Becomes function `number` of several behind one port, -1 for a virtual one, before anything is sent. */
  join(port: Port, number: number): void {
    this.#port = port;
    this.#requester.port = port;
    this.#number = number;
  }

  /** Whether a BAR takes a memory request. */
  claims(tlp: Tlp): boolean {
    return this.#completer.claims(tlp);
  }

  /** `TlpFlag.TD` where its TLPs leave with a digest, else 0. */
  get digestFlags(): number {
    return this.#requester.style.plainFlags;
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

  /**
   * Carries out an AtomicOp of `sizeBytes` (4, 8, or 16 for CAS) at `address`. Its operand, or compare and swap
   * value, come from `memory` at `at`, where the original value is put before the client is told; AtomicsOff when
   * software has not enabled AtomicOps. [PCIE] 2.2.7, 6.15
   */
  atomic(
    kind: AtomicKind,
    address: DmaAddr,
    sizeBytes: number,
    memory: SparseMemory,
    at: number,
    client: DmaClient,
    arg: number,
  ): void {
    if (this.fabric.dmaWatch !== null) {
      this.fabric.dmaWatch.accessed(this.path, address, sizeBytes, true);
    }
    this.#requester.atomic(kind, address, sizeBytes, memory, at, client, arg);
  }

  /** Sets what the requests of later transfers say; plain without argument. Interrupts and messages stay plain. */
  requestAs(attributes: RequestAttributes = {}): void {
    this.#requester.style.ask(attributes);
  }

  /**
   * Sends a message behind the writes and interrupts asked for before, whatever Bus Master Enable says.
   * @param code a `MessageCode`
   */
  sendMessage(code: number, routing: MessageRouting, body: MessageBody = {}): void {
    this.#requester.sendMessage(code, routing, body);
  }

  /** Signals an interrupt: by MSI-X when enabled, else by MSI when enabled, else not at all. */
  raise(vector: number): void {
    if (this.#msix?.raise(vector)) return;
    this.#msi?.raise(vector);
  }

  /** Sets the level of the interrupt pin, which counts while neither MSI nor MSI-X is enabled. [PCIE] 6.1.4.1 */
  setIntx(level: boolean): void {
    this.#intx?.set(level);
  }

  decide(_ingress: Port, tlp: Tlp, out: Decision): void {
    out.address = tlp.address;
    out.latencyPs = 0;
    if (isMessage(tlp)) {
      if (endsAtFunction(tlp, this.id)) out.local();
      else out.refuse(Verdict.Unsupported, 'unsupported-request');
    } else if ((isMemory(tlp) && !this.#completer.claims(tlp)) || isIo(tlp)) {
      out.refuse(Verdict.Unsupported, 'unsupported-request');
    } else if (isCompletion(tlp) && tlp.targetId !== this.id) {
      out.refuse(Verdict.Drop, 'unexpected-completion');
    } else if (!isMemory(tlp) && !isCompletion(tlp) && !this.#isNamed(tlp)) {
      out.refuse(Verdict.Unsupported, 'unsupported-request');
    } else {
      out.local();
      if ((tlp.flags & DAMAGED) !== 0 && !isCompletion(tlp)) {
        refuseDamaged(this.fabric, this.path, tlp, out);
      }
    }
  }

  receive(ingress: Port, tlp: Tlp): void {
    if (!isCompletion(tlp)) return this.#completer.receive(ingress, tlp);
    this.fabric.arrived(this.path, this.index, tlp);
    if (!this.#requester.complete(tlp) && !this.#readiness.isSilent) {
      this.fabric.refuse(this.path, 'unexpected-completion', tlp);
    }
    ingress.release(tlp);
    this.fabric.tlps.give(tlp);
  }

  linkChanged(port: Port, isUp: boolean): void {
    if (isUp && port.link !== null) return this.linkUp(port.link);
    // The loss of its link resets a device. [PCIE] 2.9.1
    setLinkDown(this.config);
    this.reset();
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
    if (!this.#readiness.isReady) return CONFIG_RETRY;
    // Bus and device number are captured from every configuration write. [PCIE] 2.2.6.2
    if (isConfigWrite(tlp)) {
      this.#requester.id = tlp.targetId;
      this.sriov?.renumber();
    }
    return accessConfig(this.config, tlp, value);
  }

  message(_ingress: Port, tlp: Tlp): void {
    this.fabric.arrived(this.path, this.index, tlp);
    if (!this.messages.deliver(this.port, tlp)) {
      this.fabric.refuse(this.path, 'unsupported-request', tlp);
    }
  }

  /** Frees the model's memories. */
  dispose(): void {
    this.onDispose?.();
  }

  /** Puts the function back as a conventional reset does. */
  reset(): void {
    this.config.reset();
    this.config.onWrite?.(0);
    this.#reset(false);
  }

  /** Whether a configuration request names this function: a virtual one may stand on a further bus. */
  #isNamed(tlp: Tlp): boolean {
    if (this.#number < 0) return tlp.targetId === this.id;
    return !isType1Config(tlp) && (tlp.targetId & 0xff) === this.#number;
  }

  #interruptPin(pin: InterruptPin): Intx {
    const kinds = [this.#msi, this.#msix].filter((kind) => kind !== null);
    return new Intx(this.config, kinds, (asserted) => this.onIntx(this, pin - 1, asserted));
  }

  #reset(isFunctionLevel: boolean): void {
    this.#readiness.reset(isFunctionLevel);
    this.#requester.reset();
    this.#completer.reset();
    this.#intx?.set(false);
    this.onReset?.();
  }
}
