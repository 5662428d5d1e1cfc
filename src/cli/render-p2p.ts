/**
 * The explanation of a peer-to-peer path as people read it.
 * @module
 */

import { MapType } from '#emu/dma/mapping.ts';
import { HopRole } from '#emu/dma/p2p/p2p-explain.ts';
import { colors as pc } from './colors.ts';
import type { ProbeTransfer } from './p2p-probe.ts';
import type { P2pReport, PathEntry, ProbeEntry } from './p2p-report.ts';
import { ACS_WORDS } from './p2p-words.ts';

/** Text of a report. */
export function renderP2p(report: P2pReport): string {
  const { requester, provider, machine, file } = report;
  const parts = [
    `${pc.bold(`${requester} → ${provider}`)}  ${pc.dim(`machine ${machine} of ${file}`)}`,
    pathLines(report.path),
    legend(report.path),
    factLines(report),
    conclusion(report),
    probeLines(report),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

const GLYPHS: Readonly<Record<HopRole, string>> = {
  [HopRole.Requester]: '┌ ',
  [HopRole.Up]: '├↑',
  [HopRole.Turn]: '├↷',
  [HopRole.HostBridge]: '├↷',
  [HopRole.Down]: '├↓',
  [HopRole.Provider]: '└ ',
};

/** The path as a list, requester first. */
function pathLines(path: readonly PathEntry[]): string {
  const width = Math.max(...path.map(({ port }) => port.length));
  const bits = Math.max(...path.map((entry) => acsText(entry).length));
  return path
    .map((entry) => {
      const { role, port, bdf, effect } = entry;
      const isAlarm = /^[A-Z]{2}/.test(effect);
      const shown = isAlarm ? pc.yellow(effect) : effect;
      const columns = [port.padEnd(width), pc.dim(bdf), acsText(entry).padEnd(bits), shown];
      return `  ${GLYPHS[role]} ${columns.join('  ')}`;
    })
    .join('\n');
}

function acsText({ acs, role }: PathEntry): string {
  if (role !== HopRole.Up && role !== HopRole.Turn && role !== HopRole.Down) return '';
  if (acs === null) return 'no ACS';
  return acs.length === 0 ? 'ACS off' : `ACS ${acs.join(' ')}`;
}

/** The ACS bits of the path in words. */
function legend(path: readonly PathEntry[]): string {
  const set = new Set(path.flatMap(({ acs }) => acs ?? []));
  return Object.entries(ACS_WORDS)
    .filter(([name]) => set.has(name))
    .map(([name, words]) => pc.dim(`  ${name}  ${words}`))
    .join('\n');
}

function factLines(report: P2pReport): string {
  const { hostBridges, allowListed, mapType, addressKind, iommu, distance, probe } = report;
  const bridges = hostBridges.map(({ name }) => name).join(' and ');
  const { address, cpuAddress } = probe.forward;
  const example = address === null ? '' : `, such as ${address} for CPU address ${cpuAddress}`;
  const kind = addressKind === null ? 'none: the map is refused' : `${addressKind}${example}`;
  return facts([
    ['distance', String(distance)],
    [
      'host bridge',
      `${bridges}, ${allowListed ? 'allowed' : 'NOT allowed'}: ${report.allowReason}`,
    ],
    ['IOMMU', iommu ? 'on' : 'off'],
    ['map type', pc.bold(mapType)],
    ['address', kind],
  ]);
}

function conclusion({ verdict, cause, change, ok, mapType }: P2pReport): string {
  const color = !ok ? pc.red : mapType === MapType.NotSupported ? pc.yellow : pc.green;
  return facts([
    ['verdict', color(verdict)],
    ['cause', cause],
    ['to change', change ?? 'nothing'],
  ]);
}

const facts = (rows: readonly (readonly [name: string, text: string])[]): string =>
  rows.map(([name, text]) => `  ${name.padEnd(11)}  ${text}`).join('\n');

function probeLines(report: P2pReport): string {
  const { forward, backward } = report.probe;
  const lines = [forward, backward].flatMap(directionLines);
  const isProbed = forward.sent || backward.sent;
  return [pc.bold('probe'), ...lines, closing(report, isProbed)].join('\n');
}

function closing({ ok, mapType, probe: { forward, backward } }: P2pReport, isProbed: boolean) {
  if (!ok) return pc.red('the route DISAGREES with the map type');
  if (!isProbed) return pc.dim('nothing was sent');
  if (mapType !== MapType.NotSupported) return pc.green('the route agrees with the map type');
  const isCarried = [forward, backward].some(({ write, read }) => write?.arrived && read?.arrived);
  if (isCarried) return pc.yellow('software refuses what the route would carry');
  return pc.green('the route agrees with the map type: both refuse');
}

function directionLines(result: ProbeEntry): string[] {
  const { requester, provider, statement, write, read, mapType } = result;
  const head = `  ${requester} → ${provider}`;
  if (write === null || read === null)
    return [`${head}  ${pc.dim(`not sent: ${statement ?? ''}`)}`];
  const isUnmapped = mapType === MapType.NotSupported;
  const as = isUnmapped ? 'sent to the bus address, although software refuses' : `as ${mapType}`;
  return [
    `${head}  ${pc.dim(as)}`,
    transferLine('write', write, result.ok || isUnmapped),
    transferLine('read', read, result.ok || isUnmapped),
  ];
}

function transferLine(name: string, transfer: ProbeTransfer, isExpected: boolean): string {
  const { arrived, links, status, refused, landed } = transfer;
  const by = links.length === 0 ? '' : `  ${links.join(' ')}`;
  const what = arrived ? 'arrived' : outcome(name, status, refused, landed);
  const mark = arrived ? pc.green('✓') : isExpected ? pc.yellow('-') : pc.red('✗');
  return `    ${mark} ${name.padEnd(5)}  ${what}${by}`;
}

function outcome(
  name: string,
  status: string,
  refused: ProbeTransfer['refused'],
  landed: string | null,
): string {
  if (landed !== null) return name === 'write' ? `landed in ${landed}` : `gave ${landed}`;
  if (refused !== null) {
    const told = name === 'write' ? '' : `, ${status}`;
    return `refused at ${refused.at} (${refused.error}${told})`;
  }
  return name === 'write' ? 'did not arrive' : `ended with ${status}`;
}
