/**
 * Offsets and bit fields of configuration space, shared by the hardware and by host enumeration. No state.
 * [PCIE] 7.5, 7.7, 7.9
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import { alignDown, hi32, lo32 } from '#emu/base/units.ts';

/** Bytes of one function's configuration space. [PCIE] 7.2.2 */
export const CONFIG_SIZE = 4096;
/** First offset that capabilities may take; the header ends here. [PCIE] 7.5.1 */
export const FIRST_CAPABILITY = 0x40;
/** Offset at which the extended capability list starts. [PCIE] 7.6.1 */
export const FIRST_EXTENDED = 0x100;
/** Granularity of the memory windows of a bridge. [PCIE] 7.5.1.3 */
export const WINDOW_GRANULE = 0x10_0000;

/** Registers common to both header types. [PCIE] 7.5.1.1 */
export const Header = {
  VendorId: 0x00,
  DeviceId: 0x02,
  Command: 0x04,
  Status: 0x06,
  RevisionId: 0x08,
  ProgrammingInterface: 0x09,
  SubClass: 0x0a,
  BaseClass: 0x0b,
  CacheLineSize: 0x0c,
  HeaderType: 0x0e,
  Bar0: 0x10,
  CapabilitiesPointer: 0x34,
  InterruptLine: 0x3c,
  InterruptPin: 0x3d,
} as const;

/** Registers of a type 0 header (endpoints). [PCIE] 7.5.1.2 */
export const Type0 = { SubsystemVendorId: 0x2c, SubsystemId: 0x2e } as const;

/** Registers of a type 1 header (root and switch ports). [PCIE] 7.5.1.3 */
export const Type1 = {
  PrimaryBus: 0x18,
  SecondaryBus: 0x19,
  SubordinateBus: 0x1a,
  IoBase: 0x1c,
  IoLimit: 0x1d,
  SecondaryStatus: 0x1e,
  MemoryBase: 0x20,
  MemoryLimit: 0x22,
  PrefetchBase: 0x24,
  PrefetchLimit: 0x26,
  PrefetchBaseUpper: 0x28,
  PrefetchLimitUpper: 0x2c,
  IoBaseUpper: 0x30,
  IoLimitUpper: 0x32,
  BridgeControl: 0x3e,
} as const;

/** Command register. [PCIE] 7.5.1.1.3 */
export const Command = {
  IOSE: new Bits(0),
  MSE: new Bits(1),
  BME: new Bits(2),
  PER: new Bits(6),
  SERR: new Bits(8),
  INTxDisable: new Bits(10),
} as const;

/** Status and Secondary Status registers. [PCIE] 7.5.1.1.4 */
export const Status = {
  InterruptStatus: new Bits(3),
  CapabilitiesList: new Bits(4),
  MasterDataParityError: new Bits(8),
  SignaledTargetAbort: new Bits(11),
  ReceivedTargetAbort: new Bits(12),
  ReceivedMasterAbort: new Bits(13),
  SignaledSystemError: new Bits(14),
  DetectedParityError: new Bits(15),
} as const;

/** Header Type register. [PCIE] 7.5.1.1.9 */
export const HeaderType = { Layout: new Bits(6, 0), MultiFunction: new Bits(7) } as const;

/** Low dword of a memory Base Address register; `Type` 2 is a 64-bit pair. [PCIE] 7.5.1.2.1 */
export const Bar = {
  IoSpace: new Bits(0),
  Type: new Bits(2, 1),
  Prefetchable: new Bits(3),
  Flags: new Bits(3, 0),
} as const;
export const BAR_TYPE_64 = 2;

/** Memory and prefetchable Base and Limit registers; `Type` 1 is 64-bit. [PCIE] 7.5.1.3.8 */
export const Window = { Type: new Bits(3, 0), Address: new Bits(15, 4) } as const;

/** I/O Base and Limit registers, of 4 KiB steps; `Type` 1 is 32-bit. [PCIE] 7.5.1.3.6 */
export const IoWindow = { Type: new Bits(3, 0), Address: new Bits(7, 4) } as const;
export const IO_WINDOW_GRANULE = 0x1000;

/** Bridge Control register. [PCIE] 7.5.1.3.13 */
export const BridgeControl = {
  ParityErrorResponse: new Bits(0),
  SERR: new Bits(1),
  SecondaryBusReset: new Bits(6),
} as const;

/** Capability IDs of the PCI-compatible list. [PCIE] 7.5.3, 7.7 */
export const CapabilityId = { Msi: 0x05, Pcie: 0x10, MsiX: 0x11 } as const;
export type CapabilityId = (typeof CapabilityId)[keyof typeof CapabilityId];

/** Extended capability IDs. [PCIE] 7.7.11, 7.8.4, 7.9.3, 9.3.3, 10.5.1 */
export const ExtendedId = {
  Aer: 0x0001,
  Vc: 0x0002,
  SerialNumber: 0x0003,
  Acs: 0x000d,
  Ari: 0x000e,
  Ats: 0x000f,
  SrIov: 0x0010,
  Pri: 0x0013,
  ResizableBar: 0x0015,
  Pasid: 0x001b,
  Dpc: 0x001d,
} as const;
export type ExtendedId = (typeof ExtendedId)[keyof typeof ExtendedId];

/** Head of a capability of the PCI-compatible list, as the low half of its first dword. */
export const CapabilityHead = { Id: new Bits(7, 0), Next: new Bits(15, 8) } as const;

/** Head of an extended capability. [PCIE] 7.6.3 */
export const ExtendedHead = {
  Id: new Bits(15, 0),
  Version: new Bits(19, 16),
  Next: new Bits(31, 20),
} as const;

/** Offsets in the PCI Express Capability. [PCIE] 7.5.3 */
export const Pcie = {
  Capabilities: 0x02,
  DevCap: 0x04,
  DevCtl: 0x08,
  DevSta: 0x0a,
  LinkCap: 0x0c,
  LinkCtl: 0x10,
  LinkSta: 0x12,
  SlotCap: 0x14,
  SlotCtl: 0x18,
  SlotSta: 0x1a,
  RootCtl: 0x1c,
  RootCap: 0x1e,
  RootSta: 0x20,
  DevCap2: 0x24,
  DevCtl2: 0x28,
  LinkCap2: 0x2c,
  LinkCtl2: 0x30,
  SIZE: 0x3c,
} as const;

/** Device/Port Type values. [PCIE] 7.5.3.2 */
export const PortType = {
  Endpoint: 0,
  RootPort: 4,
  SwitchUpstream: 5,
  SwitchDownstream: 6,
} as const;
export type PortType = (typeof PortType)[keyof typeof PortType];

/** PCI Express Capabilities register. [PCIE] 7.5.3.2 */
export const PcieCaps = {
  Version: new Bits(3, 0),
  PortType: new Bits(7, 4),
  SlotImplemented: new Bits(8),
} as const;

/** Device Capabilities register. [PCIE] 7.5.3.3 */
export const DevCap = {
  MaxPayload: new Bits(2, 0),
  ExtendedTag: new Bits(5),
  RoleBasedErrors: new Bits(15),
  Flr: new Bits(28),
} as const;

/** Device Control register; the size fields code 128 << n. [PCIE] 7.5.3.4 */
export const DevCtl = {
  CorrectableReporting: new Bits(0),
  NonFatalReporting: new Bits(1),
  FatalReporting: new Bits(2),
  UnsupportedReporting: new Bits(3),
  RelaxedOrdering: new Bits(4),
  MaxPayload: new Bits(7, 5),
  ExtendedTag: new Bits(8),
  NoSnoop: new Bits(11),
  MaxReadRequest: new Bits(14, 12),
  InitiateFlr: new Bits(15),
} as const;

/** Device Status register. [PCIE] 7.5.3.5 */
export const DevSta = {
  Correctable: new Bits(0),
  NonFatal: new Bits(1),
  Fatal: new Bits(2),
  Unsupported: new Bits(3),
  TransactionsPending: new Bits(5),
} as const;

/** Link Capabilities register. [PCIE] 7.5.3.6 */
export const LinkCap = {
  MaxSpeed: new Bits(3, 0),
  MaxWidth: new Bits(9, 4),
  DllActiveReporting: new Bits(20),
  PortNumber: new Bits(31, 24),
} as const;

/** Link Control register; `RCB` 1 is 128 bytes. [PCIE] 7.5.3.7 */
export const LinkCtl = {
  AspmControl: new Bits(1, 0),
  RCB: new Bits(3),
  LinkDisable: new Bits(4),
} as const;

/** Link Status register. [PCIE] 7.5.3.8 */
export const LinkSta = {
  Speed: new Bits(3, 0),
  Width: new Bits(9, 4),
  DllActive: new Bits(13),
} as const;

/** Root Control and Root Capabilities registers. [PCIE] 7.5.3.12, 7.5.3.13 */
export const RootCtl = {
  SerrCorrectable: new Bits(0),
  SerrNonFatal: new Bits(1),
  SerrFatal: new Bits(2),
  PmeInterrupt: new Bits(3),
  CrsVisibility: new Bits(4),
} as const;
export const RootCap = { CrsVisibility: new Bits(0) } as const;

/** Device Capabilities 2 register. [PCIE] 7.5.3.15 */
export const DevCap2 = {
  TimeoutRanges: new Bits(3, 0),
  TimeoutDisable: new Bits(4),
  AriForwarding: new Bits(5),
  AtomicRouting: new Bits(6),
  AtomicCompleter32: new Bits(7),
  AtomicCompleter64: new Bits(8),
  CasCompleter128: new Bits(9),
  TenBitTagCompleter: new Bits(16),
  TenBitTagRequester: new Bits(17),
  EndEndPrefix: new Bits(21),
  MaxEndEndPrefixes: new Bits(23, 22),
} as const;

/** Device Control 2 register. [PCIE] 7.5.3.16 */
export const DevCtl2 = {
  TimeoutValue: new Bits(3, 0),
  TimeoutDisable: new Bits(4),
  AriForwarding: new Bits(5),
  AtomicRequester: new Bits(6),
  AtomicEgressBlocking: new Bits(7),
  IdoRequest: new Bits(8),
  IdoCompletion: new Bits(9),
  TenBitTagRequester: new Bits(12),
  EndEndPrefixBlocking: new Bits(15),
} as const;

/** Link Capabilities 2 and Link Control 2 registers. [PCIE] 7.5.3.18, 7.5.3.19 */
export const LinkCap2 = { SupportedSpeeds: new Bits(7, 1) } as const;
export const LinkCtl2 = { TargetSpeed: new Bits(3, 0) } as const;

/** Offsets in a 64-bit MSI capability with per-vector masking. [PCIE] 7.7.1 */
export const Msi = {
  Control: 0x02,
  AddressLow: 0x04,
  AddressHigh: 0x08,
  Data: 0x0c,
  Mask: 0x10,
  Pending: 0x14,
  SIZE: 0x18,
} as const;

/** MSI Message Control; the vector counts are powers of two. [PCIE] 7.7.1.2 */
export const MsiControl = {
  Enable: new Bits(0),
  Capable: new Bits(3, 1),
  Allocated: new Bits(6, 4),
  Address64: new Bits(7),
  Maskable: new Bits(8),
} as const;

/** Offsets in the MSI-X capability. [PCIE] 7.7.2 */
export const MsiX = { Control: 0x02, Table: 0x04, Pba: 0x08, SIZE: 0x0c } as const;

/** MSI-X Message Control; `TableSize` is zero-based. [PCIE] 7.7.2.2 */
export const MsiXControl = {
  TableSize: new Bits(10, 0),
  FunctionMask: new Bits(14),
  Enable: new Bits(15),
} as const;

/** MSI-X Table and PBA location: BAR number and 8-byte aligned offset. [PCIE] 7.7.2.3 */
export const MsiXLocation = { Bir: new Bits(2, 0), Flags: new Bits(2, 0) } as const;

/** An MSI-X table entry in memory. [PCIE] 7.7.2.5 */
export const MsiXEntry = {
  AddressLow: 0x00,
  AddressHigh: 0x04,
  Data: 0x08,
  Control: 0x0c,
  SIZE: 0x10,
} as const;
export const MsiXEntryControl = { Mask: new Bits(0) } as const;

/** Offsets in the ACS Extended Capability. [PCIE] 7.7.11 */
export const Acs = { Capability: 0x04, Control: 0x06, EgressVector: 0x08 } as const;

/**
 * Bits of ACS Control; the first seven are those of ACS Capability too, where `AcsCapability.Enhanced` stands for the
 * others. [PCIE] 7.7.11.2, 7.7.11.3
 */
export const AcsBit = {
  SV: 0x01,
  TB: 0x02,
  RR: 0x04,
  CR: 0x08,
  UF: 0x10,
  EC: 0x20,
  DT: 0x40,
  /** I/O Request Blocking. */
  IB: 0x80,
  /** Unclaimed Request Redirect. */
  URR: 0x1000,
} as const;
/** Bits that a port has together or not at all. Model: ports have no BARs, so no Memory Target Access fields. */
export const ACS_ENHANCED: number = AcsBit.IB | AcsBit.URR;
/** ACS Capability, beside {@link AcsBit}; `EgressVectorSize` counts bits. [PCIE] 7.7.11.2 */
export const AcsCapability = {
  Services: new Bits(6, 0),
  Enhanced: new Bits(7),
  EgressVectorSize: new Bits(15, 8),
} as const;
/** Bits of ACS Control that a port with this ACS Capability has. */
export const acsControlBits = (capability: number): number =>
  AcsCapability.Services.get(capability) | (AcsCapability.Enhanced.get(capability) * ACS_ENHANCED);
/** Bits that send a peer request towards the root instead of sideways. [PCIE] 6.12.1.1 */
export const ACS_REDIRECT: number = AcsBit.RR | AcsBit.CR | AcsBit.EC;
/** Bits that Linux sets on ports once an IOMMU driver asks for isolation. */
export const ACS_LINUX: number = AcsBit.SV | AcsBit.RR | AcsBit.CR | AcsBit.UF;

/** Offsets in the Device Serial Number capability. [PCIE] 7.9.3 */
export const SerialNumber = { Low: 0x04, High: 0x08, SIZE: 0x0c } as const;

/** Bytes that a payload or read request size field codes; reserved codes count as the largest. */
export const sizeFromCode = (code: number): number => 128 << Math.min(code, 5);
/** Code of a payload or read request size of 128 to 4096 bytes. */
export const sizeCode = (sizeBytes: number): number => 31 - Math.clz32(sizeBytes >>> 7);

/** First address of a bridge window. [PCIE] 7.5.1.3.8 */
export const windowBase = (register: number, upper = 0): number =>
  Window.Address.get(register) * WINDOW_GRANULE + upper * 2 ** 32;
/** Last address of a bridge window. [PCIE] 7.5.1.3.8 */
export const windowLimit = (register: number, upper = 0): number =>
  windowBase(register, upper) + WINDOW_GRANULE - 1;
/** First address of an I/O window. [PCIE] 7.5.1.3.6 */
export const ioWindowBase = (register: number, upper: number): number =>
  IoWindow.Address.get(register) * IO_WINDOW_GRANULE + upper * 2 ** 16;
/** Last address of an I/O window. [PCIE] 7.5.1.3.6 */
export const ioWindowLimit = (register: number, upper: number): number =>
  ioWindowBase(register, upper) + IO_WINDOW_GRANULE - 1;
/** Base or Limit register that holds `address`; the upper half goes to {@link windowUpper}. */
export const windowRegister = (address: number): number =>
  Window.Address.of(lo32(alignDown(address, WINDOW_GRANULE)) / WINDOW_GRANULE);
export const windowUpper = (address: number): number => hi32(address);
