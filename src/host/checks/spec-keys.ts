/**
 * The keys that each part of a machine's specification may have. Tables only; topology-check.ts looks them up.
 * @module
 */
import type { KeysOf } from '#emu/base/known-keys.ts';
import type {
  DmaSpec,
  HostBridgeSpec,
  HotPlugSpec,
  IommuSpec,
  MachineSpec,
  MemorySpec,
  MultiFunctionSpec,
  PeerRule,
  PortSpec,
  SwitchSpec,
} from '#emu/host/machine-spec.ts';
import type { Credits, LinkSpec, VcOptions } from '#emu/pcie/link/link.ts';

export const MACHINE_KEYS: KeysOf<MachineSpec> = {
  name: true,
  memory: true,
  iommu: true,
  dma: true,
  peerForwarding: true,
  peerReads: true,
  hostBridgeAllowList: true,
  cpu: true,
  checker: true,
  acs: true,
  mmioWindowBytes: true,
  barSizes: true,
  maxPayloadBytes: true,
  maxReadRequestBytes: true,
  rootLatencyPs: true,
  rootCompletionBytes: true,
  interruptLatencyPs: true,
  errors: true,
  rootPorts: true,
  hostBridges: true,
};

export const MEMORY_KEYS: KeysOf<MemorySpec> = {
  sizeBytes: true,
  latencyPs: true,
  bytesPerSecond: true,
};

export const IOMMU_KEYS: KeysOf<IommuSpec> = {
  flush: true,
  reserveWindows: true,
  iotlbEntries: true,
  contextEntries: true,
  hitPs: true,
  memoryPs: true,
  walkers: true,
  commandPs: true,
};

export const DMA_KEYS: KeysOf<DmaSpec> = {
  provider: true,
  bounceBytes: true,
  forceBounce: true,
  devices: true,
};

export const HOST_BRIDGE_KEYS: KeysOf<HostBridgeSpec> = {
  name: true,
  rootPorts: true,
  busOffset: true,
  identity: true,
};

export const PORT_KEYS: KeysOf<PortSpec> = {
  name: true,
  link: true,
  device: true,
  acs: true,
  acsEgress: true,
  acsCapable: true,
  hotplug: true,
};

export const HOTPLUG_KEYS: KeysOf<HotPlugSpec> = {
  surprise: true,
  buses: true,
  lowBytes: true,
  highBytes: true,
};

export const SWITCH_KEYS: KeysOf<SwitchSpec> = {
  kind: true,
  name: true,
  ports: true,
  latencyPs: true,
  cutThrough: true,
};

export const FUNCTIONS_KEYS: KeysOf<MultiFunctionSpec> = {
  kind: true,
  functions: true,
  ari: true,
  name: true,
};

export const LINK_KEYS: KeysOf<LinkSpec> = {
  gen: true,
  width: true,
  propagationPs: true,
  overheads: true,
  bitErrorRate: true,
  upperCredits: true,
  lowerCredits: true,
  creditScale: true,
  virtualChannels: true,
};

export const CHANNELS_KEYS: KeysOf<VcOptions> = { count: true, lowPriority: true };

export const CREDITS_KEYS: KeysOf<Credits> = {
  PH: true,
  PD: true,
  NPH: true,
  NPD: true,
  CplH: true,
  CplD: true,
};

export const PEER_RULE_KEYS: KeysOf<PeerRule> = {
  from: true,
  to: true,
  allowed: true,
  reads: true,
  splitReadBytes: true,
  bytesPerSecond: true,
};
