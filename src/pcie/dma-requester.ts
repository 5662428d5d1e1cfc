/**
 * A function's side of its own DMA: cuts transfers into requests, keeps the port fed without flooding it,
 * and puts completions back together. [PCIE] 2.2.6, 2.3.1
 * @module
 */
import type { DmaAddr } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { DelayLine } from '#emu/sim/delay-line.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { ConfigSpace } from './config-space.ts';
import { type DmaClient, DmaJob, DmaJobPool, DmaJobQueue } from './dma-job.ts';
import { DmaStatus, Purpose } from './dma-status.ts';
import type { Fabric } from './fabric.ts';
import { FunctionalPath } from './functional.ts';
import type { Port } from './port.ts';
import { requestBytes } from './splitting.ts';
import { TagTable } from './tag-table.ts';
import { FlowClass, Tlp, TlpKind } from './tlp.ts';

/** Negative: dispatched apart from the classes of the TLP path. */
const Op = { Done: -1, RunFunctional: -2, Expire: -3 } as const;
const TAG_BITS = 8;
/** TLPs of a class kept at the port: one on the wire, one behind it. */
const AHEAD = 2;

export class DmaRequester implements Target {
  readonly path: string;
  /** Requester ID captured from configuration writes. [PCIE] 2.2.6.2 */
  id = 0;
  readonly #fabric: Fabric;
  readonly #port: Port;
  readonly #config: ConfigSpace;
  readonly #maxTags: number;
  readonly #quarantine: boolean;
  readonly #pool = new DmaJobPool();
  readonly #writes = new DmaJobQueue();
  readonly #reads = new DmaJobQueue();
  readonly #tags = new TagTable();
  readonly #functional: FunctionalPath | null;
  /** Completion timeouts, and the ticket of each outstanding tag; made when the first read is sent. */
  #timeouts: DelayLine | null = null;
  readonly #shown = new Tlp(0);
  readonly #tickets = new Int32Array(1 << TAG_BITS);
  /** Functional fidelity: transfers that wait for their event. */
  readonly #pending = new DmaJobQueue();
  #runScheduled = false;

  constructor(
    fabric: Fabric,
    path: string,
    port: Port,
    config: ConfigSpace,
    maxTags: number,
    quarantine: boolean,
  ) {
    this.path = path;
    this.#fabric = fabric;
    this.#port = port;
    this.#config = config;
    this.#maxTags = maxTags;
    this.#quarantine = quarantine;
    this.#functional = fabric.functional ? new FunctionalPath(fabric) : null;
  }

  /** Read requests on their way. */
  get outstanding(): number {
    return this.#tags.outstanding;
  }

  transfer(
    isWrite: boolean,
    address: DmaAddr,
    sizeBytes: number,
    memory: SparseMemory | null,
    at: number,
    purpose: Purpose,
    client: DmaClient | null,
    arg: number,
  ): void {
    const job = this.#pool.take();
    job.isWrite = isWrite;
    job.address = address;
    job.sizeBytes = sizeBytes;
    job.memory = memory;
    job.at = at;
    job.purpose = purpose;
    job.client = client;
    job.arg = arg;
    this.#start(job);
  }

  /** An interrupt: a 4-byte posted write, in order with the writes before it. */
  message(address: DmaAddr, data: number): void {
    const job = this.#pool.take();
    job.isWrite = true;
    job.address = address;
    job.sizeBytes = 4;
    job.message = data;
    job.purpose = Purpose.Control;
    this.#start(job);
  }

  handle(op: number, arg: EventArg): void {
    if (op === Op.RunFunctional) this.#runFunctional();
    else if (op === Op.Done && arg instanceof DmaJob) this.#finish(arg);
    else if (typeof arg === 'number') this.#timedOut(arg & ((1 << TAG_BITS) - 1), arg >> TAG_BITS);
  }

  /** Takes a completion; false when nothing waits for it. */
  complete(tlp: Tlp): boolean {
    const job = this.#tags.job(tlp.tag);
    if (job === null || tlp.targetId !== this.id) return false;
    if (tlp.kind === TlpKind.CplD && job.memory !== null) {
      if (tlp.sizeBytes > this.#tags.left(tlp.tag)) return false;
      job.memory.copyIn(job.at + this.#tags.position(tlp.tag), tlp.payloadAt, tlp.sizeBytes);
      this.#answered(job, tlp.tag, tlp.sizeBytes);
    } else {
      job.status = tlp.status === DmaStatus.Ok ? DmaStatus.UnsupportedRequest : tlp.status;
      this.#answered(job, tlp.tag, this.#tags.left(tlp.tag));
    }
    this.#pumpReads();
    return true;
  }

  /** Queues more once the port has sent one. */
  sent(flowClass: FlowClass): void {
    if (flowClass === FlowClass.Posted) this.#pumpWrites();
    else if (flowClass === FlowClass.NonPosted) this.#pumpReads();
  }

  /** Forgets every transfer: their clients hear nothing more, and late completions are unexpected. */
  reset(): void {
    this.#writes.clear();
    this.#reads.clear();
    this.#pending.clear();
    for (const ticket of this.#tickets) this.#timeouts?.cancel(ticket);
    this.#tags.clear();
  }

  #start(job: DmaJob): void {
    if (!this.#config.busMaster) {
      job.status = DmaStatus.BusMasterOff;
      this.#later(job);
    } else if (this.#functional !== null) {
      this.#pending.push(job);
      if (this.#runScheduled) return;
      this.#runScheduled = true;
      this.#fabric.kernel.schedule(0, this, Op.RunFunctional, null);
    } else if (job.isWrite) {
      this.#writes.push(job);
      this.#pumpWrites();
    } else {
      this.#reads.push(job);
      this.#pumpReads();
    }
  }

  #pumpWrites(): void {
    const { tlps } = this.#fabric;
    while (this.#port.queued(FlowClass.Posted) < AHEAD) {
      const job = this.#writes.head;
      if (job === null) return;
      const address = job.address + job.issued;
      const limit = this.#config.maxPayloadBytes;
      const size = requestBytes(address, job.sizeBytes - job.issued, limit);
      const tlp = tlps.take();
      tlp.kind = TlpKind.MWr;
      this.#head(tlp, job, address, size);
      if (job.memory === null) arena.view.setUint32(tlp.payloadAt, job.message, true);
      else job.memory.copyOut(job.at + job.issued, tlp.payloadAt, size);
      job.issued += size;
      if (job.issued === job.sizeBytes) {
        this.#writes.shift();
        this.#later(job);
      }
      this.#port.send(tlp);
    }
  }

  #pumpReads(): void {
    while (this.#port.queued(FlowClass.NonPosted) < AHEAD) {
      const job = this.#reads.head;
      if (job === null) return;
      const address = job.address + job.issued;
      const limit = this.#config.maxReadRequestBytes;
      const size = requestBytes(address, job.sizeBytes - job.issued, limit);
      const tagLimit = this.#config.extendedTags ? this.#maxTags : 32;
      const tag = this.#tags.take(tagLimit, job, job.issued, size);
      if (tag < 0) return;
      this.#watch(tag);
      const tlp = this.#fabric.tlps.take();
      tlp.kind = TlpKind.MRd;
      tlp.tag = tag;
      this.#head(tlp, job, address, size);
      job.issued += size;
      if (job.issued === job.sizeBytes) this.#reads.shift();
      this.#port.send(tlp);
    }
  }

  #head(tlp: Tlp, job: DmaJob, address: number, size: number): void {
    tlp.requester = this.id;
    tlp.address = address;
    tlp.sizeBytes = size;
    tlp.purpose = job.purpose;
    tlp.relaxedOrdering = false;
    tlp.seal();
  }

  #answered(job: DmaJob, tag: number, sizeBytes: number): void {
    if (this.#tags.answer(tag, sizeBytes)) this.#timeouts?.cancel(this.#tickets[tag]!);
    this.#credit(job, sizeBytes);
  }

  #credit(job: DmaJob, sizeBytes: number): void {
    job.answered += sizeBytes;
    if (job.answered === job.sizeBytes) this.#finish(job);
  }

  /** Starts the completion timeout of a request. [PCIE] 2.8 */
  #watch(tag: number): void {
    const delayPs = this.#config.completionTimeoutPs;
    if (delayPs === 0) return;
    if (this.#timeouts?.delayPs !== delayPs) {
      this.#timeouts = new DelayLine(this.#fabric.kernel, delayPs, this, Op.Expire);
    }
    this.#tickets[tag] = this.#timeouts.push(tag | (this.#tags.use(tag) << TAG_BITS));
  }

  /** A timeout has come: of a request, or of the quarantine that followed. */
  #timedOut(tag: number, use: number): void {
    if (this.#tags.use(tag) !== use) return;
    const job = this.#tags.job(tag);
    if (job === null) {
      this.#tags.release(tag);
    } else {
      const left = this.#tags.left(tag);
      job.status = DmaStatus.Timeout;
      this.#fabric.refuse(this.path, 'completion-timeout', this.#describe(job, tag));
      this.#tags.expire(tag, this.#quarantine);
      // As long again before the tag is anybody's: whatever was on its way has come by then.
      if (this.#quarantine && this.#timeouts !== null) {
        this.#tickets[tag] = this.#timeouts.push(tag | (use << TAG_BITS));
      }
      this.#credit(job, left);
    }
    this.#pumpReads();
  }

  /** The rest of an outstanding request, for reports. */
  #describe(job: DmaJob, tag: number): Tlp {
    const tlp = this.#shown;
    tlp.kind = TlpKind.MRd;
    tlp.tag = tag;
    this.#head(tlp, job, job.address + this.#tags.position(tag), this.#tags.left(tag));
    return tlp;
  }

  #runFunctional(): void {
    this.#runScheduled = false;
    const path = this.#functional;
    if (path === null) return;
    // Only what waits now: a client may ask for more, which gets an event of its own.
    for (let job = this.#takeAll(); job !== null; ) {
      const next = job.next;
      this.#carryOut(path, job);
      this.#finish(job);
      job = next;
    }
  }

  #takeAll(): DmaJob | null {
    const first = this.#pending.head;
    this.#pending.clear();
    return first;
  }

  #carryOut(path: FunctionalPath, job: DmaJob): void {
    const { scratch } = this.#fabric;
    if (job.memory === null) scratch.setU32(0, job.message);
    const memory = job.memory ?? scratch;
    const at = job.memory === null ? 0 : job.at;
    const { address, sizeBytes, purpose } = job;
    if (job.isWrite) path.write(this.#port, this.id, address, sizeBytes, memory, at, purpose);
    else job.status = path.read(this.#port, this.id, address, sizeBytes, memory, at, purpose);
  }

  #later(job: DmaJob): void {
    this.#fabric.kernel.schedule(0, this, Op.Done, job);
  }

  #finish(job: DmaJob): void {
    const { client, status, arg } = job;
    this.#pool.give(job);
    if (client !== null) client.dmaDone(status, arg);
  }
}
