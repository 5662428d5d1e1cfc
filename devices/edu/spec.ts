/**
 * The tables of QEMU's teaching device, shared by its model and its driver: identity, registers, bits.
 * Nothing here behaves. [EDU]
 * @module
 */
import { Bits, U64 } from '#emu/base/layout.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';

/** What configuration space says of the function. [EDU] "PCI specs" */
export const Identity = {
  vendorId: 0x1234,
  deviceId: 0x11e8,
  revisionId: 0x10,
  /** A device that fits no defined class. [PCICODE] */
  classCode: 0xff_0000,
} as const;

/** The one BAR: 1 MiB of registers. */
export const BAR = 0;
export const BAR_SIZE: number = 2 ** 20;

/** The DMA engine's own memory, which only DMA reaches. [EDU] "DMA controller" */
export const BUFFER_BASE = 0x4_0000;
export const BUFFER_SIZE = 4096;

/** Width of the addresses that the DMA engine drives, unless an option says otherwise. */
export const DMA_MASK_BITS = 28;
/** Widest that the option can be: addresses of this emulator. */
export const MAX_DMA_MASK_BITS = 52;

const ALL = 0xffff_ffff;
const readOnly = (name: string, offset: number, reset = 0): RegisterSpec => {
  return { name, offset, width: 32, reset };
};
const readWrite = (name: string, offset: number, writable = ALL): RegisterSpec => {
  return { name, offset, width: 32, writable };
};

/** The registers. A 64-bit one is two rows. [EDU] "MMIO area spec" */
export const Reg = {
  ID: readOnly('ID', 0x00, 0x0100_00ed),
  LIVENESS: readWrite('LIVENESS', 0x04),
  FACTORIAL: readWrite('FACTORIAL', 0x08),
  STATUS: readWrite('STATUS', 0x20, 0x80),
  IRQ_STATUS: readOnly('IRQ_STATUS', 0x24),
  /** A write acts at once; the register reads as zero. So does IRQ_ACK. */
  IRQ_RAISE: readWrite('IRQ_RAISE', 0x60),
  IRQ_ACK: readWrite('IRQ_ACK', 0x64),
  DMA_SOURCE: readWrite('DMA_SOURCE', 0x80),
  DMA_SOURCE_HI: readWrite('DMA_SOURCE_HI', 0x84),
  DMA_DEST: readWrite('DMA_DEST', 0x88),
  DMA_DEST_HI: readWrite('DMA_DEST_HI', 0x8c),
  DMA_COUNT: readWrite('DMA_COUNT', 0x90),
  DMA_COUNT_HI: readWrite('DMA_COUNT_HI', 0x94),
  DMA_COMMAND: readWrite('DMA_COMMAND', 0x98, 0x07),
} as const;

/** Bytes from offset 0 to the end of the last register. */
export const REGISTERS_SIZE = 0xa0;
/** Registers below take 4-byte accesses only, the others 8-byte ones too. */
export const WIDE_FROM = 0x80;

/** The 64-bit registers as whole values. */
export const Wide = { SOURCE: new U64(0x80), DEST: new U64(0x88), COUNT: new U64(0x90) } as const;

export const Status = {
  COMPUTING: new Bits(0),
  /** Raise {@link Irq} FACTORIAL when the computation is done. */
  RAISE_IRQ: new Bits(7),
} as const;

export const DmaCommand = {
  /** Reads as one until the transfer is over. */
  START: new Bits(0),
  /** 0: from host memory into the buffer. 1: from the buffer to host memory. */
  TO_HOST: new Bits(1),
  /** Raise {@link Irq} DMA when the transfer is over. */
  RAISE_IRQ: new Bits(2),
} as const;

/** Bits of IRQ_STATUS that the device itself sets; the others are the driver's to raise. */
export const Irq = { FACTORIAL: 0x001, DMA: 0x100 } as const;
