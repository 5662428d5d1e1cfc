/**
 * The root complex: root ports on bus 0, host memory, the translator in front of it, peer forwarding between
 * root ports, and the message-signalled interrupt doorbell. CPU requests are RootRequester's.
 * [PCIE] 1.3.1, 2.2.4, 6.12
 * @module
 */
import { type Bdf, bdfFromId, dmaAddr, type PhysAddr } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import { copyMemory, type SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { BridgeTable, inWindow, isBelow, PeerPath, peerPath } from './bridge-table.ts';
import { type Component, Decision, Verdict } from './component.ts';
import { accessConfig, answerError } from './config-access.ts';
import type { ConfigSpace } from './config-space.ts';
import { DmaStatus } from './dma-status.ts';
import type { BarHandler } from './endpoint.ts';
import type { Fabric } from './fabric.ts';
import { FULL_CREDITS } from './link.ts';
import { MemoryServer, type MemoryTiming } from './memory-server.ts';
import { Port } from './port.ts';
import { RootRequester } from './root-requester.ts';
import { completionBytes } from './splitting.ts';
import { FlowClass, fillCompletionData, isCompletion, isMemory, Tlp, TlpKind } from './tlp.ts';
import { newTranslation, type Translator } from './translator.ts';

const Op = { Write: 0, Read: 1, Answer: 2, Forward: 3, Refuse: 4, Release: 5 } as const;
export const DEFAULT_ROOT_LATENCY_PS = 100_000;

export interface AddressSpan {
  readonly base: PhysAddr;
  readonly sizeBytes: number;
}

export interface RootComplexOptions {
  /** Host physical address space. */
  readonly memory: SparseMemory;
  /** Part of it that is DRAM. */
  readonly dram: AddressSpan;
  /** A 4-byte write here raises the interrupt of the number written. */
  readonly doorbell: AddressSpan;
  readonly memoryTiming?: MemoryTiming;
  /** From the tail of a TLP at a root port to the decision, ps. Default 100 ns. */
  readonly latencyPs?: number;
  /** Function 00:00.0. */
  readonly hostBridge: ConfigSpace;
  /** Type 1 functions of the root ports: 00:01.0, 00:02.0 and on. */
  readonly bridges: readonly ConfigSpace[];
  readonly portPaths: readonly string[];
}

export class RootComplex implements Component, Target {
  readonly path: string;
  readonly index: number;
  readonly fabric: Fabric;
  readonly memory: SparseMemory;
  readonly server: MemoryServer;
  readonly ports: readonly Port[];
  readonly bridges: readonly ConfigSpace[];
  readonly hostBridge: ConfigSpace;
  readonly requester: RootRequester;
  /** The IOMMU, or null: addresses of devices are then physical. */
  translator: Translator | null = null;
  /** Takes the number written to the doorbell. */
  onInterrupt: ((data: number) => void) | null = null;
  readonly #dramBase: number;
  readonly #dramLimit: number;
  readonly #doorbell: AddressSpan;
  readonly #table: BridgeTable;
  readonly #decision = new Decision();
  readonly #translation = newTranslation();
  /** Per root port: when its latest posted write takes effect, so that nothing overtakes it. */
  readonly #postedDue: Float64Array;
  /** 1 where port `from` may reach port `to`, row by row. */
  readonly #peers: Uint8Array;

  constructor(fabric: Fabric, path: string, options: RootComplexOptions) {
    this.fabric = fabric;
    this.path = path;
    this.memory = options.memory;
    this.server = new MemoryServer(options.memoryTiming);
    this.bridges = options.bridges;
    this.hostBridge = options.hostBridge;
    this.#dramBase = options.dram.base;
    this.#dramLimit = options.dram.base + options.dram.sizeBytes;
    this.#doorbell = options.doorbell;
    this.index = fabric.nextIndex();
    const ingressLatencyPs = options.latencyPs ?? DEFAULT_ROOT_LATENCY_PS;
    const portOptions = { credits: FULL_CREDITS, ingressLatencyPs };
    this.ports = options.bridges.map(
      (_, i) => new Port(fabric, this, i, options.portPaths[i] ?? `${path}.port${i}`, portOptions),
    );
    this.#postedDue = new Float64Array(this.ports.length).fill(-0.5);
    this.#peers = new Uint8Array(this.ports.length ** 2).fill(1);
    this.#table = new BridgeTable(options.bridges);
    for (const bridge of options.bridges) bridge.onWrite = () => this.#table.refresh();
    this.requester = new RootRequester(this, this.#table);
  }

  /** Allows or refuses requests that enter by one root port and leave by another (or the same). */
  setPeerForwarding(from: number, to: number, allowed: boolean): void {
    this.#peers[from * this.ports.length + to] = allowed ? 1 : 0;
  }

  peerForwarding(from: number, to: number): boolean {
    return this.#peers[from * this.ports.length + to] === 1;
  }

  /** CPU configuration read; all ones when nothing answers. */
  configRead(target: Bdf, offset: number, size: 1 | 2 | 4): Pending<number> {
    return this.requester.configRead(target, offset, size);
  }

  configWrite(target: Bdf, offset: number, size: 1 | 2 | 4, value: number): Pending<void> {
    return this.requester.configWrite(target, offset, size, value);
  }

  /** CPU load from a device; all ones when nothing answers. */
  mmioRead(address: PhysAddr, size: 1 | 2 | 4): Pending<number> {
    return this.requester.mmioRead(address, size);
  }

  /** CPU store to a device: posted. `hi` is the upper half of an 8-byte store. */
  mmioWrite(address: PhysAddr, size: 1 | 2 | 4 | 8, lo: number, hi = 0): void {
    this.requester.mmioWrite(address, size, lo, hi);
  }

  /** Registers inside the root complex, such as the IOMMU's. */
  addInternal(base: PhysAddr, sizeBytes: number, handler: BarHandler): void {
    this.requester.addInternal(base, sizeBytes, handler);
  }

  decide(ingress: Port, tlp: Tlp, out: Decision): void {
    out.address = tlp.address;
    out.latencyPs = 0;
    if (isMemory(tlp)) this.#memoryRequest(ingress, tlp, out);
    else if (isCompletion(tlp)) this.#completion(tlp, out);
    else out.refuse(Verdict.Unsupported, 'unsupported-request');
  }

  receive(ingress: Port, tlp: Tlp): void {
    const decision = this.#decision;
    this.decide(ingress, tlp, decision);
    if (isCompletion(tlp)) return this.#receiveCompletion(ingress, tlp, decision);
    tlp.address = decision.address;
    const delayPs = this.#order(ingress, tlp, decision.latencyPs);
    const op = this.#opFor(ingress, tlp, decision);
    if (delayPs === 0) this.handle(op, tlp);
    else this.fabric.kernel.schedule(delayPs, this, op, tlp);
  }

  sent(): void {
    // Completions are queued whole: their number is bounded by the non-posted credits given.
  }

  handle(op: number, arg: EventArg): void {
    if (!(arg instanceof Tlp)) return;
    const { ingress } = arg;
    if (op === Op.Forward) {
      const { egress } = arg;
      if (egress !== null) egress.send(arg);
    } else if (ingress === null) {
      this.fabric.tlps.give(arg);
    } else if (op === Op.Write) this.#write(ingress, arg);
    else if (op === Op.Read) this.#read(arg);
    else if (op === Op.Answer) this.#answer(ingress, arg);
    else if (op === Op.Refuse) this.#refuse(ingress, arg);
    else this.#release(ingress, arg);
  }

  store(tlp: Tlp, decision: Decision, from: SparseMemory, at: number): number {
    const { address } = decision;
    if (this.#isDoorbell(address)) {
      this.onInterrupt?.(from.getU32(at));
    } else {
      copyMemory(this.memory, address, from, at, tlp.sizeBytes);
      this.server.count(true, tlp.purpose, tlp.sizeBytes);
    }
    return tlp.sizeBytes;
  }

  load(tlp: Tlp, decision: Decision, into: SparseMemory, at: number): number {
    copyMemory(into, at, this.memory, decision.address, tlp.sizeBytes);
    this.server.count(false, tlp.purpose, tlp.sizeBytes);
    return tlp.sizeBytes;
  }

  /** Functions on bus 0: the host bridge and the root ports. All ones where there is none. */
  configure(_ingress: Port, tlp: Tlp, value: number): number {
    const device = (tlp.targetId >>> 3) & 31;
    const config = device === 0 ? this.hostBridge : this.bridges[device - 1];
    const isFunction0 = (tlp.targetId & 7) === 0;
    return config && isFunction0 ? accessConfig(config, tlp, value) : 0xffff_ffff;
  }

  #memoryRequest(ingress: Port, tlp: Tlp, out: Decision): void {
    const bridge = this.#bridge(ingress.index);
    if (!bridge.busMaster) return out.refuse(Verdict.Unsupported, 'unsupported-request');
    if (bridge.acsSourceValidation && !isBelow(bridge, tlp.requester)) {
      return out.refuse(Verdict.Violation, 'acs-violation');
    }
    if (inWindow(bridge, tlp.address)) {
      // Sent up although its target is below: a redirect, which only Upstream Forwarding lets pass.
      if (!bridge.acsUpstreamForwarding) {
        return out.refuse(Verdict.Unsupported, 'unsupported-request');
      }
    } else {
      const peer = this.#table.findAddress(tlp.address);
      const path = peer < 0 ? PeerPath.Redirect : peerPath(bridge, peer);
      if (path === PeerPath.Violation) return out.refuse(Verdict.Violation, 'acs-violation');
      if (path === PeerPath.Direct) return this.#toPeer(ingress.index, peer, out);
    }
    if (this.translator !== null && !this.#translate(this.translator, tlp, out)) return;
    this.#resolve(ingress.index, tlp, out);
  }

  #translate(translator: Translator, tlp: Tlp, out: Decision): boolean {
    const answer = this.#translation;
    const isWrite = tlp.kind === TlpKind.MWr;
    translator.translate(bdfFromId(tlp.requester), dmaAddr(tlp.address), isWrite, answer);
    out.latencyPs = answer.latencyPs;
    if (!answer.fault) out.address = answer.address;
    if (answer.fault) out.refuse(Verdict.Unsupported, 'translation-fault');
    return !answer.fault;
  }

  /** What decodes a physical address: DRAM, the doorbell, or a root port's window. */
  #resolve(from: number, tlp: Tlp, out: Decision): void {
    const { address } = out;
    if (address >= this.#dramBase && address + tlp.sizeBytes <= this.#dramLimit) return out.local();
    if (this.#isDoorbell(address)) {
      const isWord = tlp.kind === TlpKind.MWr && tlp.sizeBytes === 4 && (address & 3) === 0;
      if (isWord) return out.local();
    }
    const peer = this.#table.findAddress(address);
    if (peer < 0) out.refuse(Verdict.Unsupported, 'unsupported-request');
    else this.#toPeer(from, peer, out);
  }

  #toPeer(from: number, to: number, out: Decision): void {
    const port = this.ports[to];
    if (!port?.peer) out.refuse(Verdict.Unsupported, 'unsupported-request');
    else if (!this.peerForwarding(from, to)) out.refuse(Verdict.Unsupported, 'peer-refused');
    else out.forward(port);
  }

  #completion(tlp: Tlp, out: Decision): void {
    const bus = tlp.targetId >>> 8;
    if (bus === 0) return out.local();
    const port = this.ports[this.#table.findBus(bus)];
    if (port?.peer) out.forward(port);
    else out.refuse(Verdict.Drop, 'unexpected-completion');
  }

  #receiveCompletion(ingress: Port, tlp: Tlp, decision: Decision): void {
    if (decision.verdict === Verdict.Forward && decision.port !== null) {
      return decision.port.send(tlp);
    }
    if (decision.verdict === Verdict.Local) {
      this.fabric.arrived(this.path, this.index, tlp);
      this.requester.complete(tlp);
    } else {
      this.fabric.refuse(ingress.path, decision.error, tlp);
    }
    this.#release(ingress, tlp);
  }

  /** Delay until a request takes effect: its translation, and behind every earlier posted write. */
  #order(ingress: Port, tlp: Tlp, latencyPs: number): number {
    const { now } = this.fabric.kernel;
    const posted = this.#postedDue[ingress.index] ?? 0;
    const due = Math.max(posted, now + latencyPs);
    if (tlp.flowClass === FlowClass.Posted) this.#postedDue[ingress.index] = due;
    return due - now;
  }

  #opFor(ingress: Port, tlp: Tlp, decision: Decision): number {
    if (decision.verdict === Verdict.Forward) {
      tlp.egress = decision.port;
      return Op.Forward;
    }
    if (decision.verdict === Verdict.Local) return tlp.kind === TlpKind.MWr ? Op.Write : Op.Read;
    this.fabric.refuse(ingress.path, decision.error, tlp);
    tlp.status =
      decision.verdict === Verdict.Violation
        ? DmaStatus.CompleterAbort
        : DmaStatus.UnsupportedRequest;
    return Op.Refuse;
  }

  #write(ingress: Port, tlp: Tlp): void {
    this.fabric.arrived(this.path, this.index, tlp);
    if (this.#isDoorbell(tlp.address)) {
      this.onInterrupt?.(arena.view.getUint32(tlp.payloadAt, true));
      return this.#release(ingress, tlp);
    }
    this.memory.copyIn(tlp.address, tlp.payloadAt, tlp.sizeBytes);
    this.server.count(true, tlp.purpose, tlp.sizeBytes);
    const holdPs = this.server.writePs(this.fabric.kernel.now, tlp.sizeBytes);
    if (holdPs === 0) this.#release(ingress, tlp);
    else this.fabric.kernel.schedule(holdPs, this, Op.Release, tlp);
  }

  #read(tlp: Tlp): void {
    this.fabric.arrived(this.path, this.index, tlp);
    this.server.count(false, tlp.purpose, tlp.sizeBytes);
    const { kernel } = this.fabric;
    kernel.schedule(this.server.readPs(kernel.now, tlp.sizeBytes), this, Op.Answer, tlp);
  }

  /** Sends the data of a read back, split at the root port's RCB. */
  #answer(ingress: Port, tlp: Tlp): void {
    const { tlps } = this.fabric;
    const { maxPayloadBytes, rcbBytes } = this.#bridge(ingress.index);
    let done = 0;
    do {
      const address = tlp.address + done;
      const size = completionBytes(address, tlp.sizeBytes - done, maxPayloadBytes, rcbBytes);
      const cpl = tlps.take();
      fillCompletionData(cpl, tlp, 0, done, size);
      if (size > 0) this.memory.copyOut(address, cpl.payloadAt, size);
      ingress.send(cpl);
      done += size;
    } while (done < tlp.sizeBytes);
    this.#release(ingress, tlp);
  }

  #refuse(ingress: Port, tlp: Tlp): void {
    if (tlp.flowClass === FlowClass.NonPosted) {
      ingress.send(answerError(this.fabric.tlps, tlp, 0, tlp.status));
    }
    this.#release(ingress, tlp);
  }

  #release(ingress: Port, tlp: Tlp): void {
    ingress.release(tlp);
    this.fabric.tlps.give(tlp);
  }

  #isDoorbell(address: number): boolean {
    const { base, sizeBytes } = this.#doorbell;
    return address >= base && address < base + sizeBytes;
  }

  #bridge(index: number): ConfigSpace {
    const bridge = this.bridges[index];
    if (!bridge) throw new RangeError(`${this.path} has no root port ${index}`);
    return bridge;
  }
}
