/**
 * The mps-sweep scenario: rates against the closed form for several links.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesGolden } from '#test/support/golden.ts';
import { column, FIDELITIES, passing, refused } from '#test/support/passing-scenario.ts';

for (const fidelity of FIDELITIES) {
  test(`MPS 256 with all requests and pieces, ${fidelity}`, async () => {
    const result = await passing('mps-sweep', fidelity, 'mps=256', 'size=64KiB', 'tolerance=2');
    assert.equal(result.tables.sweep?.length, 9);
    matchesGolden(`mps-sweep.${fidelity}`, result);
  });
}

test('slow, fast and flit-mode links keep to the formula', async () => {
  for (const sets of [
    ['gen=1', 'width=1'],
    ['gen=3', 'width=16'],
    ['gen=5', 'width=8'],
  ]) {
    const result = await passing('mps-sweep', 'timed', 'mps=512', 'size=256KiB', ...sets);
    assert.ok(column(result, 'sweep', 'limit').includes('completions'), sets.join(' '));
  }
});

test('few tags limit the rate to what is in flight over the round trip', async () => {
  const sets = ['gen=5', 'width=16', 'tags=32', 'mps=256', 'mrrs=128', 'rcb=128', 'tolerance=5'];
  const result = await passing('mps-sweep', 'timed', ...sets);
  assert.deepEqual(column(result, 'sweep', 'limit'), ['tags']);
});

test('what does not fit is refused in one line', async () => {
  assert.match(await refused('mps-sweep', 'mps=64'), /^emu: mps: expected one of 128, 256/);
  assert.match(await refused('mps-sweep', 'size=1KiB'), /^emu: size: /);
});
