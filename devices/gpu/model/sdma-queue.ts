/**
 * One ring queue of the SDMA engine: its registers, pointers, doorbell, and what it does at an error.
 * Packets and data are the business of its parts. [AMDGPU] sdma_v6_0.c
 * @module
 */
import {
  Doorbell,
  DoorbellLog,
  F32Cntl,
  Header,
  QueueException,
  RbCntl,
  SDMA_V6,
  Sdma0Cntl,
  SdmaReg,
} from '#devices/gpu/spec.ts';
import { lo32, u64 } from '#emu/base/units.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { type Engine, scratchMap } from './engine.ts';
import { FrontEnd } from './front-end.ts';
import { type Fault, type PacketTag, Pipeline, type PipelineClient } from './pipeline.ts';
import { Place } from './place.ts';
import { POINTER_BYTES, PointerPoll, PointerReport, type PollClient } from './pointer-memory.ts';
import { pointerFollows, readSetup, showFault, showPointers } from './queue-registers.ts';
import type { RegisterSpace } from './register-space.ts';
import { type RingClient, RingFetch } from './ring-fetch.ts';

const State = { Off: 0, Draining: 1, Running: 2, Stopped: 3 } as const;
type State = (typeof State)[keyof typeof State];

/** The read pointer is written back when the queue is idle, and this often in a ring. */
const REPORTS_PER_RING = 8;

/** A packet as an observer sees it. */
export interface CompletedPacket {
  readonly opcode: number;
  /** Ring counter behind it. */
  readonly cid: number;
  /** 0, or the exception that stopped the queue at it. */
  readonly status: QueueException;
  readonly dataBytes: number;
  /** When it was decoded. */
  readonly startedPs: number;
}

/** Sees packets that have taken effect; null when nobody looks. */
export interface PacketProbe {
  completed(path: string, packet: CompletedPacket): void;
}

/** What works on one run of the ring; replaced by a reset, so that nothing from before is heard of. */
interface Parts {
  readonly fetch: RingFetch;
  readonly pipeline: Pipeline;
  readonly frontEnd: FrontEnd;
  readonly report: PointerReport;
  readonly poll: PointerPoll;
}

export class SdmaQueue implements RingClient, PipelineClient, PollClient {
  probe: PacketProbe | null = null;
  readonly #engine: Engine;
  readonly #registers: RegisterSpace;
  readonly #ring = new Place();
  #parts: Parts;
  #state: State = State.Off;
  #ringBytes = 4;
  #rptr = 0;
  #wptr = 0;
  #reported = 0;
  #reports = false;
  #polls = false;
  /** A doorbell that came before the queue could start. */
  #early: { readonly lo: number; readonly hi: number } | null = null;
  /** Why it stopped; null while it runs. */
  fault: Fault | null = null;

  constructor(engine: Engine, registers: RegisterSpace) {
    this.#engine = engine;
    this.#registers = registers;
    this.#parts = this.#newParts();
    registers.onWrite(SdmaReg.RB_CNTL, () => this.#control());
    registers.onWrite(SdmaReg.RB_WPTR_HI, () => this.#pointerWritten());
    registers.onWrite(SdmaReg.F32_CNTL, () => this.#parts.frontEnd.hold(this.#halted));
  }

  /** Byte offset of the queue's doorbell in BAR2, or -1 while it has none. */
  get doorbellOffset(): number {
    const enabled = Doorbell.ENABLE.get(this.#registers.get(SdmaReg.DOORBELL));
    return enabled ? this.#registers.get(SdmaReg.DOORBELL_OFFSET) : -1;
  }

  /** Takes a doorbell of 8 bytes. */
  ring(lo: number, hi: number): void {
    if (this.#state === State.Draining) this.#early = { lo, hi };
    if (this.#state !== State.Running) return;
    if (this.#polls) this.#parts.poll.poll();
    else this.polled(lo, hi);
  }

  /** Takes a doorbell of another size, which says nothing. */
  misring(): void {
    if (this.#state === State.Running) this.#refusePointer(0, DoorbellLog.BE_ERROR.of(1));
  }

  /** After the registers have been reset. */
  reset(): void {
    this.#stopParts();
    this.#parts = this.#newParts();
    this.#state = State.Off;
    this.fault = null;
  }

  polled(lo: number, hi: number): void {
    if (this.#state !== State.Running) return this.drained();
    const next = u64(lo, hi);
    if (!pointerFollows(this.#rptr, this.#wptr, next, this.#ringBytes)) {
      return this.#refusePointer(next, DoorbellLog.DATA.mask & lo);
    }
    this.#wptr = next;
    showPointers(this.#registers, this.#rptr, next);
    this.#parts.fetch.extend(next);
    this.#parts.frontEnd.kick();
  }

  pollFailed(status: DmaStatus, address: number): void {
    if (this.#state !== State.Running) return this.drained();
    this.#parts.frontEnd.fail(QueueException.RingFailed, address, status);
  }

  fetched(): void {
    this.#parts.frontEnd.kick();
  }

  fetchFailed(status: DmaStatus, address: number): void {
    this.#parts.frontEnd.fail(QueueException.RingFailed, address, status);
  }

  progressed(): void {
    this.#parts.frontEnd.kick();
  }

  retired(counter: number, packet: PacketTag | null): void {
    this.#rptr = counter;
    showPointers(this.#registers, counter, this.#wptr);
    if (this.probe !== null && packet !== null) this.#show(this.probe, packet, counter);
    const due = counter - this.#reported >= this.#ringBytes / REPORTS_PER_RING;
    if (!this.#reports || (!due && counter !== this.#wptr)) return;
    this.#reported = counter;
    this.#parts.report.report(counter);
  }

  /** Model: the trap is the interrupt itself; an interrupt ring will put its cookie before it. */
  trapped(_context: number): void {
    const control = this.#registers.get(SdmaReg.SDMA0_CNTL);
    if (Sdma0Cntl.TRAP_ENABLE.get(control)) this.#engine.endpoint.raise(0);
  }

  failed(fault: Fault, packet: PacketTag): void {
    this.#stopParts();
    this.#state = State.Stopped;
    this.fault = fault;
    showFault(this.#registers, fault);
    if (this.probe !== null) this.#show(this.probe, packet, this.#rptr, fault.exception);
    const control = this.#registers.get(SdmaReg.SDMA0_CNTL);
    if (Sdma0Cntl.FROZEN_INT_ENABLE.get(control)) this.#engine.endpoint.raise(0);
  }

  drained(): void {
    if (this.#state === State.Draining) this.#start();
  }

  #show(probe: PacketProbe, packet: PacketTag, cid: number, status: QueueException = 0): void {
    const { header, sizeBytes: dataBytes, startedPs } = packet;
    const opcode = Header.op.bits.get(header);
    probe.completed(this.#engine.path, { opcode, cid, status, dataBytes, startedPs });
  }

  get #halted(): boolean {
    return F32Cntl.HALT.get(this.#registers.get(SdmaReg.F32_CNTL)) === 1;
  }

  #control(): void {
    const enabled = RbCntl.RB_ENABLE.get(this.#registers.get(SdmaReg.RB_CNTL)) === 1;
    if (enabled && this.#state === State.Off) {
      this.#state = State.Draining;
      this.#early = null;
      this.#start();
    } else if (!enabled && this.#state !== State.Off) {
      this.#stopParts();
      this.#state = State.Off;
      this.fault = null;
      showFault(this.#registers, null);
    }
  }

  /** Begins at the pointers in the registers, once transfers of an earlier run are over. */
  #start(): void {
    const { fetch, pipeline, frontEnd, report, poll } = this.#parts;
    if (!fetch.quiet || !pipeline.quiet || !poll.quiet) return;
    const setup = readSetup(this.#registers);
    const { aperture } = this.#engine;
    this.#state = State.Running;
    this.#ringBytes = setup.ringBytes;
    this.#rptr = setup.rptr;
    this.#wptr = setup.rptr;
    this.#reported = setup.rptr;
    this.#reports = setup.rptrTo >= 0;
    this.#polls = setup.wptrFrom >= 0;
    pipeline.start();
    report.start();
    frontEnd.start();
    frontEnd.hold(this.#halted);
    const lost = [
      { address: setup.ring, bytes: setup.ringBytes, place: this.#ring },
      { address: setup.rptrTo, bytes: POINTER_BYTES, place: report.target },
      { address: setup.wptrFrom, bytes: POINTER_BYTES, place: poll.source },
    ].find(
      (area) => area.address !== -1 && !aperture.resolve(area.address, area.bytes, area.place),
    );
    if (lost) return frontEnd.fail(QueueException.BadAddress, lost.address, DmaStatus.Ok);
    fetch.start(this.#ring, setup.ringBytes, setup.rptr);
    this.polled(this.#registers.get(SdmaReg.RB_WPTR), this.#registers.get(SdmaReg.RB_WPTR_HI));
    if (this.#early !== null) this.ring(this.#early.lo, this.#early.hi);
  }

  /** Without a doorbell a driver moves the write pointer by its registers, low half first. */
  #pointerWritten(): void {
    const minor = this.#registers.get(SdmaReg.MINOR_PTR_UPDATE) === 1;
    if (minor || this.#state !== State.Running) return;
    this.polled(this.#registers.get(SdmaReg.RB_WPTR), this.#registers.get(SdmaReg.RB_WPTR_HI));
  }

  /** An impossible pointer is reported, not interpreted. */
  #refusePointer(value: number, log: number): void {
    this.#registers.set(SdmaReg.DOORBELL_LOG, lo32(log));
    this.#parts.frontEnd.fail(QueueException.BadPointer, value, DmaStatus.Ok);
  }

  #newParts(): Parts {
    const map = scratchMap(this.#engine.timing);
    const fetch = new RingFetch(this.#engine, map.fifo, this);
    const pipeline = new Pipeline(this.#engine, map.staging, this);
    return {
      fetch,
      pipeline,
      frontEnd: new FrontEnd(this.#engine, fetch, pipeline, SDMA_V6),
      report: new PointerReport(this.#engine, map.rptr),
      poll: new PointerPoll(this.#engine, map.wptr, this),
    };
  }

  #stopParts(): void {
    const { fetch, pipeline, frontEnd } = this.#parts;
    fetch.stop();
    pipeline.stop();
    frontEnd.stop();
  }
}
