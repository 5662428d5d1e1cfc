/**
 * The data structures of Identify: layouts and values, shared by the model and the driver; nothing here behaves.
 * [NVME] 5.17, [NVMECS] 4.1.5
 * @module
 */
import { Bits, U8, U16, U32, U64 } from '#emu/base/layout.ts';

/** Bytes of every Identify data structure. [NVME] 5.17.1 */
export const IDENTIFY_SIZE = 4096;
/** CDW10 of Identify. [NVME] 5.17.1 */
export const IdentifyCdw10 = { CNS: new Bits(7, 0), CNTID: new Bits(31, 16) } as const;
/** CDW11 of Identify. [NVME] 5.17.1 */
export const IdentifyCdw11 = { CSI: new Bits(31, 24) } as const;
/** Controller or Namespace Structure values. [NVME] 5.17.1 */
export const Cns = {
  Namespace: 0x00,
  Controller: 0x01,
  ActiveNamespaces: 0x02,
  NamespaceDescriptors: 0x03,
  CommandSetNamespace: 0x05,
  CommandSetController: 0x06,
  CommandSetActiveNamespaces: 0x07,
  IndependentNamespace: 0x08,
  CommandSets: 0x1c,
} as const;
/** Command Set Identifier of the NVM command set. [NVME] 5.17.1 */
export const CSI_NVM = 0;
/** The namespace identifier that names all of them. [NVME] 3.2.1.2 */
export const NSID_ALL = 0xffff_ffff;

/** Identify Controller data structure. [NVME] 5.17.2.1 */
export const IdController = {
  SIZE: IDENTIFY_SIZE,
  VID: new U16(0),
  SSVID: new U16(2),
  SN: { at: 4, size: 20 },
  MN: { at: 24, size: 40 },
  FR: { at: 64, size: 8 },
  RAB: new U8(72),
  /** Three bytes, least significant first. */
  IEEE: { at: 73, size: 3 },
  MDTS: new U8(77),
  CNTLID: new U16(78),
  VER: new U32(80),
  RTD3R: new U32(84),
  RTD3E: new U32(88),
  OAES: new U32(92),
  CTRATT: new U32(96),
  CNTRLTYPE: new U8(111),
  OACS: new U16(256),
  ACL: new U8(258),
  AERL: new U8(259),
  FRMW: new U8(260),
  LPA: new U8(261),
  ELPE: new U8(262),
  NPSS: new U8(263),
  WCTEMP: new U16(266),
  CCTEMP: new U16(268),
  /** Low 64 bits of a 128-bit count of bytes. */
  TNVMCAP: new U64(280),
  SQES: new U8(512),
  CQES: new U8(513),
  MAXCMD: new U16(514),
  NN: new U32(516),
  ONCS: new U16(520),
  FUSES: new U16(522),
  FNA: new U8(524),
  VWC: new U8(525),
  AWUN: new U16(526),
  AWUPF: new U16(528),
  SGLS: new U32(536),
  MNAN: new U32(540),
  SUBNQN: { at: 768, size: 256 },
  /** Maximum power of power state 0, in 10 mW. */
  PSD0_MP: new U16(2048),
} as const;

/** SGL Support: what the controller takes in data pointers. [NVME] 5.17.2.1 */
export const Sgls = { SUPPORT: new Bits(1, 0), BIT_BUCKET: new Bits(16) } as const;
/** Values of SGLS.SUPPORT: none, or data blocks in multiples of a byte or of a dword. [NVME] 5.17.2.1 */
export const SglSupport = { None: 0, Byte: 1, Dword: 2 } as const;
export type SglSupport = (typeof SglSupport)[keyof typeof SglSupport];

/** Values of Identify Controller fields. [NVME] 5.17.2.1 */
export const ControllerType = { Io: 1 } as const;
/** Log Page Attributes: effects log; extended data (NUMDU, offsets); the logs that list what is supported. */
export const Lpa = { Effects: 0x02, ExtendedData: 0x04, SupportLogs: 0x20 } as const;
/** Volatile Write Cache: present; Flush takes the NSID that names all namespaces. */
export const Vwc = { Present: 0x01, FlushAll: 0x06 } as const;
/** FRMW: one slot, which is read only. */
export const FRMW_ONE_READ_ONLY_SLOT = 0x03;

/** Identify Namespace data structure of the NVM command set. [NVMECS] 4.1.5.1 */
export const IdNamespace = {
  SIZE: IDENTIFY_SIZE,
  NSZE: new U64(0),
  NCAP: new U64(8),
  NUSE: new U64(16),
  NSFEAT: new U8(24),
  NLBAF: new U8(25),
  FLBAS: new U8(26),
  DLFEAT: new U8(33),
  NOIOB: new U16(46),
  /** Low 64 bits of a 128-bit count of bytes. */
  NVMCAP: new U64(48),
  NSATTR: new U8(99),
  NGUID: { at: 104, size: 16 },
  EUI64: { at: 120, size: 8 },
  LBAF0: new U32(128),
} as const;
/** LBA format entry. [NVMECS] 4.1.5.1 */
export const Lbaf = { MS: new Bits(15, 0), LBADS: new Bits(23, 16), RP: new Bits(25, 24) } as const;
/** NSATTR: the namespace is write protected. [NVMECS] 4.1.5.1 */
export const NSATTR_WRITE_PROTECTED = 0x01;

/** I/O Command Set Independent Identify Namespace data structure. [NVME] 5.17.2.8 */
export const IdIndependentNamespace = {
  NSATTR: new U8(8),
  NSTAT: new U8(14),
} as const;
/** NSTAT: namespace ready. [NVME] 5.17.2.8 */
export const NSTAT_NRDY = 0x01;

/** Namespace Identification Descriptor header and types. [NVME] 5.17.2.3 */
export const IdDescriptor = { type: new U8(0), size: new U8(1), HEADER: 4 } as const;
export const IdDescriptorType = { EUI64: 1, NGUID: 2, UUID: 3, CSI: 4 } as const;
