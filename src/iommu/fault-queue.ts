/**
 * The fault queue: records written to host memory, with overflow and memory errors as the csr reports them.
 * What is a fault is decided elsewhere. [RVIOMMU] 3.2, 5.9 to 5.11, 5.16
 * @module
 */
import { hi32, lo32 } from '#emu/base/units.ts';
import type { InterruptUnit } from './interrupt-unit.ts';
import type { IommuRegisters } from './registers.ts';
import { FAULT_BYTES, FaultRecord, Fqcsr, Reg, type Ttyp } from './spec.ts';
import { Access, type TableMemory } from './table-memory.ts';

const STOPPED = Fqcsr.fqmf.mask | Fqcsr.fqof.mask;

export class FaultQueue {
  readonly #registers: IommuRegisters;
  readonly #memory: TableMemory;
  readonly #interrupts: InterruptUnit;

  constructor(registers: IommuRegisters, memory: TableMemory, interrupts: InterruptUnit) {
    this.#registers = registers;
    this.#memory = memory;
    this.#interrupts = interrupts;
  }

  /** Appends a record, or drops it when the queue is off, full or broken. */
  report(cause: number, ttyp: Ttyp, deviceId: number, address: number): void {
    const registers = this.#registers;
    const csr = registers.get(Reg.fqcsr);
    if (Fqcsr.fqon.get(csr) === 0 || (csr & STOPPED) !== 0) return;
    const tail = registers.get(Reg.fqt);
    const next = (tail + 1) & registers.indexMask(Reg.fqb);
    if (next >>> 0 === registers.get(Reg.fqh)) registers.setBits(Reg.fqcsr, Fqcsr.fqof.mask);
    else if (this.#write(tail, cause, ttyp, deviceId, address)) registers.set(Reg.fqt, next);
    else registers.setBits(Reg.fqcsr, Fqcsr.fqmf.mask);
    this.#interrupts.faultReported();
  }

  /** `fqcsr` was written: turns the queue on or off. */
  csrWritten(previous: number): void {
    const registers = this.#registers;
    const isEnabled = Fqcsr.fqen.get(registers.get(Reg.fqcsr)) === 1;
    const wasEnabled = Fqcsr.fqen.get(previous) === 1;
    if (isEnabled && !wasEnabled) {
      registers.set(Reg.fqt, 0);
      registers.clearBits(Reg.fqcsr, STOPPED);
      registers.setBits(Reg.fqcsr, Fqcsr.fqon.mask);
    } else if (!isEnabled) {
      registers.clearBits(Reg.fqcsr, Fqcsr.fqon.mask);
    }
  }

  #write(index: number, cause: number, ttyp: Ttyp, deviceId: number, address: number): boolean {
    const at = this.#registers.pageAt(Reg.fqb) + FAULT_BYTES * index;
    const typeAndDevice = FaultRecord.hiTTYP.of(ttyp) | FaultRecord.hiDID.of(deviceId);
    const memory = this.#memory;
    let failed = memory.write32(at, FaultRecord.CAUSE.of(cause));
    failed |= memory.write32(at + 4, typeAndDevice >>> 0);
    failed |= memory.write32(at + 8, 0);
    failed |= memory.write32(at + 12, 0);
    failed |= memory.write32(at + 16, lo32(address));
    failed |= memory.write32(at + 20, hi32(address));
    failed |= memory.write32(at + 24, 0);
    failed |= memory.write32(at + 28, 0);
    return failed === Access.Ok;
  }
}
