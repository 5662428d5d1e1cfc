/**
 * Which host bridges software trusts to forward peer traffic: a list, since hardware does not tell. What a root
 * complex really forwards is its own affair. [P2PDMA]
 * @module
 */
import { type Bdf, formatBdf } from '#emu/base/units.ts';
import type { HostBridgePolicy } from '#emu/dma/providers/dma-provider.ts';
import type { HostBridgeView, PciFunctionView, PciView } from './pci-view.ts';

/** An entry of the list; the first that matches a host bridge decides about it. */
export interface HostBridgeRule {
  readonly vendorId: number;
  /** Default any. */
  readonly deviceId?: number;
  /** Trusted between its own root ports only. */
  readonly withinOneBridge?: boolean;
}

/** The processor, as far as it says something about its host bridges. */
export interface CpuIdentity {
  readonly vendor: string;
  readonly family: number;
}

const INTEL = 0x8086;
const GOOGLE = 0x1ae0;
const WITHIN_ONE = [0x3c00, 0x3c01, 0x2f00, 0x2f01];
const ANYWHERE = [0x2030, 0x2031, 0x2032, 0x2033, 0x2020, 0x09a2];
/** AMD processors from this family (Zen) on forward peers. */
const ZEN_FAMILY = 0x17;

/** Host bridges that Linux trusts; copy and extend it for others. [P2PDMA] */
export const HOST_BRIDGE_ALLOW_LIST: readonly HostBridgeRule[] = [
  ...WITHIN_ONE.map((deviceId) => ({ vendorId: INTEL, deviceId, withinOneBridge: true })),
  ...ANYWHERE.map((deviceId) => ({ vendorId: INTEL, deviceId })),
  { vendorId: GOOGLE },
];

/** Whether two functions may use each other's memory through their host bridges, as software has it. */
export interface HostBridgeVerdict {
  readonly allowed: boolean;
  /** One sentence without a full stop. */
  readonly reason: string;
}

/** Every function of an AMD Zen processor's machine is trusted, whatever the list says. */
export const isTrustedCpu = (cpu: CpuIdentity | undefined): boolean =>
  cpu !== undefined && cpu.vendor.toLowerCase() === 'amd' && cpu.family >= ZEN_FAMILY;

/**
 * Asks the processor first, then the list: of one host bridge common to both functions any entry will do, of two
 * each must have one that is not limited to itself.
 */
export function hostBridgeVerdict(
  view: PciView,
  provider: Bdf,
  client: Bdf,
  list: readonly HostBridgeRule[] = HOST_BRIDGE_ALLOW_LIST,
  cpu?: CpuIdentity,
): HostBridgeVerdict {
  const bridges = [provider, client].map((id) => bridgeOf(view, id));
  const [ofProvider, ofClient] = bridges;
  if (!ofProvider || !ofClient) {
    return { allowed: false, reason: 'one of the functions is not in the topology' };
  }
  if (isTrustedCpu(cpu)) {
    return { allowed: true, reason: 'the processor is an AMD of family 17h or newer' };
  }
  const isSame = ofProvider.index === ofClient.index;
  const asked = isSame ? [ofProvider] : [ofProvider, ofClient];
  const refusal = asked
    .map((bridge) => objection(bridge, isSame, list))
    .find((text) => text !== null);
  if (refusal) return { allowed: false, reason: refusal };
  const names = asked.map(formatBridge).join(' and ');
  return { allowed: true, reason: `${names} ${isSame ? 'is' : 'are'} on the list of host bridges` };
}

/** The same as a policy for providers of mappings. */
export const hostBridgePolicy =
  (view: PciView, list?: readonly HostBridgeRule[], cpu?: CpuIdentity): HostBridgePolicy =>
  (provider, client) =>
    hostBridgeVerdict(view, provider, client, list, cpu).allowed;

/** Why a host bridge does not do, or null. */
function objection(
  bridge: HostBridgeView,
  isSame: boolean,
  list: readonly HostBridgeRule[],
): string | null {
  const rule = list.find(
    ({ vendorId, deviceId }) =>
      vendorId === bridge.vendorId && (deviceId === undefined || deviceId === bridge.deviceId),
  );
  const name = formatBridge(bridge);
  if (rule === undefined) return `${name} is not on the list of host bridges`;
  if (rule.withinOneBridge && !isSame) return `${name} is listed for its own root ports only`;
  return null;
}

const bridgeOf = (view: PciView, id: Bdf): HostBridgeView | undefined => {
  const isIt = ({ bdf }: PciFunctionView): boolean => bdf === id;
  const fn = view.functions.find(isIt);
  return fn && view.hostBridges[fn.hostBridge];
};

const formatBridge = ({ bdf, vendorId, deviceId }: HostBridgeView): string =>
  `host bridge ${formatBdf(bdf)} (${hex4(vendorId)}:${hex4(deviceId)})`;

const hex4 = (id: number): string => id.toString(16).padStart(4, '0');
