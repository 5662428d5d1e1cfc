/**
 * What the registers of a queue say, decoded once when the queue is enabled, and how it reports back in them.
 * [AMDGPU] SDMA0_QUEUE0
 * @module
 */
import { ContextStatus, MidcmdCntl, RbCntl, SdmaReg } from '#devices/gpu/spec.ts';
import { ADDR_LIMIT, hi32, lo32, u64 } from '#emu/base/units.ts';
import type { Fault } from './pipeline.ts';
import type { RegisterSpace } from './register-space.ts';

/** Bytes of a dword ring of the smallest size. */
const DWORD = 4;

export interface QueueSetup {
  /** Engine addresses; may lie beyond 2^52, which leads nowhere. */
  readonly ring: number;
  readonly ringBytes: number;
  readonly rptr: number;
  readonly wptr: number;
  /** Where the read pointer goes, or -1. */
  readonly rptrTo: number;
  /** Where the write pointer is polled, or -1. */
  readonly wptrFrom: number;
}

export function readSetup(registers: RegisterSpace): QueueSetup {
  const control = registers.get(SdmaReg.RB_CNTL);
  const pair = (lo: typeof SdmaReg.RB_RPTR, hi: typeof SdmaReg.RB_RPTR): number =>
    u64(registers.get(lo), registers.get(hi));
  return {
    ring: pair(SdmaReg.RB_BASE, SdmaReg.RB_BASE_HI) * 256,
    ringBytes: DWORD * 2 ** RbCntl.RB_SIZE.get(control),
    rptr: pair(SdmaReg.RB_RPTR, SdmaReg.RB_RPTR_HI),
    wptr: pair(SdmaReg.RB_WPTR, SdmaReg.RB_WPTR_HI),
    rptrTo: RbCntl.RPTR_WRITEBACK_ENABLE.get(control)
      ? pair(SdmaReg.RB_RPTR_ADDR_LO, SdmaReg.RB_RPTR_ADDR_HI)
      : -1,
    wptrFrom: RbCntl.F32_WPTR_POLL_ENABLE.get(control)
      ? pair(SdmaReg.RB_WPTR_POLL_ADDR_LO, SdmaReg.RB_WPTR_POLL_ADDR_HI)
      : -1,
  };
}

/** Whether a write pointer may follow: whole dwords, nothing withdrawn, at most one ring ahead. */
export function pointerFollows(
  rptr: number,
  wptr: number,
  next: number,
  ringBytes: number,
): boolean {
  const inOrder = rptr <= wptr && wptr <= next && next < ADDR_LIMIT;
  return inOrder && next - rptr <= ringBytes && next % DWORD === 0 && rptr % DWORD === 0;
}

export function showPointers(registers: RegisterSpace, rptr: number, wptr: number): void {
  registers.set(SdmaReg.RB_RPTR, lo32(rptr));
  registers.set(SdmaReg.RB_RPTR_HI, hi32(rptr));
  registers.set(SdmaReg.RB_WPTR, lo32(wptr));
  registers.set(SdmaReg.RB_WPTR_HI, hi32(wptr));
  const status = registers.get(SdmaReg.CONTEXT_STATUS);
  const idle = rptr === wptr ? 1 : 0;
  registers.set(SdmaReg.CONTEXT_STATUS, ContextStatus.IDLE.put(status, idle));
}

/** Shows why the queue stopped, or that it has not. */
export function showFault(registers: RegisterSpace, fault: Fault | null): void {
  const status = registers.get(SdmaReg.CONTEXT_STATUS);
  const exception = fault?.exception ?? 0;
  const address = fault === null || fault.address < 0 ? 0 : fault.address;
  registers.set(SdmaReg.CONTEXT_STATUS, ContextStatus.EXCEPTION.put(status, exception));
  registers.set(SdmaReg.MIDCMD_DATA0, fault?.header ?? 0);
  registers.set(SdmaReg.MIDCMD_DATA1, lo32(address));
  registers.set(SdmaReg.MIDCMD_DATA2, hi32(address));
  registers.set(SdmaReg.MIDCMD_DATA3, fault?.status ?? 0);
  registers.set(SdmaReg.MIDCMD_CNTL, MidcmdCntl.DATA_VALID.of(fault === null ? 0 : 1));
}
