/**
 * The driver's end of the fault queue: takes records out when the IOMMU interrupts and keeps the latest.
 * [RVIOMMU] 3.2, 6.3
 * @module
 */

import { TOO_LARGE } from '#emu/base/layout.ts';
import {
  type Bdf,
  bdfFromId,
  type DmaAddr,
  dmaAddr,
  offsetBy,
  type PhysAddr,
  type Picos,
} from '#emu/base/units.ts';
import { FAULT_BYTES, FaultRecord, Fqcsr, Reg, Ttyp } from '#emu/iommu/spec.ts';
import type { Process } from '#emu/sim/process.ts';
import type { IommuPort } from './iommu-port.ts';

/** A refused access, as the IOMMU recorded it. */
export interface DmaFault {
  /** When the record was read. */
  readonly timePs: Picos;
  /** Cause code as printed in the specification. [RVIOMMU] 3.2 */
  readonly cause: number;
  readonly requester: Bdf;
  readonly address: DmaAddr;
  readonly isWrite: boolean;
}

const LOG2_ENTRIES = 7;
const ENTRIES = 2 ** LOG2_ENTRIES;
export const FAULT_RING_BYTES: number = ENTRIES * FAULT_BYTES;
export const FAULT_RING_LOG2SZ_MINUS_1: number = LOG2_ENTRIES - 1;
/** Faults kept for reading. */
const KEPT = 256;

export class FaultLog {
  readonly base: PhysAddr;
  /** Called for each fault read. */
  onFault: ((fault: DmaFault) => void) | null = null;
  readonly #port: IommuPort;
  readonly #faults: DmaFault[] = [];
  #count = 0;
  #overflows = 0;
  #head = 0;

  constructor(port: IommuPort) {
    this.#port = port;
    this.base = port.host.allocate(FAULT_RING_BYTES, 4096);
  }

  /** The latest faults, oldest first. */
  get faults(): readonly DmaFault[] {
    return this.#faults;
  }
  /** Faults read since the start. */
  get count(): number {
    return this.#count;
  }
  /** Times that records were lost: the queue was full, or its memory failed. */
  get overflows(): number {
    return this.#overflows;
  }

  /** Reads what the queue holds, until it is empty. */
  *drain(): Process<void> {
    const csr = yield* this.#port.read(Reg.fqcsr);
    if ((csr & (Fqcsr.fqof.mask | Fqcsr.fqmf.mask)) !== 0) this.#overflows++;
    for (;;) {
      const tail = yield* this.#port.read(Reg.fqt);
      if (tail === this.#head) break;
      for (; this.#head !== tail; this.#head = (this.#head + 1) % ENTRIES) this.#take();
      this.#port.write(Reg.fqh, this.#head);
    }
    // Recording goes on once there is room: the error bits are cleared by writing ones.
    this.#port.write(Reg.fqcsr, csr | Fqcsr.fqof.mask | Fqcsr.fqmf.mask);
  }

  #take(): void {
    const { memory, kernel } = this.#port.host;
    const at = offsetBy(this.base, this.#head * FAULT_BYTES);
    const hi = memory.getU32(at + 4);
    const address = memory.getU64(at + 16);
    const fault: DmaFault = {
      timePs: kernel.now,
      cause: FaultRecord.CAUSE.get(memory.getU32(at)),
      requester: bdfFromId(FaultRecord.hiDID.get(hi)),
      address: dmaAddr(address === TOO_LARGE ? 0 : address),
      isWrite: FaultRecord.hiTTYP.get(hi) === Ttyp.UntranslatedWrite,
    };
    this.#count++;
    if (this.#faults.length === KEPT) this.#faults.shift();
    this.#faults.push(fault);
    this.onFault?.(fault);
  }
}
