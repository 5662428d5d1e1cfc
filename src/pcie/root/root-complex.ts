/**
 * The root complex: host bridges with their root ports, host memory, the translator in front of it, peer
 * forwarding between root ports, and the message-signalled interrupt doorbell. CPU requests are RootRequester's.
 * [PCIE] 1.3.1, 2.2.4, 6.12
 * @module
 */
import type { Bdf, PhysAddr } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import { copyMemory, type SparseMemory } from '#emu/memory/sparse-memory.ts';
import { type Component, Decision, Verdict } from '#emu/pcie/component.ts';
import { setLinkDown, setLinkUp } from '#emu/pcie/config/capabilities.ts';
import { accessConfig } from '#emu/pcie/config/config-access.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { type IntxWires, rootIntx } from '#emu/pcie/config/intx-wires.ts';
import type { BarHandler } from '#emu/pcie/endpoint/endpoint.ts';
import { addRootErrors } from '#emu/pcie/errors/error-registers.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { FULL_CREDITS } from '#emu/pcie/link/link.ts';
import { PayloadLimit } from '#emu/pcie/link/payload-limit.ts';
import { Port } from '#emu/pcie/link/port.ts';
import { HotReset } from '#emu/pcie/switch/hot-reset.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { MessageInbox } from '#emu/pcie/tlp/message.ts';
import { FlowClass, isCompletion, isMessage, isRelaxed, Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import type { Translator } from '#emu/pcie/translator.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { HostBridges } from './host-bridge.ts';
import { MemoryServer } from './memory-server.ts';
import { type PeerPolicy, PeerRules } from './peer-policy.ts';
import { PeerReads, type PeerReadTable } from './peer-reads.ts';
import { PostedOrder } from './posted-order.ts';
import { RootAnswers } from './root-answers.ts';
import { DEFAULT_ROOT_LATENCY_PS, type RootComplexOptions } from './root-complex-options.ts';
import { RootRequester } from './root-requester.ts';
import { RootRouter, Service } from './root-router.ts';

const Op = {
  Write: 0,
  Read: 1,
  Answer: 2,
  Forward: 3,
  Refuse: 4,
  Release: 5,
  Ones: 6,
  Own: 7,
  Complete: 8,
  Message: 9,
} as const;
const { MRd, MWr } = TlpKind;
const FOUR_GIB = 0x1_0000_0000;
const MAX_PAYLOAD_BYTES = 4096;
const NEAR_PS = 2 ** 31;

export class RootComplex implements Component, Target {
  readonly path: string;
  readonly index: number;
  readonly fabric: Fabric;
  readonly memory: SparseMemory;
  readonly server: MemoryServer;
  readonly hosts: HostBridges;
  /** Root ports of all host bridges, in order; everything below counts them so. */
  readonly ports: readonly Port[];
  /** Their type 1 functions. */
  readonly bridges: readonly ConfigSpace[];
  readonly completionBytes: number;
  readonly peers: PeerRules;
  readonly requester: RootRequester;
  /** Messages that end here. */
  readonly messages = new MessageInbox();
  /** The IOMMU, or null: addresses of devices are then physical. */
  translator: Translator | null = null;
  /** Takes the level of an interrupt line, four for each host bridge. */
  onIntx: ((line: number, asserted: boolean) => void) | null = null;
  readonly #intx: IntxWires;
  /** Takes the number written to the doorbell. */
  onInterrupt: ((data: number) => void) | null = null;
  readonly #router: RootRouter;
  readonly #decision = new Decision();
  readonly #posted: PostedOrder;
  readonly #answers = new RootAnswers(this);
  readonly #peerReadTable: PeerReadTable;
  #peerReads: PeerReads | null = null;

  constructor(fabric: Fabric, path: string, options: RootComplexOptions) {
    this.fabric = fabric;
    this.path = path;
    this.memory = options.memory;
    this.completionBytes = options.completionBytes ?? MAX_PAYLOAD_BYTES;
    this.server = new MemoryServer(fabric.kernel.clock, options.memoryTiming);
    this.hosts = new HostBridges(options.hostBridges);
    this.bridges = this.hosts.bridges;
    this.#router = new RootRouter(this, options.dram, options.doorbell);
    this.index = fabric.nextIndex();
    const ingressLatencyPs = options.latencyPs ?? DEFAULT_ROOT_LATENCY_PS;
    const portOptions = { credits: FULL_CREDITS, ingressLatencyPs };
    const paths = options.hostBridges.flatMap(({ portPaths = [] }) => portPaths);
    this.ports = this.bridges.map(
      (_, i) => new Port(fabric, this, i, paths[i] ?? `${path}.port${i}`, portOptions),
    );
    this.#posted = new PostedOrder(fabric.kernel.clock, this.ports.length);
    this.peers = new PeerRules(this.ports.length);
    this.#peerReadTable = options.peerReads ?? {};
    this.requester = new RootRequester(this);
    for (const port of this.ports) new HotReset(port, this.bridges[port.index]!);
    for (const port of this.ports) new PayloadLimit(port, [this.bridges[port.index]!]);
    this.#intx = rootIntx(this.hosts, this.messages, (line, on) => this.onIntx?.(line, on));
    addRootErrors(this, (address, data) => this.#signal(address, data));
  }

  /**
   * Sets what happens to requests that enter by one root port and leave by another, or by the same. Of lists
   * every pair gets the policy, and they share its bandwidth. @throws USAGE
   */
  setPeerForwarding(
    from: number | readonly number[],
    to: number | readonly number[],
    policy: boolean | PeerPolicy,
  ): void {
    const rule = typeof policy === 'boolean' ? { allowed: policy } : policy;
    this.peers.set([from].flat(), [to].flat(), rule);
    if (rule.splitReadBytes !== undefined) {
      this.#peerReads ??= new PeerReads(this, this.#peerReadTable);
    }
  }

  /** Whether any request may pass; {@link PeerRules.policy} tells the rest. */
  peerForwarding(from: number, to: number): boolean {
    return this.peers.policy(from, to).allowed ?? true;
  }

  /** Entries of the table of reads taken over that are in use. */
  get peerReadsInUse(): number {
    return this.#peerReads?.inUse ?? 0;
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
    this.#router.decide(ingress, tlp, out);
  }

  receive(ingress: Port, tlp: Tlp): void {
    const decision = this.#decision;
    this.decide(ingress, tlp, decision);
    if (isCompletion(tlp)) return this.#receiveCompletion(ingress, tlp, decision);
    const op = this.#opFor(ingress, tlp, decision);
    if (this.peers.isLimited) this.#limit(ingress, tlp, decision);
    this.#after(this.#order(ingress, tlp, decision.latencyPs), op, tlp);
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
    else if (op === Op.Release) this.#release(ingress, arg);
    else this.#handleRare(op, ingress, arg);
  }

  linkChanged(port: Port, isUp: boolean): void {
    const bridge = this.bridges[port.index];
    if (bridge === undefined) return;
    if (isUp && port.link !== null) {
      setLinkUp(bridge, port.link);
    } else {
      setLinkDown(bridge);
      this.requester.linkDown(port);
      this.#peerReads?.linkDown(port);
      this.#intx.release(port.index);
    }
    port.slot?.linkChanged();
  }

  store(tlp: Tlp, decision: Decision, from: SparseMemory, at: number): number {
    const { address } = decision;
    if (this.#router.isDoorbell(address)) {
      this.onInterrupt?.(from.getU32(at));
    } else {
      copyMemory(this.memory, address, from, at, tlp.sizeBytes);
      this.server.count(true, tlp.purpose, tlp.sizeBytes);
    }
    return tlp.sizeBytes;
  }

  load(tlp: Tlp, decision: Decision, into: SparseMemory, at: number): number {
    if (this.#router.service !== Service.Memory) return this.#loadPeer(tlp, decision, into, at);
    if (tlp.kind !== MRd) return this.#answers.load(tlp, decision.address, into, at);
    copyMemory(into, at, this.memory, decision.address, tlp.sizeBytes);
    this.server.count(false, tlp.purpose, tlp.sizeBytes);
    return tlp.sizeBytes;
  }

  /** A function on a root bus. All ones where there is none. */
  configure(_ingress: Port, tlp: Tlp, value: number): number {
    const config = this.hosts.ofBus(tlp.targetId >>> 8)?.function(tlp.targetId) ?? null;
    return config === null ? 0xffff_ffff : accessConfig(config, tlp, value);
  }

  message(ingress: Port, tlp: Tlp): void {
    this.fabric.arrived(this.path, this.index, tlp);
    if (this.messages.deliver(ingress, tlp)) return;
    this.fabric.refuse(ingress.path, 'unsupported-request', tlp);
  }

  /** Frees what peer policies have taken; host memory is not its own. */
  dispose(): void {
    this.#peerReads?.dispose();
  }

  /** An interrupt of a root port. `Model:` not translated, and never a write to anything but the doorbell. */
  #signal(address: number, data: number): void {
    if (this.#router.isDoorbell(address)) this.onInterrupt?.(data);
  }

  /** Completions must not pass posted writes either. [PCIE] 2.4.1 */
  #receiveCompletion(ingress: Port, tlp: Tlp, decision: Decision): void {
    const waitPs = isRelaxed(tlp) ? 0 : this.#posted.waitPs(ingress.index);
    if (decision.verdict === Verdict.Forward && decision.port !== null) {
      if (waitPs === 0) return decision.port.send(tlp);
      tlp.egress = decision.port;
      this.#after(waitPs, Op.Forward, tlp);
    } else if (decision.verdict === Verdict.Local) {
      this.#after(waitPs, Op.Complete, tlp);
    } else {
      this.fabric.refuse((decision.site ?? ingress).path, decision.error, tlp);
      this.#release(ingress, tlp);
    }
  }

  /** Function 0 of device 0 asks for the CPU, a root port for reads between hierarchies. */
  #complete(ingress: Port, tlp: Tlp): void {
    this.fabric.arrived(this.path, this.index, tlp);
    const isOfCpu = (tlp.targetId & 0xff) === 0;
    if (isOfCpu) this.requester.complete(tlp);
    else if (!this.#peerReads?.complete(tlp)) {
      this.fabric.refuse(ingress.path, 'unexpected-completion', tlp);
    }
    this.#release(ingress, tlp);
  }

  /** Lets time pass before `op`; far delays come from slow memory or a low bandwidth limit. */
  #after(delayPs: number, op: number, tlp: Tlp): void {
    const { kernel } = this.fabric;
    if (delayPs === 0) this.handle(op, tlp);
    else if (delayPs < NEAR_PS) kernel.schedule(delayPs, this, op, tlp);
    else kernel.scheduleFar(delayPs, this, op, tlp);
  }

  /** When every write that is translated by now has taken effect, ps: what an IOMMU's fence waits for. */
  drainedAt(): number {
    return this.#posted.drainedAt();
  }

  /** Adds the wait for a share of the pair's bandwidth: of a read, for what it asks. */
  #limit(ingress: Port, tlp: Tlp, decision: Decision): void {
    const { egress } = tlp;
    const limit = egress === null ? null : this.peers.limit(ingress.index, egress.index);
    if (limit === null) return;
    const { latencyPs } = decision;
    decision.latencyPs += limit.waitPs(this.fabric.kernel.clock, latencyPs, tlp.sizeBytes);
  }

  /** Delay until a request takes effect: its translation, and behind every earlier posted write. */
  #order(ingress: Port, tlp: Tlp, latencyPs: number): number {
    const waitPs = Math.max(this.#posted.waitPs(ingress.index), latencyPs);
    if (tlp.flowClass === FlowClass.Posted) this.#posted.note(ingress.index, waitPs);
    return waitPs;
  }

  #opFor(ingress: Port, tlp: Tlp, decision: Decision): number {
    const wasLong = tlp.address >= FOUR_GIB;
    tlp.address = decision.address;
    if (decision.verdict === Verdict.Forward) {
      tlp.egress = decision.port;
      // The header grows or shrinks with the address. [PCIE] 2.2.4.1
      if (wasLong !== tlp.address >= FOUR_GIB) tlp.seal();
      return Op.Forward;
    }
    if (decision.verdict === Verdict.Local) {
      if (this.#router.service !== Service.Memory) return this.#peerOp(tlp);
      if (tlp.kind === MWr) return Op.Write;
      return isMessage(tlp) ? Op.Message : Op.Read;
    }
    this.fabric.refuse((decision.site ?? ingress).path, decision.error, tlp);
    tlp.status =
      decision.verdict === Verdict.Violation
        ? DmaStatus.CompleterAbort
        : DmaStatus.UnsupportedRequest;
    return Op.Refuse;
  }

  #peerOp(tlp: Tlp): number {
    if (this.#router.service === Service.Ones) return Op.Ones;
    tlp.egress = this.#router.peerPort;
    return Op.Own;
  }

  #handleRare(op: number, ingress: Port, tlp: Tlp): void {
    if (op === Op.Refuse) return this.#refuse(ingress, tlp);
    if (op === Op.Complete) return this.#complete(ingress, tlp);
    if (op === Op.Own) return this.#peerReads?.start(tlp);
    if (op === Op.Message) {
      this.message(ingress, tlp);
      return this.#release(ingress, tlp);
    }
    this.fabric.arrived(this.path, this.index, tlp);
    this.#answer(ingress, tlp, true);
  }

  /** The same, in functional fidelity. */
  #loadPeer(tlp: Tlp, decision: Decision, into: SparseMemory, at: number): number {
    const port = this.#router.peerPort;
    if (this.#router.service === Service.PeerReads && this.#peerReads !== null && port !== null) {
      return this.#peerReads.load(tlp, decision, port, into, at);
    }
    into.fill(at, tlp.sizeBytes, 0xff);
    return tlp.sizeBytes;
  }

  #write(ingress: Port, tlp: Tlp): void {
    this.fabric.arrived(this.path, this.index, tlp);
    if (this.#router.isDoorbell(tlp.address)) {
      this.onInterrupt?.(arena.view.getUint32(tlp.payloadAt, true));
      return this.#release(ingress, tlp);
    }
    this.memory.copyIn(tlp.address, tlp.payloadAt, tlp.sizeBytes);
    this.server.count(true, tlp.purpose, tlp.sizeBytes);
    this.#after(this.server.writePs(tlp.sizeBytes), Op.Release, tlp);
  }

  #read(tlp: Tlp): void {
    this.fabric.arrived(this.path, this.index, tlp);
    this.server.count(false, tlp.purpose, tlp.sizeBytes);
    this.#after(this.server.readPs(tlp.sizeBytes), Op.Answer, tlp);
  }

  #answer(ingress: Port, tlp: Tlp, isOnes = false): void {
    this.#answers.data(ingress, tlp, isOnes);
    this.#release(ingress, tlp);
  }

  #refuse(ingress: Port, tlp: Tlp): void {
    this.#answers.failure(ingress, tlp);
    this.#release(ingress, tlp);
  }

  #release(ingress: Port, tlp: Tlp): void {
    ingress.release(tlp);
    this.fabric.tlps.give(tlp);
  }
}
