/**
 * Configuration spaces of the bridges of a machine: host bridge, root ports and switch ports.
 * Identities of ports are those that QEMU gives its own, so that lspci knows them. [PCIE] 7.5.1.3
 * @module
 */
import { addAcs, addPcie } from '#emu/pcie/config/capabilities.ts';
import type { Identity } from '#emu/pcie/config/config-header.ts';
import { PortType } from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { hotPlugCapabilities } from '#emu/pcie/switch/hot-plug-slot.ts';
import type { PortSpec } from './machine-spec.ts';

const BRIDGE_CLASS = 0x060400;
/** A Skylake-E server's: Linux lets it forward peers to any other that it knows. [P2PDMA] */
const HOST_BRIDGE: Identity = { vendorId: 0x8086, deviceId: 0x2020, classCode: 0x060000 };
const ROOT_PORT: Identity = { vendorId: 0x1b36, deviceId: 0x000c, classCode: BRIDGE_CLASS };
const UPSTREAM: Identity = { vendorId: 0x104c, deviceId: 0x8232, classCode: BRIDGE_CLASS };
const DOWNSTREAM: Identity = { vendorId: 0x104c, deviceId: 0x8233, classCode: BRIDGE_CLASS };

/** What the ports of one component have in common. */
export interface PortFamily {
  readonly maxPayloadBytes: number;
  /** Ports that an egress vector names. */
  readonly egressPorts: number;
}

export const hostBridge = (identity: Partial<Identity> = {}): ConfigSpace =>
  new ConfigSpace({ type: 0, identity: { ...HOST_BRIDGE, ...identity } });

export const rootPort = (index: number, family: PortFamily, spec: PortSpec = {}): ConfigSpace =>
  bridge(ROOT_PORT, PortType.RootPort, index, family, spec);

export const upstreamPort = (family: PortFamily): ConfigSpace =>
  bridge(UPSTREAM, PortType.SwitchUpstream, 0, family);

/** `index` counts from 1: 0 is the upstream port. */
export const downstreamPort = (
  index: number,
  family: PortFamily,
  spec: PortSpec = {},
): ConfigSpace => bridge(DOWNSTREAM, PortType.SwitchDownstream, index, family, spec);

/** Upstream ports of single-function switches have no access control. [PCIE] 6.12.1.2 */
function bridge(
  identity: Identity,
  portType: PortType,
  portNumber: number,
  { maxPayloadBytes, egressPorts }: PortFamily,
  { acsCapable: capable, hotplug = false }: PortSpec = {},
): ConfigSpace {
  const config = new ConfigSpace({ type: 1, identity });
  const options = hotplug === true ? {} : hotplug;
  addPcie(config, {
    portType,
    portNumber,
    maxPayloadBytes,
    ...(options && {
      slotCapabilities: hotPlugCapabilities({ ...options, slotNumber: portNumber }),
    }),
  });
  if (portType === PortType.SwitchUpstream) return config;
  addAcs(config, { egressPorts, ...(capable === undefined ? {} : { capable }) });
  return config;
}
