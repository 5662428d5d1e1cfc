/**
 * NVMe tables that the controller model and the host driver share: properties, queue entries, opcodes, statuses,
 * data structures. No behaviour. [NVME] 3.1.3, [NVMECS] 3.2, [NVMEPCI] 3.1.2
 * @module
 */
import { Bits, U8, U16, U32, U64 } from '#emu/base/layout.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import type { DmaAddr } from '#emu/base/units.ts';

/** Mass storage, non-volatile memory, NVM Express. [PCICODE] 1.2 */
export const CLASS_CODE = 0x01_0802;
/** Version 2.0 as VS and Identify report it. [NVME] 3.1.3.2 */
export const VERSION = 0x0002_0000;

// ---------------------------------------------------------------- controller properties

/** Bytes of the properties below the doorbells. [NVME] 3.1.3 */
export const PROPERTIES_SIZE = 0x1000;

/** Controller properties; CAP and CRTO get their values from the controller's configuration. [NVME] 3.1.3 */
export const Property = {
  CapLo: { name: 'CAP', offset: 0x00, width: 32 },
  CapHi: { name: 'CAP+4', offset: 0x04, width: 32 },
  Vs: { name: 'VS', offset: 0x08, width: 32, reset: VERSION },
  Intms: { name: 'INTMS', offset: 0x0c, width: 32, writable: 0xffff_ffff },
  Intmc: { name: 'INTMC', offset: 0x10, width: 32, w1c: 0xffff_ffff },
  Cc: { name: 'CC', offset: 0x14, width: 32, writable: 0x00ff_fff1 },
  Csts: { name: 'CSTS', offset: 0x1c, width: 32 },
  Nssr: { name: 'NSSR', offset: 0x20, width: 32 },
  Aqa: { name: 'AQA', offset: 0x24, width: 32, writable: 0x0fff_0fff },
  AsqLo: { name: 'ASQ', offset: 0x28, width: 32, writable: 0xffff_ffff },
  AsqHi: { name: 'ASQ+4', offset: 0x2c, width: 32, writable: 0xffff_ffff },
  AcqLo: { name: 'ACQ', offset: 0x30, width: 32, writable: 0xffff_ffff },
  AcqHi: { name: 'ACQ+4', offset: 0x34, width: 32, writable: 0xffff_ffff },
  Crto: { name: 'CRTO', offset: 0x68, width: 32 },
} as const satisfies Record<string, RegisterSpec>;

/** Controller Capabilities, bits 31:0. [NVME] 3.1.3.1 */
export const CapLo = {
  MQES: new Bits(15, 0),
  CQR: new Bits(16),
  AMS: new Bits(18, 17),
  TO: new Bits(31, 24),
} as const;

/** Controller Capabilities, bits 63:32, numbered from bit 32. [NVME] 3.1.3.1 */
export const CapHi = {
  DSTRD: new Bits(3, 0),
  NSSRS: new Bits(4),
  CSS: new Bits(12, 5),
  MPSMIN: new Bits(19, 16),
  MPSMAX: new Bits(23, 20),
  CMBS: new Bits(25),
  CRMS: new Bits(28, 27),
} as const;

/** Values of CAP.CSS, one bit each. [NVME] 3.1.3.1 */
export const CapCss = { Nvm: 0x01, IoCommandSets: 0x40 } as const;
/** CAP.CRMS: Controller Ready With Media Support. [NVME] 3.1.3.1 */
export const CRMS_CRWMS = 1;
/** Unit of CAP.TO and CRTO, ps. [NVME] 3.1.3.1 */
export const TIMEOUT_UNIT_PS = 500e9;
/** Page size that MPS, MPSMIN and MPSMAX are counted from, and the unit of MDTS at MPSMIN 0. [NVME] 3.1.3.5 */
export const MIN_PAGE_SIZE = 4096;

/** Controller Configuration. [NVME] 3.1.3.5 */
export const Cc = {
  EN: new Bits(0),
  CSS: new Bits(6, 4),
  MPS: new Bits(10, 7),
  AMS: new Bits(13, 11),
  SHN: new Bits(15, 14),
  IOSQES: new Bits(19, 16),
  IOCQES: new Bits(23, 20),
} as const;

/** Values of CC.CSS: the NVM command set alone, or all that CAP announces. [NVME] 3.1.3.5 */
export const CcCss = { Nvm: 0, AllSupported: 6 } as const;
/** Values of CC.SHN. [NVME] 3.1.3.5 */
export const Shn = { None: 0, Normal: 1, Abrupt: 2 } as const;

/** Controller Status. [NVME] 3.1.3.6 */
export const Csts = {
  RDY: new Bits(0),
  CFS: new Bits(1),
  SHST: new Bits(3, 2),
} as const;
/** Values of CSTS.SHST. [NVME] 3.1.3.6 */
export const Shst = { Normal: 0, Occurring: 1, Complete: 2 } as const;

/** Admin Queue Attributes; both sizes are zero-based. [NVME] 3.1.3.8 */
export const Aqa = { ASQS: new Bits(11, 0), ACQS: new Bits(27, 16) } as const;

/** Controller Ready Timeouts. [NVME] 3.1.3.21 */
export const Crto = { CRWMT: new Bits(15, 0) } as const;

/** First doorbell and the bytes of one at CAP.DSTRD 0: SQ y tail at 2y, CQ y head at 2y + 1. [NVMEPCI] 3.1.2 */
export const DOORBELLS_AT = 0x1000;
export const DOORBELL_SIZE = 4;

// ---------------------------------------------------------------- queue entries

/** Submission queue entry. [NVME] 3.3.3.1 */
export const Sqe = {
  SIZE: 64,
  /** Log2 of the size, as CC.IOSQES and Identify state it. */
  SHIFT: 6,
  opcode: new U8(0),
  flags: new U8(1),
  cid: new U16(2),
  nsid: new U32(4),
  mptr: new U64(16),
  prp1: new U64<DmaAddr>(24),
  prp2: new U64<DmaAddr>(32),
  cdw10: new U32(40),
  cdw11: new U32(44),
  cdw12: new U32(48),
  cdw13: new U32(52),
  cdw14: new U32(56),
  cdw15: new U32(60),
} as const;

/** Bits of an SQE's second byte. [NVME] 3.3.3.1 */
export const SqeFlags = { FUSE: new Bits(1, 0), PSDT: new Bits(7, 6) } as const;

/** Values of PSDT: how the data pointer is to be read, and with SGLs how the metadata pointer is. [NVME] 3.3.3.1 */
export const Psdt = { Prp: 0, Sgl: 1, SglMetadataSgl: 2, Reserved: 3 } as const;

/** Completion queue entry. [NVME] 3.3.3.2 */
export const Cqe = {
  SIZE: 16,
  SHIFT: 4,
  dw0: new U32(0),
  dw1: new U32(4),
  sqhd: new U16(8),
  sqid: new U16(10),
  cid: new U16(12),
  status: new U16(14),
} as const;

/** The last 16 bits of a CQE: phase tag and status field. [NVME] 3.3.3.2.1 */
export const CqeStatus = {
  P: new Bits(0),
  SC: new Bits(8, 1),
  SCT: new Bits(11, 9),
  CRD: new Bits(13, 12),
  M: new Bits(14),
  DNR: new Bits(15),
  /** Status code type and status code together, the number that {@link Status} lists. */
  CODE: new Bits(11, 1),
} as const;

// ---------------------------------------------------------------- statuses

const generic = (code: number): number => code;
const specific = (code: number): number => 0x100 | code;
const media = (code: number): number => 0x200 | code;

/** Status code type (bits 10:8) and status code (bits 7:0). [NVME] 3.3.3.2.1 */
export const Status = {
  Success: generic(0x00),
  InvalidOpcode: generic(0x01),
  InvalidField: generic(0x02),
  DataTransferError: generic(0x04),
  InternalError: generic(0x06),
  AbortRequested: generic(0x07),
  AbortedSqDeletion: generic(0x08),
  InvalidNamespaceOrFormat: generic(0x0b),
  CommandSequenceError: generic(0x0c),
  InvalidSglSegmentDescriptor: generic(0x0d),
  InvalidNumberOfSglDescriptors: generic(0x0e),
  DataSglLengthInvalid: generic(0x0f),
  SglDescriptorTypeInvalid: generic(0x11),
  PrpOffsetInvalid: generic(0x13),
  SglOffsetInvalid: generic(0x16),
  SglDataBlockGranularityInvalid: generic(0x1e),
  NamespaceWriteProtected: generic(0x20),
  LbaOutOfRange: generic(0x80),
  CapacityExceeded: generic(0x81),
  CompletionQueueInvalid: specific(0x00),
  InvalidQueueIdentifier: specific(0x01),
  InvalidQueueSize: specific(0x02),
  AsyncEventLimitExceeded: specific(0x05),
  InvalidInterruptVector: specific(0x08),
  InvalidLogPage: specific(0x09),
  InvalidQueueDeletion: specific(0x0c),
  FeatureNotSaveable: specific(0x0d),
  FeatureNotNamespaceSpecific: specific(0x0f),
  WriteFault: media(0x80),
  UnrecoveredReadError: media(0x81),
} as const;
export type StatusName = keyof typeof Status;
/** A status code type and code; also values that {@link Status} does not list, from another controller. */
export type Status = number;

// ---------------------------------------------------------------- admin commands

/** Admin opcodes. [NVME] 5 */
export const AdminOpcode = {
  DeleteSq: 0x00,
  CreateSq: 0x01,
  GetLogPage: 0x02,
  DeleteCq: 0x04,
  CreateCq: 0x05,
  Identify: 0x06,
  Abort: 0x08,
  SetFeatures: 0x09,
  GetFeatures: 0x0a,
  AsyncEventRequest: 0x0c,
} as const;

/** CDW10 of the queue commands; sizes are zero-based. [NVME] 5.4, 5.5 */
export const QueueCdw10 = { QID: new Bits(15, 0), QSIZE: new Bits(31, 16) } as const;
/** CDW11 of Create I/O Completion Queue. [NVME] 5.4 */
export const CreateCqCdw11 = { PC: new Bits(0), IEN: new Bits(1), IV: new Bits(31, 16) } as const;
/** CDW11 of Create I/O Submission Queue. [NVME] 5.5 */
export const CreateSqCdw11 = {
  PC: new Bits(0),
  QPRIO: new Bits(2, 1),
  CQID: new Bits(31, 16),
} as const;

/** CDW10 of Abort. [NVME] 5.1 */
export const AbortCdw10 = { SQID: new Bits(15, 0), CID: new Bits(31, 16) } as const;
/** Dword 0 of an Abort completion: 1 when the command was not aborted. [NVME] 5.1 */
export const NOT_ABORTED = 1;

/** Dword 0 of an Asynchronous Event Request completion. [NVME] 5.2.1 */
export const AsyncEvent = {
  Type: new Bits(2, 0),
  Info: new Bits(15, 8),
  LogPage: new Bits(23, 16),
} as const;
/** Asynchronous event types. [NVME] 5.2.1 */
export const AsyncEventType = { Error: 0, Smart: 1, Notice: 2 } as const;
/** Information of an error event. [NVME] 5.2.1 */
export const AsyncEventError = { InvalidDoorbell: 0, InvalidDoorbellValue: 1 } as const;

// ---------------------------------------------------------------- features

/** Feature identifiers. [NVME] 5.27.1 */
export const Feature = {
  Arbitration: 0x01,
  PowerManagement: 0x02,
  TemperatureThreshold: 0x04,
  ErrorRecovery: 0x05,
  VolatileWriteCache: 0x06,
  NumberOfQueues: 0x07,
  InterruptCoalescing: 0x08,
  InterruptVectorConfig: 0x09,
  WriteAtomicityNormal: 0x0a,
  AsyncEventConfig: 0x0b,
} as const;
/** CDW10 of Set Features. [NVME] 5.27 */
export const SetFeaturesCdw10 = { FID: new Bits(7, 0), SV: new Bits(31) } as const;
/** CDW10 of Get Features. [NVME] 5.15 */
export const GetFeaturesCdw10 = { FID: new Bits(7, 0), SEL: new Bits(10, 8) } as const;
/** Values of SEL. [NVME] 5.15 */
export const FeatureSelect = { Current: 0, Default: 1, Saved: 2, Capabilities: 3 } as const;
/** Dword 0 for SEL = Capabilities. [NVME] 5.15.1 */
export const FeatureCapability = { Saveable: 1, NamespaceSpecific: 2, Changeable: 4 } as const;
/** Number of Queues, CDW11 and dword 0, both zero-based. [NVME] 5.27.1.5 */
export const QueueCounts = { NSQ: new Bits(15, 0), NCQ: new Bits(31, 16) } as const;
/** Power Management. [NVME] 5.27.1.2 */
export const PowerManagement = { PS: new Bits(4, 0) } as const;
/** Temperature Threshold, kelvins. [NVME] 5.27.1.3 */
export const TemperatureThreshold = {
  TMPTH: new Bits(15, 0),
  TMPSEL: new Bits(19, 16),
  THSEL: new Bits(21, 20),
} as const;
/** Error Recovery. [NVMECS] 4.1.3.2 */
export const ErrorRecovery = { TLER: new Bits(15, 0), DULBE: new Bits(16) } as const;
/** Interrupt Vector Configuration. [NVME] 5.27.1.7 */
export const InterruptVectorConfig = { IV: new Bits(15, 0), CD: new Bits(16) } as const;

// ---------------------------------------------------------------- NVM command set

/** Opcodes of the NVM command set. [NVMECS] 3.2 */
export const IoOpcode = { Flush: 0x00, Write: 0x01, Read: 0x02 } as const;
/** CDW12 of Read and Write; NLB is zero-based. [NVMECS] 3.2.4 */
export const RwCdw12 = { NLB: new Bits(15, 0), FUA: new Bits(30) } as const;

// ---------------------------------------------------------------- PRPs

/** Bytes of a PRP entry. [NVME] 4.1.1 */
export const PRP_SIZE = 8;

// ---------------------------------------------------------------- SGLs

/** SGL descriptor, as most types lay it out. [NVME] 4.1.2.1 */
export const SglDescriptor = {
  SIZE: 16,
  address: new U64<DmaAddr>(0),
  length: new U32(8),
  id: new U8(15),
} as const;
/** SGL Identifier. [NVME] 4.1.2.1 */
export const SglId = { SUBTYPE: new Bits(3, 0), TYPE: new Bits(7, 4) } as const;
/** SGL Descriptor Types. [NVME] 4.1.2.1 */
export const SglType = { DataBlock: 0, BitBucket: 1, Segment: 2, LastSegment: 3 } as const;
/** SGL Descriptor Sub Types: where the address field counts from. [NVME] 4.1.2.1 */
export const SglSubtype = { Address: 0, Offset: 1 } as const;
