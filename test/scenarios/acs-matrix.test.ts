/**
 * The acs-matrix scenario: where a bus address leads under every setting, in both fidelities.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesGolden } from '#test/support/golden.ts';
import { column, FIDELITIES, passing, refused } from '#test/support/passing-scenario.ts';

/** By ACS setting in the order of the scenario, for a bus address. */
const BUS = {
  'switch on': 'right UR UR UR right CA UR CA right',
  'switch off': 'right UR UR right right CA right CA right',
  'switches on': 'right UR UR UR right CA UR CA right',
  'switches off': 'right UR UR right right CA right CA right',
  'ports on': 'right UR UR UR right CA UR CA right',
  'ports off': 'right right right right right CA right CA right',
} as const;

for (const fidelity of FIDELITIES) {
  test(`16 KiB under all settings, ${fidelity}`, async () => {
    const result = await passing('acs-matrix', fidelity, 'size=16KiB');
    const bus = column(result, 'matrix', 'bus');
    for (const [i, [what, expected]] of Object.entries(BUS).entries()) {
      assert.equal(bus.slice(9 * i, 9 * i + 9).join(' '), expected, what);
    }
    assert.deepEqual([...new Set(column(result, 'matrix', 'mapped'))].sort(), [
      'CA',
      'UR',
      'right',
    ]);
    matchesGolden(`acs-matrix.${fidelity}`, result);
  });

  test(`a detour crosses the upstream link and faults in the IOMMU, ${fidelity}`, async () => {
    const sets = ['tree=switch', 'acs=RR+CR+UF', 'size=16KiB'];
    const result = await passing('acs-matrix', fidelity, ...sets);
    const links = column(result, 'matrix', 'busLinks').map((names) =>
      String(names).split(' ').sort(),
    );
    assert.deepEqual(links, [
      ['client', 'sw0'],
      ['client', 'provider', 'sw0'],
    ]);
    assert.deepEqual(column(result, 'matrix', 'reason'), ['translation-fault', '']);
  });
}

test('a detour costs rate, and more behind more switches', async () => {
  const result = await passing('acs-matrix', 'timed', 'iommu=off', 'size=64KiB');
  const rates = (result.tables.matrix ?? [])
    .filter(({ acs }) => acs === 'none' || acs === 'RR+CR+UF')
    .map(({ busRate }) => Number(busRate));
  const [straight = 0, detour = 0, far = 0, farDetour = 0] = rates;
  assert.ok(detour < straight && far < straight && farDetour < far, rates.join());
});

test('what does not fit is refused in one line', async () => {
  assert.match(await refused('acs-matrix', 'size=1MiB'), /^emu: size: /);
  assert.match(await refused('acs-matrix', 'acs=XX'), /^emu: acs: expected one of none, RR/);
});
