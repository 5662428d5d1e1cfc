/**
 * Interrupt causes, their vectors and the messages they send: `ipsr`, `icvec`, `msi_cfg_tbl`.
 * Messages only; there are no wires. [RVIOMMU] 5.18, 5.27, 5.28
 * @module
 */
import { type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { IommuRegisters } from './registers.ts';
import { Cqcsr, Fqcsr, Icvec, Ipsr, MsiCfg, Reg } from './spec.ts';
import { Access, type TableMemory } from './table-memory.ts';

/** Takes a 4-byte write of the unit outside host memory: an interrupt message. */
export type MessageSink = (address: PhysAddr, data: number) => void;

const COMMAND_ERRORS =
  Cqcsr.cqmf.mask | Cqcsr.cmd_to.mask | Cqcsr.cmd_ill.mask | Cqcsr.fence_w_ip.mask;
const FAULT_ERRORS = Fqcsr.fqmf.mask | Fqcsr.fqof.mask;

export class InterruptUnit {
  /** Called when a message could not be written to memory. */
  onWriteFault: ((address: number) => void) | null = null;
  readonly #registers: IommuRegisters;
  readonly #memory: TableMemory;
  readonly #sink: MessageSink | null;
  /** Bit a vector: a message waits for its mask to be cleared. */
  #waiting = 0;

  constructor(registers: IommuRegisters, memory: TableMemory, sink: MessageSink | null) {
    this.#registers = registers;
    this.#memory = memory;
    this.#sink = sink;
  }

  /** A fault record was written, or could not be. */
  faultReported(): void {
    if (Fqcsr.fie.get(this.#registers.get(Reg.fqcsr)) === 1) this.#raise(Ipsr.fip.mask);
  }

  /** Sets the pending bits whose conditions hold; after any change of a queue's csr or of `ipsr`. */
  update(): void {
    const cqcsr = this.#registers.get(Reg.cqcsr);
    const fqcsr = this.#registers.get(Reg.fqcsr);
    if (Cqcsr.cie.get(cqcsr) === 1 && (cqcsr & COMMAND_ERRORS) !== 0) this.#raise(Ipsr.cip.mask);
    if (Fqcsr.fie.get(fqcsr) === 1 && (fqcsr & FAULT_ERRORS) !== 0) this.#raise(Ipsr.fip.mask);
  }

  /** The entry of `vector` in `msi_cfg_tbl` was written: sends what waited for its mask. */
  entryWritten(vector: number): void {
    if ((this.#waiting & (1 << vector)) !== 0) this.#send(vector);
  }

  #raise(bit: number): void {
    const registers = this.#registers;
    if ((registers.get(Reg.ipsr) & bit) !== 0) return;
    registers.setBits(Reg.ipsr, bit);
    const icvec = registers.get(Reg.icvec);
    this.#send(bit === Ipsr.cip.mask ? Icvec.civ.get(icvec) : Icvec.fiv.get(icvec));
  }

  #send(vector: number): void {
    const entry = Reg.msiCfgTbl + MsiCfg.SIZE * vector;
    const registers = this.#registers;
    if (MsiCfg.mask.get(registers.get(entry + MsiCfg.control)) === 1) {
      this.#waiting |= 1 << vector;
      return;
    }
    this.#waiting &= ~(1 << vector);
    const hi = registers.get(entry + MsiCfg.addrHi);
    const address = registers.get(entry + MsiCfg.addrLo) + hi * 0x1_0000_0000;
    const data = registers.get(entry + MsiCfg.data);
    if (this.#sink !== null) this.#sink(physAddr(address), data);
    else if (this.#memory.write32(address, data) !== Access.Ok) this.onWriteFault?.(address);
  }
}
