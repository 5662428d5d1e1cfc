/**
 * Takes packets from the ring one at a time and cuts each into pieces for the pipeline.
 * It stops at the first packet that makes no sense; what came before still takes effect.
 * @module
 */
import { QueueException, type SdmaGeneration } from '#devices/gpu/spec.ts';
import { copyMemory, type SparseMemory } from '#emu/memory/sparse-memory.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import type { Target } from '#emu/sim/kernel.ts';
import type { Engine } from './engine.ts';
import { PacketDecoder, PacketKind, SdmaPacket } from './packet-decoder.ts';
import { pieceBytes } from './piece-bytes.ts';
import { type Fault, NO_COUNTER, PieceKind, type Pipeline } from './pipeline.ts';
import { Place } from './place.ts';
import type { RingFetch } from './ring-fetch.ts';

const STEP = -1;

export class FrontEnd implements Target {
  readonly path: string;
  readonly #engine: Engine;
  readonly #fetch: RingFetch;
  readonly #pipeline: Pipeline;
  readonly #decoder: PacketDecoder;
  readonly #packet = new SdmaPacket();
  readonly #source = new Place();
  readonly #dest = new Place();
  /** A packet is decoded and not yet in the pipeline as a whole. */
  #atHand = false;
  /** Bytes of it that are. */
  #done = 0;
  #fault: Fault | null = null;
  #running = false;
  #held = false;
  #scheduled = false;

  constructor(engine: Engine, fetch: RingFetch, pipeline: Pipeline, generation: SdmaGeneration) {
    this.path = `${engine.path}.decode`;
    this.#engine = engine;
    this.#fetch = fetch;
    this.#pipeline = pipeline;
    this.#decoder = new PacketDecoder(generation);
  }

  start(): void {
    this.#atHand = false;
    this.#fault = null;
    this.#running = true;
  }

  stop(): void {
    this.#running = false;
  }

  /** Pauses or resumes between two steps. */
  hold(held: boolean): void {
    this.#held = held;
    this.kick();
  }

  /** Looks for work, in an event of its own; without effect while one is due. */
  kick(): void {
    if (!this.#scheduled) this.#schedule(0);
  }

  /** Stops at an error found outside of a packet, behind what is decoded already. */
  fail(exception: QueueException, address: number, status: DmaStatus): void {
    this.#fault ??= { exception, header: 0, address, status };
    this.kick();
  }

  /** Still counts as scheduled, so that what its work sets off does not cut the next packet's latency. */
  handle(): void {
    const decoded = this.#work();
    this.#scheduled = false;
    if (decoded) this.#schedule(this.#engine.timing.packetPs);
  }

  /** Works until it must wait; true when that is for the latency of a packet just decoded. */
  #work(): boolean {
    while (this.#running && !this.#held) {
      if (this.#fault !== null) {
        this.#pushFault(this.#fault);
        return false;
      }
      if (!this.#atHand) {
        if (this.#decode()) return true;
        if (this.#fault === null) return false;
      } else if (this.#execute()) this.#atHand = false;
      else return false;
    }
    return false;
  }

  #schedule(delayPs: number): void {
    if (!this.#running || this.#held) return;
    this.#scheduled = true;
    this.#engine.endpoint.fabric.kernel.scheduleFar(delayPs, this, STEP, null);
  }

  #pushFault(fault: Fault): void {
    if (this.#pipeline.full) return;
    this.#running = false;
    const startedPs = this.#engine.endpoint.fabric.kernel.now;
    const { header } = fault;
    const piece = this.#pipeline.open(PieceKind.Error, { header, sizeBytes: 0, startedPs }, 0);
    piece.fault = fault;
    this.#pipeline.submit(piece, NO_COUNTER);
  }

  /** Decodes the next packet; false when it is not whole in the FIFO, or makes no sense. */
  #decode(): boolean {
    if (this.#fetch.available < 4) return false;
    const header = this.#fetch.peek(0);
    const size = this.#decoder.fixedBytes(header);
    if (size === 0) return this.#refuse(QueueException.UnknownPacket, header, 0);
    if (this.#fetch.available < size) return false;
    const { view } = this.#decoder;
    for (let at = 0; at < size; at += 4) view.setUint32(at, this.#fetch.peek(at / 4), true);
    this.#fetch.skip(size);
    const packet = this.#packet;
    if (!this.#decoder.decode(packet)) return this.#refuse(QueueException.BadPacket, header, 0);
    this.#atHand = true;
    this.#done = 0;
    packet.startedPs = this.#engine.endpoint.fabric.kernel.now;
    return this.#resolve(packet);
  }

  #resolve(packet: SdmaPacket): boolean {
    const { aperture } = this.#engine;
    const { kind, source, dest, sizeBytes, header } = packet;
    if (kind === PacketKind.Copy && !aperture.resolve(source, sizeBytes, this.#source)) {
      return this.#refuse(QueueException.BadAddress, header, source);
    }
    const hasDest = kind !== PacketKind.Nop && kind !== PacketKind.Trap;
    if (hasDest && !aperture.resolve(dest, sizeBytes, this.#dest)) {
      return this.#refuse(QueueException.BadAddress, header, dest);
    }
    return true;
  }

  #refuse(exception: QueueException, header: number, address: number): false {
    this.#fault = { exception, header, address, status: DmaStatus.Ok };
    return false;
  }

  /** Feeds the packet at hand to the pipeline; false while it lacks room or ring data, or must wait. */
  #execute(): boolean {
    switch (this.#packet.kind) {
      case PacketKind.Nop:
        return this.#skip();
      case PacketKind.Copy:
        return this.#copy();
      case PacketKind.Fill:
        return this.#fill();
      case PacketKind.Write:
        return this.#write();
      default:
        return this.#signal();
    }
  }

  #skip(): boolean {
    const size = Math.min(this.#fetch.available, this.#packet.trailingBytes - this.#done);
    this.#done += size;
    if (size > 0) this.#fetch.skip(size);
    if (this.#done < this.#packet.trailingBytes) return false;
    this.#pipeline.pass(this.#fetch.taken);
    return true;
  }

  #copy(): boolean {
    const { sizeBytes, backwards } = this.#packet;
    const anchor = this.#source.inVram ? this.#dest.address : this.#source.address;
    while (this.#done < sizeBytes) {
      const left = sizeBytes - this.#done;
      const limit = this.#engine.timing.pieceBytes;
      const size = pieceBytes(anchor, sizeBytes, this.#done, backwards, limit);
      const offset = backwards ? left - size : this.#done;
      if (this.#pipeline.full || this.#pipeline.hazard(this.#source, offset, size)) return false;
      const piece = this.#pipeline.open(PieceKind.Copy, this.#packet, size);
      piece.source.set(this.#source.inVram, this.#source.address + offset);
      piece.dest.set(this.#dest.inVram, this.#dest.address + offset);
      this.#done += size;
      this.#pipeline.submit(piece, this.#counter());
    }
    return true;
  }

  #fill(): boolean {
    const { sizeBytes, data, fillBytes } = this.#packet;
    const { scratch, timing } = this.#engine;
    while (this.#done < sizeBytes) {
      if (this.#pipeline.full) return false;
      const size = Math.min(timing.pieceBytes, sizeBytes - this.#done);
      const piece = this.#pipeline.open(PieceKind.Store, this.#packet, size);
      if (fillBytes === 1) scratch.fill(piece.stagingAt, size, data & 0xff);
      else fillDwords(scratch, piece.stagingAt, size, data);
      piece.dest.set(this.#dest.inVram, this.#dest.address + this.#done);
      this.#done += size;
      this.#pipeline.submit(piece, this.#counter());
    }
    return true;
  }

  #write(): boolean {
    const { sizeBytes } = this.#packet;
    while (this.#done < sizeBytes) {
      const left = Math.min(this.#engine.timing.pieceBytes, sizeBytes - this.#done);
      const size = Math.min(left, this.#fetch.available);
      if (size === 0 || this.#pipeline.full) return false;
      const piece = this.#pipeline.open(PieceKind.Store, this.#packet, size);
      piece.dest.set(this.#dest.inVram, this.#dest.address + this.#done);
      this.#fetch.take(size, piece.stagingAt);
      this.#done += size;
      this.#pipeline.submit(piece, this.#counter());
    }
    return true;
  }

  /** Fences and traps. */
  #signal(): boolean {
    const { kind, data, sizeBytes } = this.#packet;
    if (this.#pipeline.full) return false;
    const isFence = kind === PacketKind.Fence;
    const pieceKind = isFence ? PieceKind.Fence : PieceKind.Trap;
    const piece = this.#pipeline.open(pieceKind, this.#packet, sizeBytes);
    piece.context = data;
    piece.dest.set(this.#dest.inVram, this.#dest.address);
    if (isFence) this.#engine.scratch.setU32(piece.stagingAt, data);
    this.#pipeline.submit(piece, this.#fetch.taken);
    return true;
  }

  /** The ring counter that the piece about to be submitted completes. */
  #counter(): number {
    return this.#done < this.#packet.sizeBytes ? NO_COUNTER : this.#fetch.taken;
  }
}

/** Fills with a repeated dword, doubling what is there. */
function fillDwords(memory: SparseMemory, at: number, sizeBytes: number, dword: number): void {
  memory.setU32(at, dword);
  for (let done = 4; done < sizeBytes; ) {
    const size = Math.min(done, sizeBytes - done);
    copyMemory(memory, at + done, memory, at, size);
    done += size;
  }
}
