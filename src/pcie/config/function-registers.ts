/**
 * Offsets and bit fields of the extended capabilities that functions rather than ports have: ARI, SR-IOV,
 * Resizable BAR, ATS, PRI and PASID. No state. [PCIE] 7.8, 9.3.3, 10.5
 * @module
 */
import { Bits } from '#emu/base/layout.ts';

/** Offsets in the ARI capability. [PCIE] 7.8.8 */
export const Ari = { Capability: 0x04, Control: 0x06, SIZE: 0x08 } as const;
/** ARI Capability register. [PCIE] 7.8.8.2 */
export const AriCapability = { NextFunction: new Bits(15, 8) } as const;

/** Offsets in the SR-IOV capability. [PCIE] 9.3.3 */
export const SrIov = {
  Capabilities: 0x04,
  Control: 0x08,
  Status: 0x0a,
  InitialVfs: 0x0c,
  TotalVfs: 0x0e,
  NumVfs: 0x10,
  DependencyLink: 0x12,
  FirstVfOffset: 0x14,
  VfStride: 0x16,
  VfDeviceId: 0x1a,
  SupportedPageSizes: 0x1c,
  SystemPageSize: 0x20,
  VfBar0: 0x24,
  MigrationState: 0x3c,
  SIZE: 0x40,
} as const;
/** SR-IOV Control. [PCIE] 9.3.3.3 */
export const SrIovControl = {
  VfEnable: new Bits(0),
  VfMse: new Bits(3),
  AriHierarchy: new Bits(4),
} as const;

/** Offsets in the Resizable BAR capability; an entry of two registers for each BAR. [PCIE] 7.8.6 */
export const ResizableBar = { Capability: 0x04, Control: 0x08, ENTRY_SIZE: 0x08 } as const;
/** Resizable BAR Capability: bit 4 + n is 2^(20 + n) bytes. [PCIE] 7.8.6.2 */
export const ResizableBarCapability = { Sizes: new Bits(31, 4) } as const;
/** Resizable BAR Control; `Size` n is 2^(20 + n) bytes. [PCIE] 7.8.6.3 */
export const ResizableBarControl = {
  Index: new Bits(2, 0),
  Count: new Bits(7, 5),
  Size: new Bits(13, 8),
} as const;

/** Offsets in the ATS capability. [PCIE] 10.5.1 */
export const Ats = { Capability: 0x04, Control: 0x06, SIZE: 0x08 } as const;
/** ATS Capability; a queue depth of 0 is 32. [PCIE] 10.5.1.2 */
export const AtsCapability = {
  InvalidateQueueDepth: new Bits(4, 0),
  PageAlignedRequest: new Bits(5),
  GlobalInvalidate: new Bits(6),
} as const;
/** ATS Control; the smallest translation unit is 2^(12 + Stu) bytes. [PCIE] 10.5.1.3 */
export const AtsControl = { Stu: new Bits(4, 0), Enable: new Bits(15) } as const;

/** Offsets in the Page Request capability. [PCIE] 10.5.2 */
export const Pri = {
  Control: 0x04,
  Status: 0x06,
  Capacity: 0x08,
  Allocation: 0x0c,
  SIZE: 0x10,
} as const;
export const PriControl = { Enable: new Bits(0), Reset: new Bits(1) } as const;
export const PriStatus = {
  ResponseFailure: new Bits(0),
  UnexpectedGroup: new Bits(1),
  Stopped: new Bits(8),
  PasidRequired: new Bits(15),
} as const;

/** Offsets in the PASID capability. [PCIE] 7.8.9 */
export const Pasid = { Capability: 0x04, Control: 0x06, SIZE: 0x08 } as const;
export const PasidCapability = {
  Execute: new Bits(1),
  Privileged: new Bits(2),
  MaxWidth: new Bits(12, 8),
} as const;
export const PasidControl = {
  Enable: new Bits(0),
  Execute: new Bits(1),
  Privileged: new Bits(2),
} as const;
