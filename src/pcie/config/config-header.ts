/**
 * Register tables of the two header types and their base address registers. No decoding of written values.
 * [PCIE] 7.5.1
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { hi32, lo32 } from '#emu/base/units.ts';
import {
  BAR_TYPE_64,
  Bar,
  BridgeControl,
  Command,
  Header,
  IoWindow,
  Status,
  Type0,
  Type1,
  Window,
} from './config-registers.ts';

/** Who a function says it is. */
export interface Identity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revisionId?: number;
  /** 24 bits: base class, sub-class, programming interface, e.g. 0x010802. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
}

/** One memory BAR; a 64-bit one takes its index and the next. */
export interface BarSpec {
  readonly index: 0 | 1 | 2 | 3 | 4 | 5;
  /** Power of two of at least 128. [PCIE] 7.5.1.2.1 */
  readonly sizeBytes: number;
  readonly width: 32 | 64;
  readonly prefetchable?: boolean;
  /** Further sizes that software may choose, all from 1 MiB on: a resizable BAR. What is behind it has the largest. [PCIE] 7.8.6 */
  readonly otherSizes?: readonly number[];
}

/** What a {@link ConfigSpace} starts from. */
export interface HeaderSpec {
  readonly type: 0 | 1;
  readonly identity: Identity;
  /** Type 0 only. */
  readonly bars?: readonly BarSpec[];
  /** A virtual function: its IDs read as ones, and its BARs and memory decoding are its physical function's. [PCIE] 9.3.4 */
  readonly isVirtual?: boolean;
}

const COMMAND_WRITABLE =
  Command.IOSE.mask |
  Command.MSE.mask |
  Command.BME.mask |
  Command.PER.mask |
  Command.SERR.mask |
  Command.INTxDisable.mask;
/** Vendor and device ID of a virtual function, as of none. [PCIE] 9.3.4.1.1 */
const NO_ID = 0xffff;
/** Error bits of Status and Secondary Status. [PCIE] 7.5.1.1.4 */
export const STATUS_W1C: number =
  Status.MasterDataParityError.mask |
  Status.SignaledTargetAbort.mask |
  Status.ReceivedTargetAbort.mask |
  Status.ReceivedMasterAbort.mask |
  Status.SignaledSystemError.mask |
  Status.DetectedParityError.mask;
const BRIDGE_CONTROL_WRITABLE =
  BridgeControl.ParityErrorResponse.mask |
  BridgeControl.SERR.mask |
  BridgeControl.SecondaryBusReset.mask;

/** Registers of a header without its BARs and what depends on the capability list. */
export function headerRegisters(spec: HeaderSpec): RegisterSpec[] {
  const { identity } = spec;
  const vendorId = spec.isVirtual ? NO_ID : identity.vendorId;
  const deviceId = spec.isVirtual ? NO_ID : identity.deviceId;
  const command = spec.isVirtual ? Command.BME.mask : COMMAND_WRITABLE;
  const common: RegisterSpec[] = [
    { name: 'VendorId', offset: Header.VendorId, width: 16, reset: vendorId },
    { name: 'DeviceId', offset: Header.DeviceId, width: 16, reset: deviceId },
    { name: 'Command', offset: Header.Command, width: 16, writable: command },
    { name: 'RevisionId', offset: Header.RevisionId, width: 8, reset: identity.revisionId ?? 0 },
    {
      name: 'ProgrammingInterface',
      offset: Header.ProgrammingInterface,
      width: 8,
      reset: identity.classCode & 0xff,
    },
    {
      name: 'SubClass',
      offset: Header.SubClass,
      width: 8,
      reset: (identity.classCode >>> 8) & 0xff,
    },
    {
      name: 'BaseClass',
      offset: Header.BaseClass,
      width: 8,
      reset: (identity.classCode >>> 16) & 0xff,
    },
    { name: 'CacheLineSize', offset: Header.CacheLineSize, width: 8, writable: 0xff },
    { name: 'InterruptLine', offset: Header.InterruptLine, width: 8, writable: 0xff },
  ];
  return spec.type === 0 ? [...common, ...type0Registers(identity)] : [...common, ...TYPE1];
}

const type0Registers = (identity: Identity): RegisterSpec[] => [
  {
    name: 'SubsystemVendorId',
    offset: Type0.SubsystemVendorId,
    width: 16,
    reset: identity.subsystemVendorId ?? identity.vendorId,
  },
  {
    name: 'SubsystemId',
    offset: Type0.SubsystemId,
    width: 16,
    reset: identity.subsystemId ?? identity.deviceId,
  },
];

/** Windows come up closed (base above limit). */
const TYPE1: readonly RegisterSpec[] = [
  { name: 'PrimaryBus', offset: Type1.PrimaryBus, width: 8, writable: 0xff },
  { name: 'SecondaryBus', offset: Type1.SecondaryBus, width: 8, writable: 0xff },
  { name: 'SubordinateBus', offset: Type1.SubordinateBus, width: 8, writable: 0xff },
  {
    name: 'IoBase',
    offset: Type1.IoBase,
    width: 8,
    reset: IoWindow.Address.mask | IoWindow.Type.of(1),
    writable: IoWindow.Address.mask,
  },
  {
    name: 'IoLimit',
    offset: Type1.IoLimit,
    width: 8,
    reset: IoWindow.Type.of(1),
    writable: IoWindow.Address.mask,
  },
  { name: 'IoBaseUpper', offset: Type1.IoBaseUpper, width: 16, writable: 0xffff },
  { name: 'IoLimitUpper', offset: Type1.IoLimitUpper, width: 16, writable: 0xffff },
  { name: 'SecondaryStatus', offset: Type1.SecondaryStatus, width: 16, w1c: STATUS_W1C },
  {
    name: 'MemoryBase',
    offset: Type1.MemoryBase,
    width: 16,
    reset: Window.Address.mask,
    writable: Window.Address.mask,
  },
  { name: 'MemoryLimit', offset: Type1.MemoryLimit, width: 16, writable: Window.Address.mask },
  {
    name: 'PrefetchBase',
    offset: Type1.PrefetchBase,
    width: 16,
    reset: Window.Address.mask | Window.Type.of(1),
    writable: Window.Address.mask,
  },
  {
    name: 'PrefetchLimit',
    offset: Type1.PrefetchLimit,
    width: 16,
    reset: Window.Type.of(1),
    writable: Window.Address.mask,
  },
  {
    name: 'PrefetchBaseUpper',
    offset: Type1.PrefetchBaseUpper,
    width: 32,
    writable: 0xffff_ffff,
  },
  {
    name: 'PrefetchLimitUpper',
    offset: Type1.PrefetchLimitUpper,
    width: 32,
    writable: 0xffff_ffff,
  },
  {
    name: 'BridgeControl',
    offset: Type1.BridgeControl,
    width: 16,
    writable: BRIDGE_CONTROL_WRITABLE,
  },
];

/** Registers of one BAR; a written all-ones reads back as the size mask. `bar0` is where the first one stands. [PCIE] 7.5.1.2.1 */
export function barRegisters(bar: BarSpec, bar0: number = Header.Bar0): RegisterSpec[] {
  const offset = bar0 + 4 * bar.index;
  const low: RegisterSpec = {
    name: `BAR${bar.index}`,
    offset,
    width: 32,
    reset:
      Bar.Type.of(bar.width === 64 ? BAR_TYPE_64 : 0) | Bar.Prefetchable.of(+!!bar.prefetchable),
    writable: lo32(2 ** 32 - Math.min(bar.sizeBytes, 2 ** 32)),
  };
  if (bar.width === 32) return [low];
  const high: RegisterSpec = {
    name: `BAR${bar.index + 1}`,
    offset: offset + 4,
    width: 32,
    writable: lo32(2 ** 32 - Math.max(hi32(bar.sizeBytes), 1)),
  };
  return [low, high];
}

/** @throws USAGE for BARs that no hardware could have. */
export function checkBars(bars: readonly BarSpec[]): void {
  const taken = new Set<number>();
  for (const bar of bars) {
    const key = `bars[${bar.index}]`;
    const limit = bar.width === 32 ? 2 ** 31 : 2 ** 51;
    if (!isPowerOfTwo(bar.sizeBytes) || bar.sizeBytes < 128 || bar.sizeBytes > limit) {
      throw usage(
        `${key}.sizeBytes: expected a power of two from 128 to ${limit}, got ${bar.sizeBytes}`,
      );
    }
    if (bar.width === 64 && bar.index === 5) {
      throw usage(`${key}.width: expected 32, as a 64-bit BAR takes two, got 64`);
    }
    for (let slot: number = bar.index; slot < bar.index + bar.width / 32; slot++) {
      if (taken.has(slot)) throw usage(`${key}: expected a free BAR, got one in use (BAR${slot})`);
      taken.add(slot);
    }
  }
}

const isPowerOfTwo = (n: number): boolean =>
  Number.isSafeInteger(n) &&
  n > 0 &&
  (n < 2 ** 32 ? onlyOneBit(lo32(n), 0) : onlyOneBit(lo32(n), hi32(n)));

const onlyOneBit = (lo: number, hi: number): boolean =>
  lo === 0 ? (hi & (hi - 1)) === 0 : hi === 0 && (lo & (lo - 1)) === 0;
