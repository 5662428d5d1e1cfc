/**
 * The tables of the GPU function, shared by model and driver: PCI shape, BAR5 registers, SDMA packets.
 * What differs between generations of the engine is data here; v6 is the one described. [AMDGPU]
 * @module
 */
import { Bits, U64 } from '#emu/base/layout.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { PacketField } from './packet-field.ts';

/** What configuration space says of the function: a Navi 31 class display controller. */
export const Identity = {
  vendorId: 0x1002,
  deviceId: 0x744c,
  revisionId: 0xc8,
  classCode: 0x03_0000,
  subsystemVendorId: 0x1002,
  subsystemId: 0x0e3b,
} as const;

/** BAR numbers and fixed sizes; BAR0 has the size of VRAM. */
export const Bar = { VRAM: 0, DOORBELLS: 2, REGISTERS: 5 } as const;
export const DOORBELLS_SIZE: number = 2 ** 21;
export const REGISTERS_SIZE: number = 2 ** 20;

/** Byte offset in BAR2 of the doorbell that drivers give to SDMA0: index 0x100, 8 bytes each. */
export const SDMA0_DOORBELL = 0x800;

/** Unit of FB_LOCATION_BASE and FB_LOCATION_TOP. */
export const FB_UNIT: number = 2 ** 24;
/** Where the frame buffer stands in the address space of the GPU's engines after reset. */
export const FB_BASE: number = 0x80_0000_0000;

const ALL = 0xffff_ffff;
const storage = (name: string, offset: number, writable = ALL): RegisterSpec => {
  return { name, offset, width: 32, writable };
};
const status = (name: string, offset: number, reset = 0): RegisterSpec => {
  return { name, offset, width: 32, reset };
};

/** Registers outside the copy engine that have a meaning. Offsets in bytes from BAR5. */
export const Reg = {
  /** VRAM size in MiB. */
  RCC_CONFIG_MEMSIZE: status('RCC_CONFIG_MEMSIZE', 0x378c),
  MMMC_VM_FB_LOCATION_BASE: storage('MMMC_VM_FB_LOCATION_BASE', 0x6_a3b0, 0x00ff_ffff),
  MMMC_VM_FB_LOCATION_TOP: storage('MMMC_VM_FB_LOCATION_TOP', 0x6_a3b4, 0x00ff_ffff),
} as const;

/** Registers that keep what is written and do nothing. Model: what no row names reads as zero. */
export const PLAIN_STORAGE: readonly RegisterSpec[] = [
  storage('RCC_DOORBELL_APER_EN', 0x3780),
  storage('IH_RB_CNTL', 0x4480),
  storage('IH_RB_BASE', 0x4484),
  storage('IH_RB_BASE_HI', 0x4488),
  storage('IH_RB_RPTR', 0x448c),
  storage('IH_RB_WPTR', 0x4490),
  storage('IH_RB_WPTR_ADDR_HI', 0x4494),
  storage('IH_RB_WPTR_ADDR_LO', 0x4498),
  storage('IH_DOORBELL_RPTR', 0x449c),
  storage('SDMA0_WATCHDOG_CNTL', 0x4a38),
  storage('SDMA0_UTCL1_CNTL', 0x4a70),
  storage('SDMA0_UTCL1_PAGE', 0x4a7c),
  storage('SDMA0_RLC_CGCG_CTRL', 0x4af0),
  storage('SDMA0_QUEUE0_IB_CNTL', 0x4ba8),
  storage('GRBM_CNTL', 0x8000),
  storage('SCRATCH_REG6', 0x3_0118),
  storage('SCRATCH_REG7', 0x3_011c),
];

/** Registers of SDMA0 and its queue 0, by the names of the headers. */
export const SdmaReg = {
  SDMA0_CNTL: storage('SDMA0_CNTL', 0x49f0),
  RB_CNTL: storage('SDMA0_QUEUE0_RB_CNTL', 0x4b80),
  /** Ring address >> 8. */
  RB_BASE: storage('SDMA0_QUEUE0_RB_BASE', 0x4b84),
  RB_BASE_HI: storage('SDMA0_QUEUE0_RB_BASE_HI', 0x4b88, 0x00ff_ffff),
  /** Read and write pointers are 64-bit byte counters that never wrap. */
  RB_RPTR: storage('SDMA0_QUEUE0_RB_RPTR', 0x4b8c),
  RB_RPTR_HI: storage('SDMA0_QUEUE0_RB_RPTR_HI', 0x4b90),
  RB_WPTR: storage('SDMA0_QUEUE0_RB_WPTR', 0x4b94),
  RB_WPTR_HI: storage('SDMA0_QUEUE0_RB_WPTR_HI', 0x4b98),
  RB_RPTR_ADDR_HI: storage('SDMA0_QUEUE0_RB_RPTR_ADDR_HI', 0x4ba0),
  RB_RPTR_ADDR_LO: storage('SDMA0_QUEUE0_RB_RPTR_ADDR_LO', 0x4ba4, 0xffff_fffc),
  CONTEXT_STATUS: status('SDMA0_QUEUE0_CONTEXT_STATUS', 0x4bc4, 0x4),
  DOORBELL: storage('SDMA0_QUEUE0_DOORBELL', 0x4bc8, 0x1000_0000),
  DOORBELL_LOG: status('SDMA0_QUEUE0_DOORBELL_LOG', 0x4c24),
  /** Byte offset of the doorbell in BAR2. */
  DOORBELL_OFFSET: storage('SDMA0_QUEUE0_DOORBELL_OFFSET', 0x4c2c, 0x0fff_fffc),
  RB_WPTR_POLL_ADDR_HI: storage('SDMA0_QUEUE0_RB_WPTR_POLL_ADDR_HI', 0x4c48),
  RB_WPTR_POLL_ADDR_LO: storage('SDMA0_QUEUE0_RB_WPTR_POLL_ADDR_LO', 0x4c4c, 0xffff_fffc),
  /** While 1, writes of the write pointer registers start nothing. */
  MINOR_PTR_UPDATE: storage('SDMA0_QUEUE0_MINOR_PTR_UPDATE', 0x4c54, 0x1),
  /** Model: the packet at which the queue stopped: its header, address low and high, DMA status. */
  MIDCMD_DATA0: status('SDMA0_QUEUE0_MIDCMD_DATA0', 0x4c80),
  MIDCMD_DATA1: status('SDMA0_QUEUE0_MIDCMD_DATA1', 0x4c84),
  MIDCMD_DATA2: status('SDMA0_QUEUE0_MIDCMD_DATA2', 0x4c88),
  MIDCMD_DATA3: status('SDMA0_QUEUE0_MIDCMD_DATA3', 0x4c8c),
  MIDCMD_CNTL: status('SDMA0_QUEUE0_MIDCMD_CNTL', 0x4cac),
  F32_CNTL: storage('SDMA0_F32_CNTL', 0x3_e268),
} as const;

export const Sdma0Cntl = {
  TRAP_ENABLE: new Bits(0),
  /** Model: interrupt when the queue stops at an error. */
  FROZEN_INT_ENABLE: new Bits(29),
} as const;

export const RbCntl = {
  RB_ENABLE: new Bits(0),
  /** log2 of the ring's dwords. */
  RB_SIZE: new Bits(5, 1),
  F32_WPTR_POLL_ENABLE: new Bits(11),
  RPTR_WRITEBACK_ENABLE: new Bits(12),
} as const;

export const ContextStatus = {
  IDLE: new Bits(2),
  /** A {@link QueueException}. */
  EXCEPTION: new Bits(6, 4),
} as const;

export const Doorbell = { ENABLE: new Bits(28) } as const;
export const DoorbellLog = {
  /** The doorbell was not one 8-byte write. */
  BE_ERROR: new Bits(0),
  /** Low bits of the refused value. */
  DATA: new Bits(31, 2),
} as const;
export const MidcmdCntl = { DATA_VALID: new Bits(0) } as const;
export const F32Cntl = { HALT: new Bits(0) } as const;

/** Why a queue stopped. Model: the headers name the field, not its codes. */
export const QueueException = {
  None: 0,
  /** A write pointer below what was accepted, beyond one ring, or not a multiple of 4. */
  BadPointer: 1,
  UnknownPacket: 2,
  /** A known packet with a field or flag that has no defined effect. */
  BadPacket: 3,
  /** An address of 2^52 or more, or a range that is partly in the frame buffer. */
  BadAddress: 4,
  ReadFailed: 5,
  WriteFailed: 6,
  /** The ring could not be read. */
  RingFailed: 7,
} as const;
export type QueueException = (typeof QueueException)[keyof typeof QueueException];

/** Packet header: every packet has it in dword 0. */
export const Header = {
  op: new PacketField(0, 7, 0),
  subOp: new PacketField(0, 15, 8),
} as const;

export interface NopLayout {
  readonly dwords: number;
  /** Dwords after the header to skip. */
  readonly count: PacketField;
}
export interface CopyLinearLayout {
  readonly dwords: number;
  /** Flags that ask for a copy of another kind, which must be zero. */
  readonly reserved: readonly PacketField[];
  readonly backwards: PacketField;
  /** Bytes - 1. */
  readonly count: PacketField;
  readonly source: U64;
  readonly dest: U64;
}
export interface WriteLinearLayout {
  readonly dwords: number;
  readonly dest: U64;
  /** Dwords that follow - 1. */
  readonly count: PacketField;
}
export interface FenceLayout {
  readonly dwords: number;
  readonly address: U64;
  readonly data: PacketField;
}
export interface TrapLayout {
  readonly dwords: number;
  readonly context: PacketField;
}
export interface ConstFillLayout {
  readonly dwords: number;
  /** A {@link FillSize}. */
  readonly fillSize: PacketField;
  readonly dest: U64;
  readonly data: PacketField;
  /** Bytes - 1, its low two bits ignored when filling dwords. */
  readonly count: PacketField;
}

/** One generation of the engine: opcodes and layouts. */
export interface SdmaGeneration {
  readonly name: string;
  readonly opcode: {
    readonly NOP: number;
    readonly COPY: number;
    readonly WRITE: number;
    readonly FENCE: number;
    readonly TRAP: number;
    readonly CONST_FILL: number;
  };
  readonly nop: NopLayout;
  readonly copyLinear: CopyLinearLayout;
  readonly writeLinear: WriteLinearLayout;
  readonly fence: FenceLayout;
  readonly trap: TrapLayout;
  readonly constFill: ConstFillLayout;
}

/** Unit of CONST_FILL. Model: the other two codes are undocumented and refused. */
export const FillSize = { BYTE: 0, DWORD: 2 } as const;

/** SDMA v6. All sub-opcodes used here are 0. [AMDGPU] sdma_v6_0_0_pkt_open.h */
export const SDMA_V6: SdmaGeneration = {
  name: 'v6',
  opcode: { NOP: 0, COPY: 1, WRITE: 2, FENCE: 5, TRAP: 6, CONST_FILL: 11 },
  nop: { dwords: 1, count: new PacketField(0, 29, 16) },
  copyLinear: {
    dwords: 7,
    reserved: [new PacketField(0, 16), new PacketField(0, 18), new PacketField(0, 27)],
    backwards: new PacketField(0, 25),
    count: new PacketField(1, 29, 0),
    source: new U64(12),
    dest: new U64(20),
  },
  writeLinear: { dwords: 4, dest: new U64(4), count: new PacketField(3, 19, 0) },
  fence: { dwords: 4, address: new U64(4), data: new PacketField(3, 31, 0) },
  trap: { dwords: 2, context: new PacketField(1, 27, 0) },
  constFill: {
    dwords: 5,
    fillSize: new PacketField(0, 31, 30),
    dest: new U64(4),
    data: new PacketField(3, 31, 0),
    count: new PacketField(4, 29, 0),
  },
};

/** Dwords of the longest packet without its payload. */
export const LONGEST_HEADER = 7;
