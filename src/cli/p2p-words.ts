/**
 * What the explanation of a peer-to-peer path says in words: effects of ACS at each hop, verdict, cause and what to
 * change. [P2PDMA], [PCIE] 6.12
 * @module
 */
import { type Bdf, formatBdf, hex } from '#emu/base/units.ts';
import { MapType } from '#emu/dma/mapping.ts';
import { HopRole, type P2pExplanation, type P2pHop } from '#emu/dma/p2p/p2p-explain.ts';
import { AcsBit } from '#emu/pcie/config/config-registers.ts';
import type { ProbeResult } from './p2p-probe.ts';

/** The pair and machine that is spoken of. */
export interface Subject {
  readonly requester: string;
  readonly provider: string;
  readonly iommu: boolean;
  readonly explanation: P2pExplanation;
  /** Short name of a function for sentences. */
  nameOf(id: Bdf): string;
  /** Path of a function, as refusals name it. */
  pathOf(id: Bdf): string;
}

/** The sentences of an explanation; `change` is null where nothing needs to be. */
export interface Conclusion {
  readonly verdict: string;
  readonly cause: string;
  readonly change: string | null;
}

/** ACS Control bits in words, in the order of the register. [PCIE] 7.7.11.3 */
export const ACS_WORDS: Readonly<Record<keyof typeof AcsBit, string>> = {
  SV: 'source validation: requester IDs from below must be of a bus below',
  TB: 'translation blocking: requests that claim to be translated are refused',
  RR: 'request redirect: requests for peers go up to the root complex',
  CR: 'completion redirect: completions for peers go up, except relaxed-ordered ones',
  UF: 'upstream forwarding: requests redirected further down are passed on up',
  EC: 'egress control: a vector says which ports may be reached directly',
  DT: 'direct translated: translated requests go across in spite of the others',
  IB: 'I/O blocking: I/O requests from below are refused',
  URR: "unclaimed redirect: requests for the switch's window that no port claims go up",
};
type AcsName = keyof typeof AcsBit;
const ACS_NAMES = Object.keys(ACS_WORDS).filter((name): name is AcsName => name in AcsBit);

/** Mnemonics of the bits that are set. */
export const acsNames = (acs: number | null): readonly AcsName[] =>
  ACS_NAMES.filter((name) => ((acs ?? 0) & AcsBit[name]) !== 0);

/** What a hop does to requests of the pair, in a few words. */
export function effectOf(hop: P2pHop, subject: Subject): string {
  const { requester, provider } = subject;
  if (hop.role === HopRole.Requester) return 'requester';
  if (hop.role === HopRole.Provider) return 'provider';
  if (hop.role === HopRole.HostBridge) return hostBridgeEffect(hop, subject);
  if (hop.isRedirect) return redirectEffect(hop, subject);
  if (hop.role === HopRole.Turn) return `above both: requests of ${requester} turn here`;
  if (hop.role === HopRole.Down) return `passes them down to ${provider}`;
  return upEffect(hop, subject);
}

function hostBridgeEffect({ bdf }: P2pHop, { iommu, explanation, provider }: Subject): string {
  if (explanation.route.type === MapType.NotSupported) return 'would have to turn them, untrusted';
  const [first, second] = explanation.hostBridges;
  const isHandedOn = second !== undefined && bdf === first?.bdf;
  const turns = isHandedOn ? 'hands them to the other host bridge' : `turns them to ${provider}`;
  // Translation comes first, and once.
  return iommu && bdf === first?.bdf ? `translates and ${turns}` : turns;
}

function redirectEffect({ role, acs }: P2pHop, { requester, provider }: Subject): string {
  const bits = acsNames(acs).filter((name) => name === 'RR' || name === 'CR' || name === 'EC');
  const whose = role === HopRole.Up ? requester : provider;
  if (bits.includes('RR')) return `REDIRECTS: RR sends peer requests of ${whose} up, not across`;
  if (bits.includes('EC')) return 'REDIRECTS: EC leaves it to a vector, which counts as such';
  return `REDIRECTS: CR sends completions of ${whose} up, which counts as such`;
}

function upEffect(hop: P2pHop, { explanation, iommu }: Subject): string {
  const { common, route } = explanation;
  if (hop.acs === null) return 'passes them up';
  if (route.type === MapType.BusAddress) return 'passes them on, redirects nothing';
  if (common === null || hop.isBelowCommon || !isSentUp(explanation)) return 'passes them up';
  // The peer's bus address lies in this port's own window; an I/O virtual address would lie in none.
  if (hasUpstreamForwarding(hop)) return 'passes them up: UF lets redirected requests pass';
  return iommu ? 'passes them up' : 'REFUSES them: redirected from below, and UF is clear';
}

const hasUpstreamForwarding = ({ acs }: P2pHop): boolean => acsNames(acs).includes('UF');

/** Whether a port on the requester's side sends its requests up. */
const isSentUp = ({ hops }: P2pExplanation): boolean =>
  hops.some((hop) => hop.role === HopRole.Up && hop.isRedirect && acsNames(hop.acs).includes('RR'));

/** Verdict, cause and what to change; what a probe found overrules what software believes. */
export function conclude(subject: Subject, probes: readonly ProbeResult[]): Conclusion {
  const failed = probes.find((result) => !result.ok);
  return failed === undefined ? believed(subject, probes) : contradicted(subject, failed);
}

function believed(subject: Subject, probes: readonly ProbeResult[]): Conclusion {
  const { type } = subject.explanation.route;
  if (type === MapType.BusAddress) return direct(subject);
  if (type === MapType.ThruHostBridge) return throughHost(subject);
  return refused(subject, probes);
}

function direct({ requester, provider, iommu, explanation, nameOf }: Subject): Conclusion {
  const { common } = explanation;
  const bridge = common === null ? 'a common bridge' : nameOf(common);
  const past = iommu ? ', and the IOMMU never sees them' : '';
  return {
    verdict: `${requester} reaches ${provider} directly: its requests turn in ${bridge}${past}.`,
    cause: `${bridge} is above both, and no port on the way redirects peer requests`,
    change: iommu
      ? "nothing, unless the IOMMU is to check these requests: then acs: 'linux' on both ports"
      : null,
  };
}

function throughHost(subject: Subject): Conclusion {
  const { requester, provider, iommu } = subject;
  const redirecting = redirectingPorts(subject);
  const how = iommu ? 'through the host bridge and its IOMMU' : 'through the host bridge';
  return {
    verdict: `${requester} reaches ${provider} ${how}.`,
    cause: `${whyNotDirect(subject)}, and software trusts the host bridge`,
    change:
      redirecting.length > 0
        ? `for the direct way: ${clearing(subject)}`
        : 'for the direct way: put both below one switch',
  };
}

function refused(subject: Subject, probes: readonly ProbeResult[]): Conclusion {
  const { requester, provider, explanation } = subject;
  const { listed, hostBridges } = explanation;
  const entries = hostBridges.map(
    ({ vendorId, deviceId }) => `{ vendorId: ${hex(vendorId, 4)}, deviceId: ${hex(deviceId, 4)} }`,
  );
  const isCarried = probes.some(({ write, read }) => write?.arrived && read?.arrived);
  const trust = `add ${[...new Set(entries)].join(', ')} to hostBridgeAllowList, if the hardware does forward${
    isCarried ? ', as it does here' : ''
  }`;
  const hasRedirect = redirectingPorts(subject).length > 0;
  return {
    verdict: `${requester} must not use memory of ${provider}: mapping it fails with EREMOTEIO.`,
    cause: `${whyNotDirect(subject)}; ${listed.reason}`,
    change: hasRedirect
      ? `${clearing(subject)}; or ${trust}`
      : `put both below one switch; or ${trust}`,
  };
}

/** Functions whose redirect keeps the pair from the direct way, from the requester on. */
const redirectingPorts = ({ explanation }: Subject): readonly Bdf[] => [
  ...new Set(explanation.hops.filter(({ isRedirect }) => isRedirect).map(({ bdf }) => bdf)),
];

function whyNotDirect(subject: Subject): string {
  const { nameOf, explanation, requester, provider } = subject;
  const ports = redirectingPorts(subject);
  if (ports.length > 0) return `ACS redirects at ${ports.map(nameOf).join(' and ')}`;
  const isOne = explanation.hostBridges.length === 1;
  const where = isOne ? 'root ports' : 'host bridges';
  return `no bridge is above both: ${requester} and ${provider} stand below different ${where}`;
}

function clearing(subject: Subject): string {
  const ports = redirectingPorts(subject);
  const names = ports.map(subject.nameOf).join(' and ');
  const linux = `pci=disable_acs_redir=${ports.map(formatBdf).join(';')}`;
  return `clear RR, CR and EC at ${names} (acs: 'off' in the topology; on Linux ${linux})`;
}

/** Software believes a map type, and the route is another. */
function contradicted(subject: Subject, failed: ProbeResult): Conclusion {
  const { requester, provider, mapType, write, read } = failed;
  const pair = `${requester} to ${provider}`;
  if (write?.arrived && read?.arrived) return otherWay(subject, failed);
  const isRead = write?.arrived === true;
  const broken = isRead ? read : write;
  const what = isRead ? 'reads' : 'requests';
  const believed = `Software maps ${pair} as ${mapType}, but ${what}`;
  const refusal = broken?.refused ?? null;
  if (refusal !== null) {
    const at = hopAt(refusal.at, subject);
    const place = at === undefined ? refusal.at : subject.nameOf(at.bdf);
    const verdict = `${believed} are refused at ${place}: DMA fails.`;
    return { verdict, ...refusalRemedy(refusal.error, place, at, subject) };
  }
  const found = broken?.landed ?? broken?.status ?? 'nothing';
  const verdict = `${believed} ${isRead ? 'give other bytes' : 'lead elsewhere'}: data is lost.`;
  return { verdict, cause: `found instead: ${found}`, change: SWALLOWED };
}

/** The hop that a refusal speaks of. */
const hopAt = (path: string, { explanation, pathOf }: Subject): P2pHop | undefined =>
  explanation.hops.find(({ bdf }) => pathOf(bdf) === path);

const FORWARDING =
  'let the root complex forward (peerForwarding), or take its host bridge off hostBridgeAllowList';
const SWALLOWED = `${FORWARDING}, so that software does not trust it`;

function refusalRemedy(
  error: string,
  at: string,
  hop: P2pHop | undefined,
  subject: Subject,
): { cause: string; change: string } {
  if (error === 'peer-refused') {
    return { cause: `the root complex does not forward peers at ${at}`, change: SWALLOWED };
  }
  if (error === 'acs-violation') {
    const change = `clear SV and EC at ${at}, or admit the peer in its egress vector`;
    return { cause: `ACS at ${at} forbids it (${error})`, change };
  }
  if (error === 'translation-fault') {
    return {
      cause: `the IOMMU has no translation for the address (${error} at ${at})`,
      change: 'map for the function that makes the requests',
    };
  }
  const isAboveCommon = subject.explanation.common !== null && hop?.isBelowCommon === false;
  if (!isAboveCommon || hasUpstreamForwarding(hop)) {
    return { cause: `${error} at ${at}`, change: FORWARDING };
  }
  return {
    cause: `requests redirected further down come up at ${at}, whose UF is clear (${error})`,
    change: `set UF (${hex(AcsBit.UF)}) at ${at}; or ${clearing(subject)}`,
  };
}

/** The bytes arrive, but not by the way that software believes. */
function otherWay(subject: Subject, { requester, provider, mapType, viaRoot }: ProbeResult) {
  const way = viaRoot ? 'through the root complex' : 'across the switch';
  const ports = redirectingPorts(subject).map(subject.nameOf).join(' and ');
  return {
    verdict: `Software maps ${requester} to ${provider} as ${mapType}, but requests go ${way}.`,
    cause: `ACS redirects at ${ports || 'no port'}, which does not act on requests of ${requester}`,
    change: `set the same ACS bits at the ports of both; or ${clearing(subject)}`,
  };
}
