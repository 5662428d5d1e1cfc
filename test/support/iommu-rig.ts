/**
 * An IOMMU with memory and nothing else: registers by MMIO, structures written by hand, so that tests of the
 * hardware do not rest on its driver. Builds; asserts nothing. @module
 */
import { bdfFromId, dmaAddr, hi32, lo32, offsetBy } from '#emu/base/units.ts';
import { Iommu, type IommuOptions } from '#emu/iommu/iommu.ts';
import { Cqcsr, DdtMode, Fqcsr, Reg } from '#emu/iommu/spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { newTranslation, type Translation } from '#emu/pcie/translator.ts';
import { Kernel } from '#emu/sim/kernel.ts';

export const PAGE = 4096;
/** V, R, W, U, A and D. */
export const RW = 0xd7;
/** V, R, U and A. */
export const RO = 0x53;

/** Words of a device context; the defaults give a valid one. */
export interface ContextWords {
  tc?: number;
  tcHi?: number;
  iohgatpHi?: number;
  ta?: number;
  taHi?: number;
  /** Root table address. */
  root?: number;
  /** iosatp.MODE. */
  mode?: number;
  fscHi?: number;
}

export interface FaultWords {
  cause: number;
  ttyp: number;
  deviceId: number;
  address: number;
}

/** Position of the index into each level. */
const SCALE = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39] as const;
const indexAt = (address: number, level: number): number =>
  Math.floor(address / (SCALE[level] ?? 1)) % 512;

export class IommuRig {
  readonly kernel = new Kernel();
  readonly memory: SparseMemory;
  readonly iommu: Iommu;
  readonly messages: { address: number; data: number }[] = [];
  readonly commandQueue: number;
  readonly faultQueue: number;
  /** Causes in the order of the faults, recorded or not. */
  readonly causes: number[] = [];
  ddt = 0;
  readonly #view = new DataView(new ArrayBuffer(8));
  #nextPage = 0x10_0000;
  #tail = 0;

  /** `messages` false: interrupt messages are written to memory. */
  constructor(options: IommuOptions = {}, { messages = true, memoryBytes = 2 ** 36 } = {}) {
    this.memory = new SparseMemory(memoryBytes, 'host');
    const onInterrupt = (address: number, data: number): void => {
      this.messages.push({ address, data });
    };
    this.iommu = new Iommu(this.kernel, this.memory, {
      ...options,
      ...(messages ? { onInterrupt } : {}),
    });
    this.iommu.probe = { fault: (cause) => this.causes.push(cause) };
    this.commandQueue = this.page();
    this.faultQueue = this.page();
  }

  /** Address of a fresh page. */
  page(): number {
    this.#nextPage += PAGE;
    return this.#nextPage - PAGE;
  }

  read(offset: number, size: 4 | 8 = 4): number {
    this.iommu.mmioRead(offset, size, this.#view, 0);
    const lo = this.#view.getUint32(0, true);
    return size === 4 ? lo : lo + this.#view.getUint32(4, true) * 2 ** 32;
  }

  write(offset: number, value: number): void {
    this.#view.setUint32(0, value, true);
    this.iommu.mmioWrite(offset, 4, this.#view, 0);
  }

  write64(offset: number, value: number): void {
    this.#view.setUint32(0, lo32(value), true);
    this.#view.setUint32(4, hi32(value), true);
    this.iommu.mmioWrite(offset, 8, this.#view, 0);
  }

  /** Stores a doubleword of host memory. */
  store(address: number, lo: number, hi = 0): void {
    this.memory.setU32(address, lo >>> 0);
    this.memory.setU32(address + 4, hi >>> 0);
  }

  /** Turns on the queues, with interrupts if asked. */
  startQueues({ interrupts = false, faultLog2 = 3, commandLog2 = 6 } = {}): void {
    this.write64(Reg.cqb, this.commandQueue / 4 + commandLog2 - 1);
    this.write64(Reg.fqb, this.faultQueue / 4 + faultLog2 - 1);
    this.write(Reg.cqcsr, Cqcsr.cqen.of(1) | Cqcsr.cie.of(interrupts ? 1 : 0));
    this.write(Reg.fqcsr, Fqcsr.fqen.of(1) | Fqcsr.fie.of(interrupts ? 1 : 0));
    this.#tail = 0;
  }

  /** Sets an empty directory of `mode` up. */
  startDirectory(mode: DdtMode = DdtMode.TwoLevel): void {
    this.ddt = this.page();
    this.write64(Reg.ddtp, this.ddt / 4 + mode);
  }

  /** Address of the context of `deviceId`, with the directory levels above it. */
  contextAddress(deviceId: number): number {
    const levels = (this.read(Reg.ddtp) & 0xf) - 1;
    let table = this.ddt;
    for (let level = levels - 1; level > 0; level--) {
      const index = level === 2 ? deviceId >> 16 : (deviceId >> 7) & 0x1ff;
      table = this.#below(table + 8 * index, 1);
    }
    return table + 32 * (deviceId & 0x7f);
  }

  /** Writes a context; returns the root of its page table. */
  setContext(deviceId: number, words: ContextWords = {}): number {
    const root = words.root ?? this.page();
    const at = this.contextAddress(deviceId);
    this.store(at + 8, 0, words.iohgatpHi ?? 0);
    this.store(at + 16, words.ta ?? 0, words.taHi ?? 0);
    const ppn = root / PAGE;
    const mode = ((words.mode ?? 9) << 28) | (words.fscHi ?? 0);
    this.store(at + 24, lo32(ppn), hi32(ppn) | mode);
    this.store(at, words.tc ?? 1, words.tcHi ?? 0);
    return root;
  }

  /** Address of the entry of `level` that maps `iova`, with the tables above it. */
  entryAddress(root: number, iova: number, level = 0, top = 3): number {
    let table = root;
    for (let above = top; above > level; above--) {
      table = this.#below(table + 8 * indexAt(iova, above), 1);
    }
    return table + 8 * indexAt(iova, level);
  }

  /** Maps `iova` to `target` by one leaf. */
  map(root: number, iova: number, target: number, flags = RW, level = 0, top = 3): void {
    this.storeEntry(this.entryAddress(root, iova, level, top), target, flags);
  }

  storeEntry(at: number, target: number, flags: number, hiBits = 0): void {
    const word = target / 4;
    this.store(at, lo32(word) | flags, hi32(word) | hiBits);
  }

  /** One access; the result is a record of its own. */
  translate(deviceId: number, address: number, write = false): Translation {
    const out = newTranslation();
    // Device ids have up to 24 bits: a segment number above the requester id.
    const requester = offsetBy(bdfFromId(0), deviceId);
    this.iommu.translate(requester, dmaAddr(address), write, out);
    return out;
  }

  /** Puts a command in the queue and rings the doorbell. Run the kernel to have it executed. */
  command(lo0: number, hi0 = 0, lo1 = 0, hi1 = 0): void {
    const at = this.commandQueue + 16 * this.#tail;
    this.store(at, lo0, hi0);
    this.store(at + 8, lo1, hi1);
    this.#tail++;
    this.write(Reg.cqt, this.#tail);
  }

  /** IOTINVAL.VMA. */
  invalidate({ pscid = -1, address = -1 } = {}): void {
    const av = address < 0 ? 0 : 1 << 10;
    const page = Math.max(0, address) / PAGE;
    const lo0 = 1 | av | (Math.max(0, pscid) << 12);
    this.command(lo0, pscid < 0 ? 0 : 1, lo32(page * 1024), hi32(page * 1024));
  }

  /** Records between fqh and fqt. */
  faults(): FaultWords[] {
    const records: FaultWords[] = [];
    for (let i = this.read(Reg.fqh); i < this.read(Reg.fqt); i++) {
      const at = this.faultQueue + 32 * i;
      const hi = this.memory.getU32(at + 4);
      records.push({
        cause: this.memory.getU32(at) & 0xfff,
        ttyp: (hi >>> 2) & 0x3f,
        deviceId: hi >>> 8,
        address: this.memory.getU64(at + 16),
      });
    }
    return records;
  }

  /** Page that the pointer at `at` leads to, made when there is none. */
  #below(at: number, flags: number): number {
    const lo = this.memory.getU32(at);
    if ((lo & 1) !== 0) return Math.floor(lo / 1024) * PAGE + this.memory.getU32(at + 4) * 2 ** 34;
    const page = this.page();
    this.storeEntry(at, page, flags);
    return page;
  }
}

/** A rig with queues and a two-level directory, and device 0x108 with an empty Sv48 table. */
export function pagedRig(options: IommuOptions = {}): { rig: IommuRig; root: number } {
  const rig = new IommuRig(options);
  rig.startQueues();
  rig.startDirectory();
  return { rig, root: rig.setContext(0x108) };
}
