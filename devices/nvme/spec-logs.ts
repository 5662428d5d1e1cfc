/**
 * Log pages: layouts and values, shared by the model and the driver; nothing here behaves. [NVME] 5.16
 * @module
 */
import { Bits, U8, U16, U32, U64 } from '#emu/base/layout.ts';

/** Log page identifiers. [NVME] 5.16.1 */
export const LogPage = {
  SupportedPages: 0x00,
  Error: 0x01,
  Smart: 0x02,
  Firmware: 0x03,
  Effects: 0x05,
  FeatureEffects: 0x12,
  ManagementEffects: 0x13,
} as const;
/** CDW10 of Get Log Page. [NVME] 5.16 */
export const LogCdw10 = {
  LID: new Bits(7, 0),
  RAE: new Bits(15),
  NUMDL: new Bits(31, 16),
} as const;
/** CDW11 of Get Log Page. [NVME] 5.16 */
export const LogCdw11 = { NUMDU: new Bits(15, 0) } as const;
/** CDW14 of Get Log Page. [NVME] 5.16 */
export const LogCdw14 = { OT: new Bits(23) } as const;

/** Error Information log entry. [NVME] 5.16.1.2 */
export const ErrorLogEntry = {
  SIZE: 64,
  errorCount: new U64(0),
  sqid: new U16(8),
  cid: new U16(10),
  /** Status field as in the CQE, phase tag included. */
  status: new U16(12),
  parameter: new U16(14),
  lba: new U64(16),
  nsid: new U32(24),
} as const;

/** SMART / Health Information log. Counters are 128 bits wide, the low 64 are used. [NVME] 5.16.1.3 */
export const SmartLog = {
  SIZE: 512,
  temperature: new U16(1),
  availableSpare: new U8(3),
  spareThreshold: new U8(4),
  dataUnitsRead: new U64(32),
  dataUnitsWritten: new U64(48),
  hostReads: new U64(64),
  hostWrites: new U64(80),
  powerOnHours: new U64(128),
  mediaErrors: new U64(160),
  errorLogEntries: new U64(176),
} as const;
/** Bytes of one data unit: a thousand blocks of 512. [NVME] 5.16.1.3 */
export const DATA_UNIT_SIZE = 512_000;

/** Firmware Slot Information log. [NVME] 5.16.1.4 */
export const FirmwareLog = { SIZE: 512, AFI: new U8(0), FRS1: { at: 8, size: 8 } } as const;

/** Commands Supported and Effects log: a dword an opcode. [NVME] 5.16.1.6 */
export const EffectsLog = { SIZE: 4096, admin: 0, io: 1024, CSUPP: 1, LBCC: 2 } as const;

/** Supported Log Pages log: a dword an identifier; bit 0 is LSUPP. [NVME] 5.16.1.1 */
export const SupportedPagesLog = { SIZE: 1024, LSUPP: 1 } as const;

/** Feature Identifiers Supported and Effects log: a dword an identifier, with its scope. [NVME] 5.16.1.18 */
export const FeatureEffectsLog = {
  SIZE: 1024,
  FSUPP: 0x0000_0001,
  NamespaceScope: 0x0010_0000,
  ControllerScope: 0x0020_0000,
} as const;

/** NVMe-MI Commands Supported and Effects log. [NVME] 5.16.1.19 */
export const MANAGEMENT_EFFECTS_SIZE = 4096;
