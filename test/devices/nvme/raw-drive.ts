/**
 * A drive below a root port, driven as a driver would: registers, queues in host memory, doorbells, raw
 * entries, without the project's own driver. Builds; asserts nothing.
 * @module
 */
import { type NvmeOptions, nvme } from '#devices/nvme/index.ts';
import { NvmeController } from '#devices/nvme/model/controller.ts';
import {
  AdminOpcode,
  Cc,
  Cqe,
  CqeStatus,
  CreateCqCdw11,
  CreateSqCdw11,
  DOORBELL_SIZE,
  DOORBELLS_AT,
  Property,
  Psdt,
  QueueCdw10,
  SglDescriptor,
  SglId,
  Sqe,
  SqeFlags,
} from '#devices/nvme/spec.ts';
import { offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { PciFunction } from '#emu/host/pci-function.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';

export interface Fields {
  readonly opcode: number;
  readonly flags?: number;
  readonly cid?: number;
  readonly nsid?: number;
  readonly prp1?: number;
  readonly prp2?: number;
  /** In place of the PRPs; PSDT is set to match unless `flags` are given. */
  readonly sgl?: Descriptor;
  readonly cdw10?: number;
  readonly cdw11?: number;
  readonly cdw12?: number;
  readonly cdw13?: number;
  readonly cdw14?: number;
}

/** An SGL descriptor; type and subtype are both 0 by default. */
export interface Descriptor {
  readonly address: number;
  readonly length: number;
  readonly type?: number;
  readonly subtype?: number;
}

export interface Completion {
  readonly code: number;
  readonly dnr: number;
  readonly phase: number;
  readonly dw0: number;
  readonly cid: number;
  readonly sqid: number;
  readonly sqhd: number;
}

/** A pair of queues with the host's own pointers; nothing is checked. */
export class RawQueue {
  readonly id: number;
  readonly entries: number;
  readonly sq: PhysAddr;
  readonly cq: PhysAddr;
  tail = 0;
  head = 0;
  phase = 1;

  constructor(id: number, entries: number, sq: PhysAddr, cq: PhysAddr) {
    this.id = id;
    this.entries = entries;
    this.sq = sq;
    this.cq = cq;
  }
}

export interface RawOptions extends Partial<NvmeOptions> {
  readonly fidelity?: Fidelity;
  readonly adminEntries?: number;
}

/** CC with the entry sizes that every driver sets, without EN. */
export const CC: number = Cc.IOSQES.of(Sqe.SHIFT) | Cc.IOCQES.of(Cqe.SHIFT);
export const EN = 1;
export const BLOCK = 512;

export class RawDrive {
  readonly machine: Machine;
  readonly pci: PciFunction;
  readonly controller: NvmeController;
  readonly memory: SparseMemory;
  readonly bar: PhysAddr;
  /** Interrupts taken, by vector. */
  readonly interrupts: number[] = [];
  admin: RawQueue;
  #cid = 0;

  constructor(options: RawOptions = {}) {
    const { fidelity = 'functional', adminEntries = 16, ...given } = options;
    const store = given.store ?? new MemoryStore({ blockCount: 4096, blockSizeBytes: BLOCK });
    const device = nvme({ timing: 'instant', queues: 4, ...given, store, name: 'nvme0' });
    this.machine = machine({ rootPorts: [{ device }] }).build({ fidelity, seed: 1 });
    this.finish(this.machine.boot());
    this.pci = this.machine.function('nvme0');
    const { model } = this.machine.endpoint('nvme0');
    if (!(model instanceof NvmeController)) throw new TypeError('nvme0 is no NVMe controller');
    this.controller = model;
    this.memory = this.machine.mm.memory;
    this.bar = this.pci.bar(0).address;
    this.process(this.pci.setBusMaster(true));
    this.admin = this.queue(0, adminEntries);
  }

  // ------------------------------------------------------------ time

  run(): void {
    this.machine.kernel.run();
  }
  finish<T>(pending: Pending<T>): T {
    this.run();
    return pending.value;
  }
  process<T>(process: Process<T>): T {
    return this.finish(this.machine.kernel.spawn('test', process));
  }

  // ------------------------------------------------------------ registers

  read(property: { readonly offset: number }): number {
    return this.finish(this.machine.cpu.read32(offsetBy(this.bar, property.offset)));
  }
  write(property: { readonly offset: number }, value: number): void {
    this.machine.cpu.write32(offsetBy(this.bar, property.offset), value);
    this.run();
  }
  /** Stores without letting time pass. */
  post({ offset }: { readonly offset: number }, value: number): void {
    this.machine.cpu.write32(offsetBy(this.bar, offset), value);
  }
  /** Loads while everything else goes on, and lets no more time pass than that takes. */
  poll({ offset }: { readonly offset: number }): number {
    const pending = this.machine.cpu.read32(offsetBy(this.bar, offset));
    while (!pending.done) this.wait(10_000);
    return pending.value;
  }
  wait(ps: number): void {
    this.machine.kernel.runUntil(this.machine.kernel.now + ps);
  }
  writeBytes(offset: number, size: 1 | 2 | 4 | 8, lo: number, hi = 0): void {
    this.machine.root.mmioWrite(offsetBy(this.bar, offset), size, lo, hi);
    this.run();
  }
  postTail(queue: RawQueue): void {
    this.post({ offset: DOORBELLS_AT + 2 * queue.id * DOORBELL_SIZE }, queue.tail);
  }
  ringTail(id: number, value: number): void {
    this.write({ offset: DOORBELLS_AT + 2 * id * DOORBELL_SIZE }, value);
  }
  ringHead(id: number, value: number): void {
    this.write({ offset: DOORBELLS_AT + (2 * id + 1) * DOORBELL_SIZE }, value);
  }
  get csts(): number {
    return this.read(Property.Csts);
  }

  /** Turns on `count` vectors; they are counted in `interrupts`. */
  enableMsix(count = 5): void {
    const handlers = Array.from({ length: count }, (_, vector) => () => {
      this.interrupts[vector] = (this.interrupts[vector] ?? 0) + 1;
    });
    this.process(this.pci.enableMsix(count, handlers));
  }

  /** Programs the admin queue registers. */
  setAdminQueues(entries = this.admin.entries): void {
    this.write(Property.Aqa, (entries - 1) | ((entries - 1) << 16));
    this.write(Property.AsqLo, this.admin.sq);
    this.write(Property.AsqHi, 0);
    this.write(Property.AcqLo, this.admin.cq);
    this.write(Property.AcqHi, 0);
  }

  /** Admin queues, MSI-X and CC.EN = 1: the drive is ready afterwards. */
  start(cc = CC): this {
    this.enableMsix();
    this.setAdminQueues();
    this.write(Property.Cc, cc);
    this.write(Property.Cc, cc | EN);
    return this;
  }

  // ------------------------------------------------------------ queues

  pages(count = 1): PhysAddr {
    return this.machine.mm.allocate(4096 * count);
  }

  /** Memory for a pair of queues; the controller is not told. */
  queue(id: number, entries: number): RawQueue {
    const sq = this.machine.mm.allocate(entries * Sqe.SIZE);
    return new RawQueue(id, entries, sq, this.machine.mm.allocate(entries * Cqe.SIZE));
  }

  /** Writes an entry and moves the tail without telling the controller; gives its command identifier. */
  push(queue: RawQueue, fields: Fields): number {
    const cid = fields.cid ?? this.#cid++ & 0xffff;
    const at = queue.sq + queue.tail * Sqe.SIZE;
    this.memory.fill(at, Sqe.SIZE, 0);
    this.memory.setU8(at, fields.opcode);
    const flags = fields.flags ?? SqeFlags.PSDT.of(fields.sgl ? Psdt.Sgl : Psdt.Prp);
    this.memory.setU8(at + Sqe.flags.at, flags);
    this.memory.setU16(at + Sqe.cid.at, cid);
    this.memory.setU32(at + Sqe.nsid.at, fields.nsid ?? 0);
    this.memory.setU64(at + Sqe.prp1.at, fields.prp1 ?? 0);
    this.memory.setU64(at + Sqe.prp2.at, fields.prp2 ?? 0);
    if (fields.sgl) this.putSgl(at + Sqe.prp1.at, [fields.sgl]);
    for (const name of ['cdw10', 'cdw11', 'cdw12', 'cdw13', 'cdw14'] as const) {
      this.memory.setU32(at + Sqe[name].at, fields[name] ?? 0);
    }
    queue.tail = (queue.tail + 1) % queue.entries;
    return cid;
  }

  ring(queue: RawQueue): void {
    this.ringTail(queue.id, queue.tail);
  }

  /** Takes the completions that are there, without telling the controller. */
  peek(queue: RawQueue): Completion[] {
    const taken: Completion[] = [];
    for (;;) {
      const completion = this.entry(queue, queue.head);
      if (completion.phase !== queue.phase || taken.length === queue.entries) return taken;
      taken.push(completion);
      queue.head = (queue.head + 1) % queue.entries;
      if (queue.head === 0) queue.phase ^= 1;
    }
  }

  /** An entry of the completion queue, whatever its phase. */
  entry(queue: RawQueue, index: number): Completion {
    const at = queue.cq + index * Cqe.SIZE;
    const status = this.memory.getU16(at + Cqe.status.at);
    return {
      code: CqeStatus.CODE.get(status),
      dnr: CqeStatus.DNR.get(status),
      phase: CqeStatus.P.get(status),
      dw0: this.memory.getU32(at),
      cid: this.memory.getU16(at + Cqe.cid.at),
      sqid: this.memory.getU16(at + Cqe.sqid.at),
      sqhd: this.memory.getU16(at + Cqe.sqhd.at),
    };
  }

  /** Takes the completions that are there and releases them. */
  take(queue: RawQueue): Completion[] {
    const taken = this.peek(queue);
    if (taken.length > 0) this.ringHead(queue.id, queue.head);
    return taken;
  }

  /** Submits one command and gives its completion. @throws when there is not exactly one */
  command(queue: RawQueue, fields: Fields): Completion {
    const cid = this.push(queue, fields);
    this.ring(queue);
    const taken = this.take(queue);
    const [completion] = taken;
    if (taken.length !== 1 || completion?.cid !== cid) {
      throw new Error(`command ${cid}: ${taken.length} completions, CSTS ${this.csts}`);
    }
    return completion;
  }

  /** Status code of one admin command. */
  status(fields: Fields): number {
    return this.command(this.admin, fields).code;
  }

  createCq(queue: RawQueue, changes: Partial<Fields> & { vector?: number; flags11?: number } = {}) {
    const { vector = queue.id, flags11 = 3, ...fields } = changes;
    return this.status({
      opcode: AdminOpcode.CreateCq,
      prp1: queue.cq,
      cdw10: (QueueCdw10.QID.of(queue.id) | QueueCdw10.QSIZE.of(queue.entries - 1)) >>> 0,
      cdw11: (CreateCqCdw11.IV.of(vector) | flags11) >>> 0,
      ...fields,
    });
  }

  createSq(queue: RawQueue, changes: Partial<Fields> & { cqid?: number } = {}): number {
    const { cqid = queue.id, ...fields } = changes;
    return this.status({
      opcode: AdminOpcode.CreateSq,
      prp1: queue.sq,
      cdw10: (QueueCdw10.QID.of(queue.id) | QueueCdw10.QSIZE.of(queue.entries - 1)) >>> 0,
      cdw11: (CreateSqCdw11.PC.of(1) | CreateSqCdw11.CQID.of(cqid)) >>> 0,
      ...fields,
    });
  }

  /** A pair of I/O queues that the controller knows. @throws when it refuses */
  ioQueue(id = 1, entries = 16): RawQueue {
    const queue = this.queue(id, entries);
    const codes = [this.createCq(queue), this.createSq(queue)];
    if (codes.some((code) => code !== 0)) throw new Error(`queue ${id} refused: ${codes}`);
    return queue;
  }

  deleteSq(id: number): number {
    return this.status({ opcode: AdminOpcode.DeleteSq, cdw10: id });
  }
  deleteCq(id: number): number {
    return this.status({ opcode: AdminOpcode.DeleteCq, cdw10: id });
  }

  // ------------------------------------------------------------ bytes

  /** Writes descriptors to memory; gives their size. */
  putSgl(address: number, descriptors: readonly Descriptor[]): number {
    for (const [i, { address: data, length, type = 0, subtype = 0 }] of descriptors.entries()) {
      const at = address + i * SglDescriptor.SIZE;
      this.memory.setU64(at, data);
      this.memory.setU32(at + SglDescriptor.length.at, length);
      const id = SglId.TYPE.of(type) | SglId.SUBTYPE.of(subtype);
      this.memory.setU32(at + 12, 0);
      this.memory.setU8(at + SglDescriptor.id.at, id);
    }
    return descriptors.length * SglDescriptor.SIZE;
  }

  bytes(address: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    this.memory.read(address, bytes);
    return bytes;
  }
  /** Fills memory with random bytes and gives them. */
  scribble(address: number, size: number, name = 'data'): Uint8Array {
    const bytes = new Uint8Array(size);
    this.machine.kernel.random(name).fill(bytes);
    this.memory.write(address, bytes);
    return bytes;
  }

  dispose(): void {
    this.machine.dispose();
  }
}

/** An address of the host's map where nothing answers. */
export const NOWHERE: PhysAddr = physAddr(0x3000_0000);
