/**
 * RISC-V IOMMU tables shared by the hardware model and its driver: registers, structures in memory, commands,
 * causes. Numbers only, no behaviour. [RVIOMMU] 1.0, [RVPRIV] 10.4, 10.5
 * @module
 */
import { Bits } from '#emu/base/layout.ts';

/** Bytes of the register page. [RVIOMMU] 5 */
export const REGISTER_PAGE_BYTES = 4096;

/** Register offsets; registers of 64 bits are named by their low half. [RVIOMMU] 5.1 */
export const Reg = {
  capabilities: 0,
  fctl: 8,
  ddtp: 16,
  cqb: 24,
  cqh: 32,
  cqt: 36,
  fqb: 40,
  fqh: 48,
  fqt: 52,
  cqcsr: 72,
  fqcsr: 76,
  ipsr: 84,
  icvec: 760,
  msiCfgTbl: 768,
} as const;

/** Low word of `capabilities`; the model sets {@link CAPABILITIES_LO}. [RVIOMMU] 5.3 */
export const Capabilities = {
  version: new Bits(7, 0),
  Sv39: new Bits(9),
  Sv48: new Bits(10),
  IGS: new Bits(29, 28),
  /** In the high word: width of a physical address. */
  PAS: new Bits(5, 0),
} as const;

/** Version 1.0, Sv39 and Sv48, interrupts as messages only; every other feature is absent. */
export const CAPABILITIES_LO: number =
  (Capabilities.version.of(0x10) | Capabilities.Sv39.of(1) | Capabilities.Sv48.of(1)) >>> 0;

/** Low word of `ddtp`; its PPN, bits 53:10, is read by {@link ppnToAddress}. [RVIOMMU] 5.5 */
export const Ddtp = { iommuMode: new Bits(3, 0), busy: new Bits(4) } as const;

/** `ddtp.iommu_mode`. [RVIOMMU] 5.5 */
export const DdtMode = { Off: 0, Bare: 1, OneLevel: 2, TwoLevel: 3, ThreeLevel: 4 } as const;
export type DdtMode = (typeof DdtMode)[keyof typeof DdtMode];

/** Low word of `cqb` and `fqb`: LOG2SZ-1; the PPN is bits 53:10. [RVIOMMU] 5.6, 5.9 */
export const QueueBase = { log2szMinus1: new Bits(4, 0) } as const;

/** [RVIOMMU] 5.15 */
export const Cqcsr = {
  cqen: new Bits(0),
  cie: new Bits(1),
  cqmf: new Bits(8),
  cmd_to: new Bits(9),
  cmd_ill: new Bits(10),
  fence_w_ip: new Bits(11),
  cqon: new Bits(16),
  busy: new Bits(17),
} as const;

/** [RVIOMMU] 5.16 */
export const Fqcsr = {
  fqen: new Bits(0),
  fie: new Bits(1),
  fqmf: new Bits(8),
  fqof: new Bits(9),
  fqon: new Bits(16),
  busy: new Bits(17),
} as const;

/** [RVIOMMU] 5.18 */
export const Ipsr = { cip: new Bits(0), fip: new Bits(1) } as const;
/** [RVIOMMU] 5.27 */
export const Icvec = { civ: new Bits(3, 0), fiv: new Bits(7, 4) } as const;

/** Vectors that `icvec` can name, and entries of `msi_cfg_tbl`. */
export const VECTORS = 8;
/** One entry of `msi_cfg_tbl`, 16 bytes. [RVIOMMU] 5.28 */
export const MsiCfg = {
  SIZE: 16,
  addrLo: 0,
  addrHi: 4,
  data: 8,
  control: 12,
  mask: new Bits(0),
} as const;

/** Device context in base format: four words of 64 bits. [RVIOMMU] 2.1.2 */
export const Dc = { SIZE: 32, tc: 0, iohgatp: 8, ta: 16, fsc: 24 } as const;
/** Low word of `DC.tc`. [RVIOMMU] 2.1.3.1 */
export const DcTc = { V: new Bits(0), DTF: new Bits(4) } as const;
/** Low word of `DC.ta`. [RVIOMMU] 2.1.3.3 */
export const DcTa = { PSCID: new Bits(31, 12) } as const;
/** High word of `DC.fsc` as iosatp; the PPN is bits 43:0 of the whole. [RVIOMMU] 2.1.3.4 */
export const Iosatp = { MODE: new Bits(31, 28), ppnHi: new Bits(11, 0) } as const;
/** `iosatp.MODE`. [RVIOMMU] 2.1.3.4 */
export const FirstStage = { Bare: 0, Sv39: 8, Sv48: 9 } as const;
export type FirstStage = (typeof FirstStage)[keyof typeof FirstStage];

/** Low word of a page-table entry; the PPN is bits 53:10. [RVPRIV] 10.4.1 */
export const Pte = {
  V: 0x01,
  R: 0x02,
  W: 0x04,
  X: 0x08,
  U: 0x10,
  G: 0x20,
  A: 0x40,
  D: 0x80,
} as const;
/** High word of a page-table entry. [RVPRIV] 10.4.1 */
export const PteHi = {
  ppn: new Bits(21, 0),
  /** Bits 58:54, and 60:59 without Svrsw60t59b. */
  reserved: new Bits(28, 22),
  PBMT: new Bits(30, 29),
  N: new Bits(31),
} as const;

/** Bits of an address resolved by each level of a page table. */
export const LEVEL_BITS = 9;
export const ENTRIES_PER_TABLE = 512;

/** Commands are 16 bytes: two words of 64 bits. [RVIOMMU] 3.1 */
export const COMMAND_BYTES = 16;
/** Opcode and func3 together: bits 9:0 of a command. [RVIOMMU] 3.1 */
export const Command = {
  IotinvalVma: 0x001,
  IotinvalGvma: 0x081,
  IofenceC: 0x002,
  IodirInvalDdt: 0x003,
} as const;
/** Word 0 of IOTINVAL, low then high half. [RVIOMMU] 3.1.1 */
export const Iotinval = {
  AV: new Bits(10),
  PSCID: new Bits(31, 12),
  hiPSCV: new Bits(0),
  hiGV: new Bits(1),
  hiGSCID: new Bits(27, 12),
} as const;
/** Word 0 of IOFENCE.C, low half; DATA is the high half. [RVIOMMU] 3.1.2 */
export const Iofence = {
  AV: new Bits(10),
  WSI: new Bits(11),
  PR: new Bits(12),
  PW: new Bits(13),
} as const;
/** Word 0 of IODIR.INVAL_DDT, high half. [RVIOMMU] 3.1.3 */
export const Iodir = { hiDV: new Bits(1), hiDID: new Bits(31, 8) } as const;

/** Fault records are 32 bytes: cause word, a reserved word, iotval, iotval2. [RVIOMMU] 3.2 */
export const FAULT_BYTES = 32;
/** Word 0 of a fault record: low half, then `hi` fields. [RVIOMMU] 3.2 */
export const FaultRecord = {
  CAUSE: new Bits(11, 0),
  hiTTYP: new Bits(7, 2),
  hiDID: new Bits(31, 8),
} as const;

/** Transaction type in a fault record. [RVIOMMU] 3.2 */
export const Ttyp = { None: 0, UntranslatedRead: 2, UntranslatedWrite: 3 } as const;
export type Ttyp = (typeof Ttyp)[keyof typeof Ttyp];

/** Fault causes that this unit can report. [RVIOMMU] 3.2 */
export const Cause = {
  ReadAccessFault: 5,
  WriteAccessFault: 7,
  ReadPageFault: 13,
  WritePageFault: 15,
  AllInboundDisallowed: 256,
  DdtEntryLoadFault: 257,
  DdtEntryNotValid: 258,
  DdtEntryMisconfigured: 259,
  TransactionTypeDisallowed: 260,
  DdtCorruption: 268,
  MsiWriteFault: 273,
  PageTableCorruption: 274,
} as const;
export type Cause = (typeof Cause)[keyof typeof Cause];

/** Address of the page whose number stands in bits 53:10 of a 64-bit word; up to 2^56. */
export const ppnToAddress = (lo: number, hi: number): number =>
  ((lo >>> 10) + (hi & 0x3f_ffff) * 0x40_0000) * 4096;

/** Low word of a 64-bit word with the page number of `address` in bits 53:10. */
export const ppnLo = (address: number): number => ((address * 2 ** -12) << 10) >>> 0;
/** High word of the same. */
export const ppnHi = (address: number): number => Math.floor(address * 2 ** -34);
