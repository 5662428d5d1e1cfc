/**
 * Programs the engine's queue through registers, in the order that Linux uses, and reads why it stopped.
 * [AMDGPU] sdma_v6_0.c
 * @module
 */
import {
  ContextStatus,
  Doorbell,
  F32Cntl,
  QueueException,
  RbCntl,
  SDMA0_DOORBELL,
  Sdma0Cntl,
  SdmaReg,
} from '#devices/gpu/spec.ts';
import { u64 } from '#emu/base/units.ts';
import type { Process } from '#emu/sim/process.ts';
import type { GpuRegisters } from './gpu-registers.ts';

/** Where the engine finds things; engine addresses. */
export interface QueuePlaces {
  readonly ring: number;
  readonly ringBytes: number;
  readonly rptrTo: number;
  readonly wptrFrom: number;
}

/** Why and where the engine stopped. */
export interface GpuFault {
  readonly exception: QueueException;
  /** Name of the exception. */
  readonly reason: string;
  /** Dword 0 of the packet, 0 when there was none. */
  readonly header: number;
  /** The address that failed or the pointer that was refused. */
  readonly address: number;
  /** What the fabric answered. */
  readonly status: number;
  /** Ring counter of the first packet that took no effect. */
  readonly rptr: number;
}

/** Stops the queue; what is in the ring is forgotten. Back when the engine has heard it. */
export function* stopQueue(registers: GpuRegisters): Process<void> {
  registers.write(SdmaReg.DOORBELL, 0);
  registers.write(SdmaReg.RB_CNTL, 0);
  yield* registers.read(SdmaReg.RB_CNTL);
}

/** Starts an empty queue with pointers of 0; back when the engine has taken it. */
export function* startQueue(registers: GpuRegisters, places: QueuePlaces): Process<void> {
  const write = registers.write.bind(registers);
  const pair = registers.writePair.bind(registers);
  const size = RbCntl.RB_SIZE.of(31 - Math.clz32(places.ringBytes / 4));
  write(SdmaReg.F32_CNTL, F32Cntl.HALT.of(1));
  write(SdmaReg.RB_CNTL, size);
  pair(SdmaReg.RB_RPTR, SdmaReg.RB_RPTR_HI, 0);
  pair(SdmaReg.RB_RPTR_ADDR_LO, SdmaReg.RB_RPTR_ADDR_HI, places.rptrTo);
  pair(SdmaReg.RB_WPTR_POLL_ADDR_LO, SdmaReg.RB_WPTR_POLL_ADDR_HI, places.wptrFrom);
  pair(SdmaReg.RB_BASE, SdmaReg.RB_BASE_HI, places.ring / 256);
  write(SdmaReg.MINOR_PTR_UPDATE, 1);
  pair(SdmaReg.RB_WPTR, SdmaReg.RB_WPTR_HI, 0);
  write(SdmaReg.DOORBELL_OFFSET, SDMA0_DOORBELL);
  write(SdmaReg.DOORBELL, Doorbell.ENABLE.of(1));
  write(SdmaReg.MINOR_PTR_UPDATE, 0);
  write(SdmaReg.SDMA0_CNTL, Sdma0Cntl.TRAP_ENABLE.of(1) | Sdma0Cntl.FROZEN_INT_ENABLE.of(1));
  write(SdmaReg.F32_CNTL, 0);
  const enabled = size | RbCntl.RPTR_WRITEBACK_ENABLE.of(1) | RbCntl.RB_ENABLE.of(1);
  write(SdmaReg.RB_CNTL, enabled);
  yield* registers.read(SdmaReg.RB_CNTL);
}

/** Reads why the queue stopped; null while it has not. */
export function* readFault(registers: GpuRegisters): Process<GpuFault | null> {
  const code = ContextStatus.EXCEPTION.get(yield* registers.read(SdmaReg.CONTEXT_STATUS));
  const found = Object.entries(QueueException).find(([, value]) => value === code);
  if (!found || code === QueueException.None) return null;
  const [reason, exception] = found;
  const header = yield* registers.read(SdmaReg.MIDCMD_DATA0);
  const low = yield* registers.read(SdmaReg.MIDCMD_DATA1);
  const high = yield* registers.read(SdmaReg.MIDCMD_DATA2);
  const status = yield* registers.read(SdmaReg.MIDCMD_DATA3);
  const rptrLow = yield* registers.read(SdmaReg.RB_RPTR);
  const rptrHigh = yield* registers.read(SdmaReg.RB_RPTR_HI);
  const address = u64(low, high);
  return { exception, reason, header, address, status, rptr: u64(rptrLow, rptrHigh) };
}
