/**
 * Configuration space of one function: bytes with write masks, a capability list, and the state decoded from
 * them. Who may access it and over which TLP is the owner's concern. [PCIE] 7.5
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { RegisterFile, type RegisterSpec } from '#emu/base/registers.ts';
import { alignUp } from '#emu/base/units.ts';
import { completionTimeoutPs, DEFAULT_TIMEOUT_PS } from './completion-timeout.ts';
import { BarDecode } from './config-bar.ts';
import {
  type BarSpec,
  barRegisters,
  checkBars,
  type HeaderSpec,
  headerRegisters,
  STATUS_W1C,
} from './config-header.ts';
import {
  Acs,
  AcsBit,
  BridgeControl,
  CapabilityId,
  CONFIG_SIZE,
  Command,
  DevCtl,
  DevCtl2,
  ExtendedHead,
  ExtendedId,
  FIRST_CAPABILITY,
  FIRST_EXTENDED,
  Header,
  HeaderType,
  ioWindowBase,
  ioWindowLimit,
  LinkCtl,
  Pcie,
  Status,
  sizeFromCode,
  Type1,
  windowBase,
  windowLimit,
} from './config-registers.ts';
import { SlotSta } from './slot-registers.ts';

/** A register whose reset value is known only when capabilities are appended. */
interface LateRegister extends RegisterSpec {
  reset: number;
}

/** State kept beside configuration space that follows a part of it. */
export interface ConfigWatcher {
  /** A write touched the watched bytes. */
  configWritten(): void;
  /** The whole space went back to its reset values. */
  configReset(): void;
}

interface Watch {
  readonly offset: number;
  readonly limit: number;
  readonly watcher: ConfigWatcher;
}

/** What a reset leaves alone: a function-level one keeps link-related fields. [PCIE] 6.6.2 */
export type ResetKind = 'function' | 'conventional';

/** Fields of the PCI Express Capability, as bits of a dword. */
interface Fields {
  readonly at: number;
  readonly bits: number;
}

/** What hardware sets once the link is up; no reset changes it. */
const HARDWARE_SET: readonly Fields[] = [
  { at: Pcie.LinkCap, bits: ~0 },
  { at: Pcie.LinkCap2, bits: ~0 },
  { at: Pcie.LinkCtl, bits: 0xffff_0000 },
  { at: Pcie.SlotCtl, bits: SlotSta.PresenceDetect.mask << 16 },
];
const KEPT_BY_FLR: readonly Fields[] = [
  { at: Pcie.DevCtl, bits: DevCtl.MaxPayload.mask },
  { at: Pcie.LinkCtl, bits: LinkCtl.RCB.mask | LinkCtl.AspmControl.mask },
];

export class ConfigSpace {
  readonly type: 0 | 1;
  /** The bytes as they stand; writing here goes past masks and decoding. */
  readonly view: DataView;
  /** Called after any write, with the offset written, once decoded state is fresh. */
  onWrite: ((offset: number) => void) | null = null;
  /** Called after software started a function-level reset and this space has been reset. [PCIE] 6.6.2 */
  onFunctionReset: (() => void) | null = null;

  // Decoded state; plain fields, read on hot paths, refreshed by every write.
  memoryEnable = false;
  ioEnable = false;
  busMaster = false;
  /** Max_Payload_Size in force, bytes. */
  maxPayloadBytes = 128;
  /** Max_Read_Request_Size in force, bytes. */
  maxReadRequestBytes = 512;
  extendedTags = false;
  /** 10-Bit Tag Requester Enable. [PCIE] 2.2.6.2 */
  tenBitTags = false;
  /** Whether requests may carry Relaxed Ordering, No Snoop and ID-Based Ordering, and completions the last. */
  relaxedOrdering = false;
  noSnoop = false;
  idoRequest = false;
  idoCompletion = false;
  /** Whether the function may send AtomicOps; whether the port lets none leave. [PCIE] 6.15 */
  atomicRequester = false;
  atomicEgressBlocking = false;
  /** Whether the port lets no End-End TLP Prefix leave. [PCIE] 2.2.10.4 */
  prefixBlocking = false;
  /** Whether the port passes 8-bit function numbers down. [PCIE] 6.13 */
  ariForwarding = false;
  /** Read completion boundary, 64 or 128. */
  rcbBytes = 64;
  /** 0 when the timeout is disabled. */
  completionTimeoutPs = DEFAULT_TIMEOUT_PS;
  /** Memory BARs in index order; type 0 only. */
  readonly bars: readonly BarDecode[];
  primary = 0;
  secondary = 0;
  subordinate = 0;
  /** Memory window, both ends inclusive; closed when base > limit. */
  memBase = 0;
  memLimit = -1;
  /** 64-bit prefetchable window, both ends inclusive; closed when base > limit. */
  prefBase = 0;
  prefLimit = -1;
  /** I/O window, both ends inclusive; closed when base > limit. */
  ioBase = 0;
  ioLimit = -1;
  secondaryBusReset = false;
  /** ACS Control as written, 0 without the capability. */
  acs = 0;

  /** The physical function of a virtual one, whose Device and Link Control hold for both. [PCIE] 9.3.5.4 */
  physical: ConfigSpace | null = null;

  readonly #isVirtual: boolean;
  readonly #registers: RegisterFile;
  readonly #scratch = new DataView(new ArrayBuffer(4));
  readonly #watches: Watch[] = [];
  readonly #offsets = new Map<number, number>();
  #next = FIRST_CAPABILITY;
  #nextExtended = FIRST_EXTENDED;
  readonly #status: LateRegister = { ...late('Status', Header.Status, 16), w1c: STATUS_W1C };
  readonly #headerType: LateRegister;
  #link: LateRegister = late('CapabilitiesPointer', Header.CapabilitiesPointer, 8);
  #extendedLink: LateRegister | null = null;
  #pcie = 0;
  #acs = 0;

  /** @throws USAGE for BARs that no hardware could have. */
  constructor(header: HeaderSpec) {
    const bars = header.bars ?? [];
    invariant(header.type === 0 || bars.length === 0, 'a type 1 function has no BARs here');
    checkBars(bars);
    this.type = header.type;
    this.#isVirtual = header.isVirtual === true;
    this.#headerType = late('HeaderType', Header.HeaderType, 8, HeaderType.Layout.of(header.type));
    this.#registers = new RegisterFile(CONFIG_SIZE, [
      ...headerRegisters(header),
      ...(header.isVirtual ? [] : bars.flatMap((bar) => barRegisters(bar))),
      this.#headerType,
      this.#status,
      this.#link,
    ]);
    this.view = this.#registers.view;
    this.bars = [...bars].sort((a, b) => a.index - b.index).map((bar) => new BarDecode(bar));
    this.#decode();
  }

  /** Little-endian value of 1, 2 or 4 naturally aligned bytes; absent registers read as 0. */
  read(offset: number, size: 1 | 2 | 4): number {
    if (size === 4) return this.view.getUint32(offset, true);
    return size === 2 ? this.view.getUint16(offset, true) : this.view.getUint8(offset);
  }

  /** Writes 1, 2 or 4 naturally aligned bytes as a configuration TLP does. */
  write(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#scratch.setUint32(0, value, true);
    this.#registers.write(offset, size, this.#scratch, 0);
    if (this.#takeFlr()) {
      this.reset('function');
      this.onFunctionReset?.();
    } else {
      this.#decode();
      for (const watch of this.#watches) {
        if (offset < watch.limit && offset + size > watch.offset) watch.watcher.configWritten();
      }
    }
    this.onWrite?.(offset);
  }

  /** Puts registers back to their reset values and tells watchers, but not `onWrite`. */
  reset(kind: ResetKind = 'conventional'): void {
    const keep = this.#pcie ? [...HARDWARE_SET, ...(kind === 'function' ? KEPT_BY_FLR : [])] : [];
    const kept = keep.map(({ at, bits }) => this.read(this.#pcie + at, 4) & bits);
    this.#registers.reset();
    for (const [i, { at, bits }] of keep.entries()) {
      const fresh = this.read(this.#pcie + at, 4) & ~bits;
      this.view.setUint32(this.#pcie + at, fresh | (kept[i] ?? 0), true);
    }
    this.#decode();
    for (const { watcher } of this.#watches) watcher.configReset();
  }

  /** Appends a capability of `sizeBytes` to the list and gives its offset; its registers follow by {@link define}. */
  append(id: CapabilityId, sizeBytes: number): number {
    const at = this.#next;
    invariant(
      at + sizeBytes <= FIRST_EXTENDED,
      `no room for capability ${id} of ${sizeBytes} bytes`,
    );
    this.#next = at + alignUp(sizeBytes, 4);
    this.#point(this.#status, Status.CapabilitiesList.mask);
    this.#point(this.#link, at);
    this.define({ name: 'CapabilityId', offset: at, width: 8, reset: id });
    this.#link = late('NextCapability', at + 1, 8);
    this.define(this.#link);
    this.#offsets.set(id, at);
    if (id === CapabilityId.Pcie) this.#pcie = at;
    return at;
  }

  /** Appends an extended capability and gives its offset. [PCIE] 7.6.3 */
  appendExtended(id: ExtendedId, version: number, sizeBytes: number): number {
    const at = this.#nextExtended;
    invariant(at + sizeBytes <= CONFIG_SIZE, `no room for extended capability ${id}`);
    this.#nextExtended = at + alignUp(sizeBytes, 4);
    const before = this.#extendedLink;
    if (before) this.#point(before, ExtendedHead.Next.put(before.reset, at));
    const head = ExtendedHead.Id.of(id) | ExtendedHead.Version.of(version);
    this.#extendedLink = late('ExtendedCapabilityHead', at, 32, head >>> 0);
    this.define(this.#extendedLink);
    this.#offsets.set(extendedKey(id), at);
    if (id === ExtendedId.Acs) this.#acs = at;
    return at;
  }

  /** Adds a register of a capability. @throws INVARIANT on overlap. */
  define(register: RegisterSpec): void {
    this.#registers.define(register);
    this.#decode();
  }

  /** Says in the header that the device has other functions. [PCIE] 7.5.1.1.9 */
  markMultiFunction(): void {
    this.#point(this.#headerType, HeaderType.MultiFunction.put(this.#headerType.reset, 1));
  }

  /** Changes the size of a BAR, whose address loses the bits that it no longer has. [PCIE] 7.8.6.3 */
  resizeBar(index: BarSpec['index'], sizeBytes: number): void {
    const bar = this.bars.find((one) => one.index === index);
    invariant(bar !== undefined, `there is no BAR${index} to resize`);
    bar.sizeBytes = sizeBytes;
    for (const { offset, writable = 0 } of barRegisters({ index, sizeBytes, width: bar.width })) {
      this.#registers.remask(offset, writable);
    }
    this.#decode();
  }

  /** Decodes everything again, after what stands outside the own registers has changed. */
  refresh(): void {
    this.#decode();
    this.onWrite?.(Header.Command);
  }

  /** Offset of a capability, or 0. */
  capability(id: CapabilityId): number {
    return this.#offsets.get(id) ?? 0;
  }

  /** Offset of an extended capability, or 0. */
  extendedCapability(id: ExtendedId): number {
    return this.#offsets.get(extendedKey(id)) ?? 0;
  }

  /** Tells `watcher` of every write that touches the bytes, and of resets. */
  watch(offset: number, sizeBytes: number, watcher: ConfigWatcher): void {
    this.#watches.push({ offset, limit: offset + sizeBytes, watcher });
  }

  /** Sets bits as hardware does, in Status (offset 0x06) or another 16-bit status register. */
  setStatus(offset: number, bits: number): void {
    this.view.setUint16(offset, this.view.getUint16(offset, true) | bits, true);
  }

  /** Sets bits of Device Status; nothing without a PCI Express capability. [PCIE] 7.5.3.5 */
  setDeviceStatus(bits: number): void {
    if (this.#pcie) this.setStatus(this.#pcie + Pcie.DevSta, bits);
  }

  /** Whether the ACS egress vector blocks `port`. [PCIE] 7.7.11.4 */
  acsEgressBlocked(port: number): boolean {
    if ((this.acs & AcsBit.EC) === 0) return false;
    const word = this.view.getUint32(this.#acs + Acs.EgressVector + 4 * (port >>> 5), true);
    return ((word >>> (port & 31)) & 1) === 1;
  }

  #point(register: LateRegister, value: number): void {
    register.reset = value;
    this.#registers.set(register, value);
  }

  #takeFlr(): boolean {
    if (!this.#pcie) return false;
    const value = this.read(this.#pcie + Pcie.DevCtl, 2);
    if (!DevCtl.InitiateFlr.get(value)) return false;
    this.view.setUint16(this.#pcie + Pcie.DevCtl, DevCtl.InitiateFlr.put(value, 0), true);
    return true;
  }

  #decode(): void {
    const command = this.read(Header.Command, 2);
    this.memoryEnable = Command.MSE.get(command) === 1;
    this.ioEnable = Command.IOSE.get(command) === 1;
    this.busMaster = Command.BME.get(command) === 1;
    if (!this.#isVirtual) {
      for (const bar of this.bars) bar.decode(this.view, this.memoryEnable);
    }
    if (this.type === 1) this.#decodeBridge();
    const { physical } = this;
    if (physical !== null) this.#decodePcie(physical.view, physical.#pcie);
    else if (this.#pcie) this.#decodePcie(this.view, this.#pcie);
    if (this.#acs) this.acs = this.read(this.#acs + Acs.Control, 2);
  }

  #decodeBridge(): void {
    const { view } = this;
    this.primary = view.getUint8(Type1.PrimaryBus);
    this.secondary = view.getUint8(Type1.SecondaryBus);
    this.subordinate = view.getUint8(Type1.SubordinateBus);
    this.memBase = windowBase(this.read(Type1.MemoryBase, 2));
    this.memLimit = windowLimit(this.read(Type1.MemoryLimit, 2));
    const { PrefetchBase, PrefetchBaseUpper, PrefetchLimit, PrefetchLimitUpper } = Type1;
    this.prefBase = windowBase(this.read(PrefetchBase, 2), this.read(PrefetchBaseUpper, 4));
    this.prefLimit = windowLimit(this.read(PrefetchLimit, 2), this.read(PrefetchLimitUpper, 4));
    this.ioBase = ioWindowBase(this.read(Type1.IoBase, 1), this.read(Type1.IoBaseUpper, 2));
    this.ioLimit = ioWindowLimit(this.read(Type1.IoLimit, 1), this.read(Type1.IoLimitUpper, 2));
    this.secondaryBusReset =
      BridgeControl.SecondaryBusReset.get(this.read(Type1.BridgeControl, 2)) === 1;
  }

  #decodePcie(view: DataView, at: number): void {
    const devCtl = view.getUint16(at + Pcie.DevCtl, true);
    this.maxPayloadBytes = sizeFromCode(DevCtl.MaxPayload.get(devCtl));
    this.maxReadRequestBytes = sizeFromCode(DevCtl.MaxReadRequest.get(devCtl));
    this.extendedTags = DevCtl.ExtendedTag.get(devCtl) === 1;
    this.rcbBytes = LinkCtl.RCB.get(view.getUint16(at + Pcie.LinkCtl, true)) ? 128 : 64;
    this.relaxedOrdering = DevCtl.RelaxedOrdering.get(devCtl) === 1;
    this.noSnoop = DevCtl.NoSnoop.get(devCtl) === 1;
    const devCtl2 = view.getUint16(at + Pcie.DevCtl2, true);
    this.completionTimeoutPs = completionTimeoutPs(devCtl2);
    this.ariForwarding = DevCtl2.AriForwarding.get(devCtl2) === 1;
    this.atomicRequester = DevCtl2.AtomicRequester.get(devCtl2) === 1;
    this.atomicEgressBlocking = DevCtl2.AtomicEgressBlocking.get(devCtl2) === 1;
    this.idoRequest = DevCtl2.IdoRequest.get(devCtl2) === 1;
    this.idoCompletion = DevCtl2.IdoCompletion.get(devCtl2) === 1;
    this.tenBitTags = DevCtl2.TenBitTagRequester.get(devCtl2) === 1;
    this.prefixBlocking = DevCtl2.EndEndPrefixBlocking.get(devCtl2) === 1;
  }
}

const extendedKey = (id: ExtendedId): number => 0x1_0000 + id;

const late = (name: string, offset: number, width: 8 | 16 | 32, reset = 0): LateRegister => ({
  name,
  offset,
  width,
  reset,
});
