/**
 * `emu p2p explain`: what it says about pairs of devices, and whether its probe finds the routes that differ.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runEmu } from '#test/support/recording-terminal.ts';

const PAIRS = 'test/fixtures/scenarios/p2p-pairs.ts';
const explain = (layout: string, ...more: readonly string[]) =>
  runEmu('p2p', 'explain', PAIRS, 'a', 'b', '--set', `layout=${layout}`, ...more);

async function json(layout: string, ...more: readonly string[]) {
  const { code, stdout, stderr } = await explain(layout, ...more, '--json');
  assert.equal(stderr, '');
  return { code, report: JSON.parse(stdout) };
}

interface Expected {
  readonly layout: string;
  readonly mapType: string;
  readonly addressKind: string | null;
  readonly code?: number;
  /** Links of the write, and how the two transfers ended. */
  readonly links?: string;
  readonly write?: boolean;
  readonly read?: boolean;
  readonly cause: RegExp;
  readonly change: RegExp | null;
}

const DIRECT = { mapType: 'BUS_ADDR', addressKind: 'bus address', links: 'a↑ b↓' } as const;
const THROUGH = { mapType: 'THRU_HOST_BRIDGE', addressKind: 'CPU physical address' } as const;
const REFUSED = { mapType: 'NOT_SUPPORTED', addressKind: null } as const;
const AROUND = 'a↑ sw↑ sw↓ b↓';
const cases: readonly Expected[] = [
  { layout: 'switch', ...DIRECT, cause: /^sw is above both/, change: null },
  { layout: 'offset', ...DIRECT, cause: /^sw is above both/, change: null },
  { layout: 'bypass', ...DIRECT, cause: /^sw is above both/, change: /acs: 'linux'/ },
  { layout: 'nested', ...DIRECT, links: 'a↑ inner↑ b↓', cause: /^sw is/, change: null },
  {
    ...{ layout: 'redirect', ...THROUGH, addressKind: 'IOVA', links: AROUND },
    cause: /^ACS redirects at sw\.down0 and sw\.down1/,
    change: /clear RR, CR and EC at sw\.down0 and sw\.down1.*disable_acs_redir=02:00\.0;02:01\.0/,
  },
  {
    ...{ layout: 'redirect-uf', ...THROUGH, links: AROUND },
    cause: /^ACS redirects at sw\.down0 and sw\.down1/,
    change: /acs: 'off'/,
  },
  {
    ...{
      layout: 'redirect-no-uf',
      ...THROUGH,
      code: 1,
      links: 'a↑ sw↑',
      write: false,
      read: false,
    },
    cause: /come up at rc0\.port0, whose UF is clear/,
    change: /set UF \(0x10\) at rc0\.port0/,
  },
  {
    ...{ layout: 'half', ...THROUGH, code: 1, links: 'a↑ b↓' },
    cause: /^ACS redirects at sw\.down1, which does not act on requests of a/,
    change: /the same ACS bits/,
  },
  {
    ...{ layout: 'egress', ...THROUGH, code: 1, links: 'a↑', write: false, read: false },
    cause: /^ACS at sw\.down0 forbids it \(acs-violation\)/,
    change: /egress vector/,
  },
  { layout: 'roots', ...THROUGH, links: 'a↑ b↓', cause: /different root ports/, change: /switch/ },
  { layout: 'zen', ...THROUGH, links: 'a↑ b↓', cause: /different root ports/, change: /switch/ },
  { layout: 'bridges', ...THROUGH, links: 'a↑ b↓', cause: /different host bridges/, change: /sw/ },
  {
    ...{ layout: 'unlisted', ...REFUSED, links: 'a↑ b↓' },
    cause: /is not on the list of host bridges/,
    change: /0x8086, deviceId: 0x2020 \} to hostBridgeAllowList.*as it does here/,
  },
  {
    ...{ layout: 'unlisted-refusing', ...REFUSED, links: 'a↑', write: false, read: false },
    cause: /is not on the list of host bridges/,
    change: /hostBridgeAllowList, if the hardware does forward$/,
  },
  {
    ...{ layout: 'refusing', ...THROUGH, code: 1, links: 'a↑', write: false, read: false },
    cause: /does not forward peers at rc0\.port0/,
    change: /off hostBridgeAllowList/,
  },
  {
    ...{ layout: 'all-ones', ...THROUGH, code: 1, links: 'a↑ b↓', read: false },
    cause: /other bytes \(0xff 0xff/,
    change: /peerForwarding/,
  },
];
for (const { layout, mapType, addressKind, code = 0, links, cause, change, ...sent } of cases) {
  test(`${layout}: ${mapType}, exit code ${code}`, async () => {
    const { code: got, report } = await json(layout);
    const { forward } = report.probe;
    assert.deepEqual(
      [got, report.ok, report.mapType, report.addressKind],
      [code, code === 0, mapType, addressKind],
    );
    assert.equal(forward.write.links.join(' '), links);
    const { write = true, read = true } = sent;
    assert.deepEqual([forward.write.arrived, forward.read.arrived], [write, read]);
    assert.match(report.cause, cause);
    if (change === null) assert.equal(report.change, null);
    else assert.match(report.change, change);
    assert.match(report.verdict, /^\S.*\.$/);
  });
}

test('the report has the documented fields', async () => {
  const { report } = await json('redirect');
  const { path, probe, hostBridges, verdict: _, cause: __, change: ___, ...rest } = report;
  assert.deepEqual(rest, {
    schema: 1,
    file: PAIRS,
    machine: 'machine',
    requester: 'a',
    provider: 'b',
    distance: 4,
    allowListed: true,
    allowReason: 'host bridge 00:00.0 (8086:2020) is on the list of host bridges',
    iommu: true,
    mapType: 'THRU_HOST_BRIDGE',
    addressKind: 'IOVA',
    ok: true,
  });
  assert.deepEqual(hostBridges, [{ name: 'rc0', bdf: '00:00.0', id: '8086:2020' }]);
  assert.deepEqual(
    path.map(({ port, role }: { port: string; role: string }) => `${role} ${port}`),
    [
      'requester rc0.port0.sw.down0.a',
      'up rc0.port0.sw.down0',
      'up rc0.port0.sw',
      'up rc0.port0',
      'host bridge rc0',
      'down rc0.port0',
      'down rc0.port0.sw',
      'down rc0.port0.sw.down1',
      'provider rc0.port0.sw.down1.b',
    ],
  );
  const { port: ____, ...hop } = path[1];
  assert.deepEqual(hop, {
    bdf: '02:00.0',
    role: 'up',
    acs: ['SV', 'RR', 'CR', 'UF'],
    effect: 'REDIRECTS: RR sends peer requests of a up, not across',
  });
  assert.deepEqual([path[2].acs, path[4].acs], [null, null]);
  assert.deepEqual(probe.backward.write.links, ['b↑', 'sw↑', 'sw↓', 'a↓']);
  assert.equal(probe.forward.viaRoot, true);
  assert.notEqual(probe.forward.address, probe.forward.cpuAddress);
});

test('a bus offset shows in the address', async () => {
  const { report } = await json('offset');
  const { address, cpuAddress } = report.probe.forward;
  assert.equal(Number(address) - Number(cpuAddress), 2 ** 44);
});

test('refusals name the port and the status', async () => {
  const { report } = await json('refusing');
  const { write, read } = report.probe.backward;
  assert.deepEqual(write.refused, { at: 'rc0.port1', error: 'peer-refused' });
  assert.deepEqual([write.status, read.status], ['Ok', 'UnsupportedRequest']);
});

test('without memory behind a BAR, or without a mapping under an IOMMU, nothing is sent', async () => {
  const { code, report } = await json('registers');
  const { forward, backward } = report.probe;
  assert.deepEqual([code, report.ok, forward.sent, backward.sent], [0, true, false, false]);
  assert.equal(forward.statement, 'b has no memory BAR');
  assert.match(backward.statement, /^a offers no memory of 4096 bytes or more \(only BAR0/);
  const unmapped = await json('redirect-unlisted');
  assert.match(unmapped.report.probe.forward.statement, /IOMMU gives no address/);
  assert.match(unmapped.report.probe.forward.refusal, /^EREMOTEIO: /);
  assert.match(
    (await explain('registers')).stdout,
    /not sent: b has no memory BAR\n[\s\S]*nothing was sent\n$/,
  );
});

test('the text of a redirected pair', async () => {
  const { code, stdout } = await explain('redirect');
  assert.equal(code, 0);
  assert.equal(stdout, REDIRECTED);
});

const REDIRECTED = `a → b  machine machine of test/fixtures/scenarios/p2p-pairs.ts

  ┌  rc0.port0.sw.down0.a  03:00.0                   requester
  ├↑ rc0.port0.sw.down0    02:00.0  ACS SV RR CR UF  REDIRECTS: RR sends peer requests of a up, not across
  ├↑ rc0.port0.sw          01:00.0  no ACS           passes them up
  ├↑ rc0.port0             00:01.0  ACS SV RR CR UF  passes them up: UF lets redirected requests pass
  ├↷ rc0                   00:00.0                   translates and turns them to b
  ├↓ rc0.port0             00:01.0  ACS SV RR CR UF  passes them down to b
  ├↓ rc0.port0.sw          01:00.0  no ACS           passes them down to b
  ├↓ rc0.port0.sw.down1    02:01.0  ACS SV RR CR UF  REDIRECTS: RR sends peer requests of b up, not across
  └  rc0.port0.sw.down1.b  04:00.0                   provider

  SV  source validation: requester IDs from below must be of a bus below
  RR  request redirect: requests for peers go up to the root complex
  CR  completion redirect: completions for peers go up, except relaxed-ordered ones
  UF  upstream forwarding: requests redirected further down are passed on up

  distance     4
  host bridge  rc0, allowed: host bridge 00:00.0 (8086:2020) is on the list of host bridges
  IOMMU        on
  map type     THRU_HOST_BRIDGE
  address      IOVA, such as 0xfffff000 for CPU address 0x40001ff000

  verdict      a reaches b through the host bridge and its IOMMU.
  cause        ACS redirects at sw.down0 and sw.down1, and software trusts the host bridge
  to change    for the direct way: clear RR, CR and EC at sw.down0 and sw.down1 (acs: 'off' in the topology; on Linux pci=disable_acs_redir=02:00.0;02:01.0)

probe
  a → b  as THRU_HOST_BRIDGE
    ✓ write  arrived  a↑ sw↑ sw↓ b↓
    ✓ read   arrived  b↑ sw↑ sw↓ a↓
  b → a  as THRU_HOST_BRIDGE
    ✓ write  arrived  b↑ sw↑ sw↓ a↓
    ✓ read   arrived  a↑ sw↑ sw↓ b↓
the route agrees with the map type
`;

const endings: readonly (readonly [layout: string, text: RegExp])[] = [
  [
    'refusing',
    /✗ read {3}refused at rc0\.port0 \(peer-refused, UnsupportedRequest\)[\s\S]*DISAGREES/,
  ],
  ['all-ones', /✗ read {3}gave other bytes[\s\S]*DISAGREES/],
  ['redirect-no-uf', /REFUSES them: redirected from below, and UF is clear/],
  [
    'unlisted',
    /NOT allowed: [\s\S]*although software refuses[\s\S]*software refuses what the route would/,
  ],
  ['unlisted-refusing', /- write {2}refused at rc0\.port0[\s\S]*map type: both refuse/],
  ['egress', /REDIRECTS: EC leaves it to a vector/],
  ['bridges', /├↷ rc0 .*hands them to the other host bridge\n {2}├↷ rc1 .*turns them to b\n/],
];
for (const [layout, text] of endings) {
  test(`what is shown of ${layout}`, async () => {
    assert.match((await explain(layout)).stdout, text);
  });
}

test('several machines are explained one after the other, or one of them', async () => {
  const all = await json('all');
  const names = all.report.machines.map(({ machine }: { machine: string }) => machine);
  assert.deepEqual([all.code, all.report.ok, all.report.schema], [1, false, 1]);
  assert.deepEqual(names.slice(0, 2), ['switch', 'bypass']);
  const one = await json('all', '--machine', 'roots');
  assert.deepEqual([one.code, one.report.machine], [0, 'roots']);
  assert.equal((await explain('all')).stdout.match(/^a → b {2}machine /gm)?.length, names.length);
});

const wrong: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [[], /p2p: expected explain, got nothing/],
  [['show', PAIRS, 'a', 'b'], /p2p: expected explain, got 'show'/],
  [['explain'], /expected a scenario file and two devices: emu p2p explain FILE A B/],
  [['explain', PAIRS, 'a'], /expected a scenario file and two devices/],
  [['explain', PAIRS, 'a', 'a'], /expected two devices, got 'a' twice/],
  [['explain', PAIRS, 'a', 'gpu0'], /machine machine: expected one of a, b, got 'gpu0'$/m],
  [['explain', PAIRS, 'a', 'sw'], /expected one of a, b, got 'sw'/],
  [['explain', PAIRS, 'B', 'a'], /got 'B', did you mean 'b'\?/],
  [['explain', 'none.ts', 'a', 'b'], /none\.ts: no such file/],
  [['explain', PAIRS, 'a', 'b', '--machine', 'x'], /--machine: expected one of machine, got 'x'/],
  [['explain', PAIRS, 'a', 'b', '--set', 'layuot=x'], /did you mean 'layout'/],
  [['explain', PAIRS, 'a', 'b', '--set', 'layout=x'], /the scenario has no machine/],
  [['explain', PAIRS, 'a', 'b', '--seed', '1'], /seed/],
];
for (const [args, message] of wrong) {
  test(`p2p ${args.join(' ')} is refused in one line`, async () => {
    const { code, stdout, stderr } = await runEmu('p2p', ...args, '--json');
    assert.equal(code, 2);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split('\n').length, 1);
    const { schema, ok, error } = JSON.parse(stdout);
    assert.deepEqual([schema, ok, error.code], [1, false, 'USAGE']);
  });
}

const VFS = 'test/fixtures/scenarios/virtual-functions.ts';
for (const [a, b] of [
  ['nic0.vf1', 'exerciser0'],
  ['exerciser0', 'nic0.vf0'],
] as const) {
  test(`virtual functions have routes too: ${a} to ${b}`, async () => {
    const { code, stdout, stderr } = await runEmu('p2p', 'explain', VFS, a, b, '--json');
    assert.deepEqual([code, stderr], [0, '']);
    assert.equal(JSON.parse(stdout).mapType, 'BUS_ADDR');
  });
}

test('a scenario makes virtual functions of what the package exports', async () => {
  const { code, stderr } = await runEmu('run', VFS);
  assert.deepEqual([code, stderr], [0, '']);
});
