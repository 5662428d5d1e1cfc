/**
 * A function's side of its own DMA: cuts transfers into requests, keeps the port fed without flooding it,
 * and puts completions back together. [PCIE] 2.2.6, 2.3.1
 * @module
 */
import { type DmaAddr, pageOffset } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { noteFailedRequest } from '#emu/pcie/errors/error-site.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { carryOut, FunctionalPath } from '#emu/pcie/functional.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { type AtomicKind, isMalformedAtomic } from '#emu/pcie/tlp/atomic-operation.ts';
import { DAMAGED, damageOf } from '#emu/pcie/tlp/damage.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { fillMessage, type MessageBody } from '#emu/pcie/tlp/message.ts';
import { RequestStyle } from '#emu/pcie/tlp/request-attributes.ts';
import { requestBytes } from '#emu/pcie/tlp/splitting.ts';
import { FlowClass, Tlp, TlpFlag, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import type { MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import { DelayLine } from '#emu/sim/delay-line.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import { type DmaClient, DmaJob, DmaJobPool, DmaJobQueue } from './dma-job.ts';
import { SMALL_TAGS, TAG_BITS, TagTable } from './tag-table.ts';

/** Negative: dispatched apart from the classes of the TLP path. */
const Op = { Done: -1, RunFunctional: -2, Expire: -3 } as const;
/** TLPs of a class kept at the port: one on the wire, one behind it. */
const AHEAD = 2;

export class DmaRequester implements Target {
  readonly path: string;
  /** Requester ID captured from configuration writes. [PCIE] 2.2.6.2 */
  id = 0;
  /** What its requests say beside address and data. */
  readonly style: RequestStyle;
  readonly #fabric: Fabric;
  /** Set anew when the function joins others behind one port. */
  port: Port;
  readonly #config: ConfigSpace;
  readonly #maxTags: number;
  readonly #quarantine: boolean;
  readonly #pool = new DmaJobPool();
  readonly #writes = new DmaJobQueue();
  readonly #reads = new DmaJobQueue();
  readonly #tags = new TagTable();
  readonly #functional: FunctionalPath | null;
  /** Completion timeouts as long as software wants them now; made when the first read is sent. */
  #timeouts: DelayLine | null = null;
  /** By tag: the line that its timeout is on, which may be an earlier one, and the ticket. */
  readonly #lines = new Array<DelayLine | null>(1 << TAG_BITS).fill(null);
  readonly #tickets = new Int32Array(1 << TAG_BITS);
  readonly #shown = new Tlp(0);
  /** Functional fidelity: transfers that wait for their event. */
  readonly #pending = new DmaJobQueue();
  #runScheduled = false;
  #resets = 0;

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
    this.port = port;
    this.#config = config;
    this.style = new RequestStyle(config);
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
    this.style.mark(job);
    this.#start(job);
  }

  /** An AtomicOp: takes its operands from `memory`, where the original value is put afterwards. */
  atomic(
    kind: AtomicKind,
    address: DmaAddr,
    sizeBytes: number,
    memory: SparseMemory,
    at: number,
    client: DmaClient,
    arg: number,
  ): void {
    const job = this.#pool.take();
    job.isWrite = false;
    job.atomic = kind;
    job.address = address;
    job.sizeBytes = sizeBytes;
    job.memory = memory;
    job.at = at;
    job.purpose = Purpose.Data;
    job.client = client;
    job.arg = arg;
    this.style.mark(job);
    if (isMalformedAtomic(kind, address, sizeBytes)) job.flags |= TlpFlag.Malformed;
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
    job.flags = this.style.plainFlags;
    this.#start(job);
  }

  /** A message, in order with the writes before it. Bus Master Enable does not stop it. [PCIE] 7.5.1.1.3 */
  sendMessage(code: number, routing: MessageRouting, body: MessageBody): void {
    const job = this.#pool.take();
    job.isWrite = true;
    job.address = 0;
    job.sizeBytes = 4;
    job.messageCode = code;
    job.routing = routing;
    job.body = body;
    this.#start(job);
  }

  handle(op: number, arg: EventArg): void {
    if (op === Op.RunFunctional) this.#runFunctional();
    else if (op === Op.Done && arg instanceof DmaJob) this.#ended(arg);
    else if (typeof arg === 'number') this.#timedOut(arg);
  }

  /** Takes a completion; false when nothing waits for it. */
  complete(tlp: Tlp): boolean {
    const job = this.#tags.job(tlp.tag);
    if (job === null || tlp.targetId !== this.id) return false;
    if ((tlp.flags & DAMAGED) !== 0 && this.#isDamaged(job, tlp)) return true;
    if (tlp.kind === TlpKind.CplD && job.memory !== null) {
      if (tlp.sizeBytes > this.#tags.left(tlp.tag)) return false;
      job.memory.copyIn(job.at + this.#tags.position(tlp.tag), tlp.payloadAt, tlp.sizeBytes);
      this.#answered(job, tlp.tag, tlp.sizeBytes);
    } else {
      job.status = failureOf(tlp);
      noteFailedRequest(this.#config, job.status);
      this.#answered(job, tlp.tag, this.#tags.left(tlp.tag));
    }
    this.#pumpReads();
    return true;
  }

  /** Reports a damaged completion: poisoned data end the request, a bad digest leaves it to its timeout. */
  #isDamaged(job: DmaJob, tlp: Tlp): boolean {
    const error = damageOf(this.#fabric, this.path, tlp);
    if (error === null) return false;
    this.#fabric.refuse(this.path, error, tlp);
    if (error === 'poisoned-tlp') {
      job.status = DmaStatus.Poisoned;
      this.#answered(job, tlp.tag, Math.min(tlp.sizeBytes, this.#tags.left(tlp.tag)));
      this.#pumpReads();
    }
    return true;
  }

  /** Queues more once the port has sent one. */
  sent(flowClass: FlowClass): void {
    if (flowClass === FlowClass.Posted) this.#pumpWrites();
    else if (flowClass === FlowClass.NonPosted) this.#pumpReads();
  }

  /** Forgets every transfer: their clients hear nothing more, and late completions are unexpected. */
  reset(): void {
    this.#resets++;
    this.#writes.clear();
    this.#reads.clear();
    this.#pending.clear();
    for (const [tag, line] of this.#lines.entries()) line?.cancel(this.#tickets[tag]!);
    this.#tags.clear();
  }

  #start(job: DmaJob): void {
    if (!this.#config.busMaster && job.messageCode < 0) {
      job.status = DmaStatus.BusMasterOff;
      this.#later(job);
    } else if (job.atomic !== TlpKind.MRd && !this.#config.atomicRequester) {
      job.status = DmaStatus.AtomicsOff;
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
    while (this.port.queued(FlowClass.Posted) < AHEAD) {
      const job = this.#writes.head;
      if (job === null) return;
      const address = job.address + job.issued;
      const limit = this.#config.maxPayloadBytes;
      const size = requestBytes(pageOffset(address), job.sizeBytes - job.issued, limit);
      const tlp = tlps.take();
      tlp.kind = TlpKind.MWr;
      tlp.tag = 0;
      tlp.address = address;
      tlp.sizeBytes = size;
      this.#head(tlp, job);
      if (job.memory === null) this.#fillUnbacked(tlp, job);
      else job.memory.copyOut(job.at + job.issued, tlp.payloadAt, size);
      job.issued += size;
      if (job.issued === job.sizeBytes) {
        this.#writes.shift();
        this.#later(job);
      }
      this.port.send(tlp);
    }
  }

  /** An interrupt or a message. */
  #fillUnbacked(tlp: Tlp, job: DmaJob): void {
    if (job.messageCode < 0) arena.view.setUint32(tlp.payloadAt, job.message, true);
    else fillMessage(tlp, job.messageCode, job.routing, this.id, job.body ?? {});
  }

  #pumpReads(): void {
    while (this.port.queued(FlowClass.NonPosted) < AHEAD) {
      const job = this.#reads.head;
      if (job === null) return;
      const address = job.address + job.issued;
      const size = this.#readBytes(job);
      const tag = this.#takeTag(job, size);
      if (tag < 0) return;
      this.#watch(tag);
      const tlp = this.#fabric.tlps.take();
      tlp.kind = job.atomic;
      tlp.tag = tag;
      tlp.address = address;
      tlp.sizeBytes = size;
      this.#head(tlp, job);
      if (tlp.payloadBytes > 0) job.memory?.copyOut(job.at, tlp.payloadAt, tlp.payloadBytes);
      job.issued += size;
      if (job.issued === job.sizeBytes) this.#reads.shift();
      this.port.send(tlp);
    }
  }

  /** Bytes of the next request; an AtomicOp is never cut. */
  #readBytes(job: DmaJob): number {
    if (job.atomic !== TlpKind.MRd) return job.sizeBytes;
    const limit = this.#config.maxReadRequestBytes;
    const offset = pageOffset(job.address + job.issued);
    return requestBytes(offset, job.sizeBytes - job.issued, limit);
  }

  /** A tag from the largest range that software and the job allow; -1 when it is used up. [PCIE] 2.2.6.2 */
  #takeTag(job: DmaJob, size: number): number {
    const config = this.#config;
    if (config.tenBitTags && !job.smallTags) return this.#tags.takeLarge(job, job.issued, size);
    const most = this.#maxTags < SMALL_TAGS ? this.#maxTags : SMALL_TAGS;
    return this.#tags.take(config.extendedTags ? most : 32, job, job.issued, size);
  }

  /** The rest of a request; its address is in the record, since as an argument it would be boxed. */
  #head(tlp: Tlp, job: DmaJob): void {
    tlp.requester = this.id;
    tlp.purpose = job.purpose;
    tlp.flags = job.flags;
    tlp.pasid = job.pasid;
    tlp.seal();
  }

  #answered(job: DmaJob, tag: number, sizeBytes: number): void {
    if (this.#tags.answer(tag, sizeBytes)) this.#lines[tag]?.cancel(this.#tickets[tag]!);
    this.#credit(job, sizeBytes);
  }

  #credit(job: DmaJob, sizeBytes: number): void {
    job.answered += sizeBytes;
    if (job.answered === job.sizeBytes) this.#finish(job);
  }

  /** Starts the completion timeout of a request. [PCIE] 2.8 */
  #watch(tag: number): void {
    const delayPs = this.#config.completionTimeoutPs;
    this.#lines[tag] = null;
    if (delayPs === 0) return;
    if (this.#timeouts?.delayPs !== delayPs) {
      this.#timeouts = new DelayLine(this.#fabric.kernel, delayPs, this, Op.Expire);
    }
    this.#lines[tag] = this.#timeouts;
    this.#tickets[tag] = this.#timeouts.push(tag);
  }

  /** A timeout has come: of a request, or of the quarantine that followed. */
  #timedOut(tag: number): void {
    const job = this.#tags.job(tag);
    if (job === null) {
      this.#tags.release(tag);
    } else {
      const left = this.#tags.left(tag);
      job.status = DmaStatus.Timeout;
      this.#report(job, tag, this.#tags.position(tag), left);
      this.#tags.expire(tag, this.#quarantine);
      // As long again before the tag is anybody's: whatever was on its way has come by then.
      if (this.#quarantine) this.#tickets[tag] = this.#lines[tag]?.push(tag) ?? 0;
      this.#credit(job, left);
    }
    this.#pumpReads();
  }

  /** Reports a timeout of `sizeBytes` of a job from `offset` on. */
  #report(job: DmaJob, tag: number, offset: number, sizeBytes: number): void {
    const tlp = this.#shown;
    tlp.kind = job.atomic;
    tlp.tag = tag;
    tlp.address = job.address + offset;
    tlp.sizeBytes = sizeBytes;
    this.#head(tlp, job);
    this.#fabric.refuse(this.path, 'completion-timeout', tlp);
  }

  #runFunctional(): void {
    this.#runScheduled = false;
    const path = this.#functional;
    if (path === null) return;
    // Only what waits now: a client may ask for more, which gets an event of its own.
    for (let job = this.#takeAll(); job !== null; ) {
      const next = job.next;
      carryOut(path, job, this.port, this.id);
      noteFailedRequest(this.#config, job.status);
      if (job.status === DmaStatus.Timeout) this.#report(job, 0, 0, job.sizeBytes);
      this.#finish(job);
      job = next;
    }
  }

  #takeAll(): DmaJob | null {
    const first = this.#pending.head;
    this.#pending.clear();
    return first;
  }

  #later(job: DmaJob): void {
    job.resets = this.#resets;
    this.#fabric.kernel.schedule(0, this, Op.Done, job);
  }

  /** The end of a job that was scheduled; a reset may have come before. */
  #ended(job: DmaJob): void {
    if (job.resets === this.#resets) this.#finish(job);
    else this.#pool.give(job);
  }

  #finish(job: DmaJob): void {
    const { client, status, arg } = job;
    this.#pool.give(job);
    if (client !== null) client.dmaDone(status, arg);
  }
}

/** The status that a completion without data ends its request with; reserved ones are as UR. [PCIE] 2.2.9 */
const failureOf = ({ status }: Tlp): DmaStatus =>
  status === DmaStatus.CompleterAbort ? status : DmaStatus.UnsupportedRequest;
