/**
 * PCI Express, ACS and serial number capabilities: each function appends one and gives its offset. MSI and
 * MSI-X are in msi.ts and msi-x.ts with the state behind them. [PCIE] 7.5.3, 7.7.11, 7.9.3
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { hi32, lo32 } from '#emu/base/units.ts';
import type { LinkSpec } from '#emu/pcie/link/link.ts';
import {
  ACS_ENHANCED,
  Acs,
  AcsBit,
  AcsCapability,
  CapabilityId,
  DevCap,
  DevCap2,
  DevCtl,
  DevCtl2,
  DevSta,
  ExtendedId,
  LinkCap,
  LinkCap2,
  LinkCtl,
  LinkCtl2,
  LinkSta,
  Pcie,
  PcieCaps,
  PortType,
  RootCap,
  RootCtl,
  SerialNumber,
  sizeCode,
} from './config-registers.ts';
import type { ConfigSpace } from './config-space.ts';
import { SlotSta } from './slot-registers.ts';

/** Speed and width as the registers code them. */
export type LinkRate = Pick<LinkSpec, 'gen' | 'width'>;

export interface PcieOptions {
  readonly portType: PortType;
  /** Max_Payload_Size Supported, default 512. */
  readonly maxPayloadBytes?: number;
  /** Extended Tag Field Supported: 256 outstanding requests instead of 32. */
  readonly extendedTags?: boolean;
  /** 10-Bit Tag Requester Supported, default false. */
  readonly tenBitTags?: boolean;
  /** 10-Bit Tag Completer Supported, default true; an old function is none. [PCIE] 2.2.6.2 */
  readonly tenBitCompleter?: boolean;
  /** AtomicOps that the function can send and complete; ports route them whatever this says. Default false. */
  readonly atomics?: boolean;
  /** End-End TLP Prefixes that it takes, 0 to 4; default 0 for endpoints and 4 for ports. [PCIE] 2.2.10.4 */
  readonly endEndPrefixes?: number;
  /** Function Level Reset Capability; endpoints have it by default. */
  readonly flr?: boolean;
  /** What the port is capable of, default gen 1 x1; {@link setLinkUp} widens it to what the link trained to. */
  readonly link?: LinkRate;
  readonly portNumber?: number;
  /** Slot Capabilities of a port with a link below it, default a slot that nothing is done to. [PCIE] 7.5.3.9 */
  readonly slotCapabilities?: number;
  /** Read completion boundary of a root port, default 64. */
  readonly rcbBytes?: 64 | 128;
}

/** MRRS code 2: the reset value is 512 bytes. [PCIE] 7.5.3.4 */
const RESET_MRRS = 2;

/** Appends a PCI Express Capability, version 2. [PCIE] 7.5.3 */
export function addPcie(config: ConfigSpace, options: PcieOptions): number {
  const at = config.append(CapabilityId.Pcie, Pcie.SIZE);
  for (const register of [
    ...deviceRegisters(options),
    ...linkRegisters(options),
    ...portRegisters(options),
  ]) {
    config.define({ ...register, offset: at + register.offset });
  }
  return at;
}

const hasDownstreamLink = (type: PortType): boolean =>
  type === PortType.RootPort || type === PortType.SwitchDownstream;

function deviceRegisters(options: PcieOptions): RegisterSpec[] {
  const endpoint = options.portType === PortType.Endpoint;
  const tags = +(options.extendedTags === true);
  const flr = +(options.flr ?? endpoint);
  return [
    {
      name: 'PcieCapabilities',
      offset: Pcie.Capabilities,
      width: 16,
      reset:
        PcieCaps.Version.of(2) |
        PcieCaps.PortType.of(options.portType) |
        PcieCaps.SlotImplemented.of(+hasDownstreamLink(options.portType)),
    },
    {
      name: 'DevCap',
      offset: Pcie.DevCap,
      width: 32,
      reset:
        DevCap.MaxPayload.of(sizeCode(options.maxPayloadBytes ?? 512)) |
        DevCap.ExtendedTag.of(tags) |
        DevCap.RoleBasedErrors.of(1) |
        DevCap.Flr.of(flr),
    },
    {
      name: 'DevCtl',
      offset: Pcie.DevCtl,
      width: 16,
      reset:
        DevCtl.MaxReadRequest.of(RESET_MRRS) | DevCtl.RelaxedOrdering.mask | DevCtl.NoSnoop.mask,
      writable: devCtlWritable(tags, flr),
    },
    { name: 'DevSta', offset: Pcie.DevSta, width: 16, w1c: DEV_STA_W1C },
    { name: 'DevCap2', offset: Pcie.DevCap2, width: 32, reset: devCap2(options) },
    { name: 'DevCtl2', offset: Pcie.DevCtl2, width: 16, writable: devCtl2Writable(options) },
  ];
}

/** Endpoints show what they complete, ports what they route. [PCIE] 7.5.3.15 */
function devCap2(options: PcieOptions): number {
  const isPort = options.portType !== PortType.Endpoint;
  const atomics = +(options.atomics ?? options.portType === PortType.RootPort);
  const prefixes = options.endEndPrefixes ?? (isPort ? 4 : 0);
  return (
    DevCap2.TimeoutRanges.of(0xf) |
    DevCap2.TimeoutDisable.of(1) |
    DevCap2.AriForwarding.of(+hasDownstreamLink(options.portType)) |
    DevCap2.AtomicRouting.of(+isPort) |
    DevCap2.AtomicCompleter32.of(atomics) |
    DevCap2.AtomicCompleter64.of(atomics) |
    DevCap2.CasCompleter128.of(atomics) |
    DevCap2.TenBitTagCompleter.of(+(options.tenBitCompleter ?? true)) |
    DevCap2.TenBitTagRequester.of(+(options.tenBitTags === true)) |
    DevCap2.EndEndPrefix.of(+(prefixes > 0)) |
    DevCap2.MaxEndEndPrefixes.of(prefixes & 3)
  );
}

/** [PCIE] 7.5.3.16 */
function devCtl2Writable(options: PcieOptions): number {
  const isPort = options.portType !== PortType.Endpoint;
  return (
    DevCtl2.TimeoutValue.mask |
    DevCtl2.TimeoutDisable.mask |
    DevCtl2.AriForwarding.of(+hasDownstreamLink(options.portType)) |
    DevCtl2.AtomicRequester.of(+(options.atomics === true)) |
    DevCtl2.AtomicEgressBlocking.of(+isPort) |
    DevCtl2.IdoRequest.of(1) |
    DevCtl2.IdoCompletion.of(1) |
    DevCtl2.TenBitTagRequester.of(+(options.tenBitTags === true)) |
    DevCtl2.EndEndPrefixBlocking.of(+isPort)
  );
}

const DEV_STA_W1C =
  DevSta.Correctable.mask | DevSta.NonFatal.mask | DevSta.Fatal.mask | DevSta.Unsupported.mask;

const devCtlWritable = (tags: number, flr: number): number =>
  DevCtl.CorrectableReporting.mask |
  DevCtl.NonFatalReporting.mask |
  DevCtl.FatalReporting.mask |
  DevCtl.UnsupportedReporting.mask |
  DevCtl.RelaxedOrdering.mask |
  DevCtl.MaxPayload.mask |
  DevCtl.ExtendedTag.of(tags) |
  DevCtl.NoSnoop.mask |
  DevCtl.MaxReadRequest.mask |
  DevCtl.InitiateFlr.of(flr);

function linkRegisters(options: PcieOptions): RegisterSpec[] {
  const gen = options.link?.gen ?? 1;
  const width = options.link?.width ?? 1;
  const rootPort = options.portType === PortType.RootPort;
  const rcb = LinkCtl.RCB.of(+(rootPort && options.rcbBytes === 128));
  const rcbWritable = options.portType === PortType.Endpoint ? LinkCtl.RCB.mask : 0;
  return [
    {
      name: 'LinkCap',
      offset: Pcie.LinkCap,
      width: 32,
      reset:
        LinkCap.MaxSpeed.of(gen) |
        LinkCap.MaxWidth.of(width) |
        LinkCap.DllActiveReporting.of(+hasDownstreamLink(options.portType)) |
        LinkCap.PortNumber.of(options.portNumber ?? 0),
    },
    {
      name: 'LinkCtl',
      offset: Pcie.LinkCtl,
      width: 16,
      reset: rcb,
      writable: LinkCtl.AspmControl.mask | rcbWritable,
    },
    { name: 'LinkSta', offset: Pcie.LinkSta, width: 16 },
    {
      name: 'LinkCap2',
      offset: Pcie.LinkCap2,
      width: 32,
      reset: LinkCap2.SupportedSpeeds.of(2 ** gen - 1),
    },
    {
      name: 'LinkCtl2',
      offset: Pcie.LinkCtl2,
      width: 16,
      reset: LinkCtl2.TargetSpeed.of(gen),
      writable: LinkCtl2.TargetSpeed.mask,
    },
  ];
}

/** Slot and root registers, for the port types that have them. [PCIE] 7.5.3.9, 7.5.3.12 */
function portRegisters(options: PcieOptions): RegisterSpec[] {
  const { portType } = options;
  const slot: RegisterSpec[] = [
    { name: 'SlotCap', offset: Pcie.SlotCap, width: 32, reset: options.slotCapabilities ?? 0 },
    { name: 'SlotCtl', offset: Pcie.SlotCtl, width: 16, writable: 0x1fff },
    { name: 'SlotSta', offset: Pcie.SlotSta, width: 16, w1c: 0x011f },
  ];
  const root: RegisterSpec[] = [
    { name: 'RootCtl', offset: Pcie.RootCtl, width: 16, writable: ROOT_CTL_WRITABLE },
    { name: 'RootCap', offset: Pcie.RootCap, width: 16, reset: RootCap.CrsVisibility.mask },
    { name: 'RootSta', offset: Pcie.RootSta, width: 32, w1c: 0x0001_0000 },
  ];
  return [
    ...(hasDownstreamLink(portType) ? slot : []),
    ...(portType === PortType.RootPort ? root : []),
  ];
}

const ROOT_CTL_WRITABLE =
  RootCtl.SerrCorrectable.mask |
  RootCtl.SerrNonFatal.mask |
  RootCtl.SerrFatal.mask |
  RootCtl.PmeInterrupt.mask |
  RootCtl.CrsVisibility.mask;

/** Shows a trained link: speed, width, and at a port that has a slot, its occupant. [PCIE] 7.5.3.8 */
export function setLinkUp(config: ConfigSpace, { gen, width }: LinkRate): void {
  const at = config.capability(CapabilityId.Pcie);
  invariant(at !== 0, 'a link needs a PCI Express capability');
  let capable = config.read(at + Pcie.LinkCap, 4);
  capable = LinkCap.MaxSpeed.put(capable, Math.max(gen, LinkCap.MaxSpeed.get(capable)));
  capable = LinkCap.MaxWidth.put(capable, Math.max(width, LinkCap.MaxWidth.get(capable)));
  config.view.setUint32(at + Pcie.LinkCap, capable, true);
  const speeds = LinkCap2.SupportedSpeeds.of(2 ** LinkCap.MaxSpeed.get(capable) - 1);
  config.view.setUint32(at + Pcie.LinkCap2, speeds, true);
  const caps = config.read(at + Pcie.Capabilities, 2);
  const slot = PcieCaps.SlotImplemented.get(caps);
  const status = LinkSta.Speed.of(gen) | LinkSta.Width.of(width) | LinkSta.DllActive.of(slot);
  config.view.setUint16(at + Pcie.LinkSta, status, true);
  if (slot) config.setStatus(at + Pcie.SlotSta, SlotSta.PresenceDetect.mask);
}

/** Shows a link that is down; whether the slot is occupied is another matter. [PCIE] 7.5.3.8 */
export function setLinkDown(config: ConfigSpace): void {
  const at = config.capability(CapabilityId.Pcie) + Pcie.LinkSta;
  config.view.setUint16(at, config.read(at, 2) & ~LinkSta.DllActive.mask, true);
}

/** What a port supports of ACS when nothing else is said: everything modelled. */
export const ACS_CAPABLE: number = AcsCapability.Services.mask | ACS_ENHANCED;

export interface AcsOptions {
  /** Bits of {@link AcsBit} that are implemented; only those are writable. */
  readonly capable?: number;
  /** Ports that the egress vector has a bit for; 0 to 32. */
  readonly egressPorts?: number;
}

/** Appends an ACS Extended Capability. [PCIE] 7.7.11 */
export function addAcs(config: ConfigSpace, options: AcsOptions = {}): number {
  const ports = options.egressPorts ?? 0;
  invariant(ports >= 0 && ports <= 32, `an ACS egress vector of ${ports} bits`);
  const capable = (options.capable ?? ACS_CAPABLE) & (ports > 0 ? ~0 : ~AcsBit.EC);
  const vectorBytes = ports > 0 ? 4 : 0;
  const at = config.appendExtended(ExtendedId.Acs, 1, Acs.EgressVector + vectorBytes);
  config.define({
    name: 'AcsCapability',
    offset: at + Acs.Capability,
    width: 16,
    reset:
      (capable & AcsCapability.Services.mask) |
      AcsCapability.Enhanced.of(+((capable & ACS_ENHANCED) !== 0)) |
      AcsCapability.EgressVectorSize.of(ports),
  });
  config.define({ name: 'AcsControl', offset: at + Acs.Control, width: 16, writable: capable });
  if (ports > 0) {
    const writable = lo32(2 ** ports - 1);
    config.define({ name: 'AcsEgress', offset: at + Acs.EgressVector, width: 32, writable });
  }
  return at;
}

/** Appends a Device Serial Number capability; `serial` is below 2^52. [PCIE] 7.9.3 */
export function addSerialNumber(config: ConfigSpace, serial: number): number {
  const at = config.appendExtended(ExtendedId.SerialNumber, 1, SerialNumber.SIZE);
  config.define({
    name: 'SerialLow',
    offset: at + SerialNumber.Low,
    width: 32,
    reset: lo32(serial),
  });
  config.define({
    name: 'SerialHigh',
    offset: at + SerialNumber.High,
    width: 32,
    reset: hi32(serial),
  });
  return at;
}
