/**
 * The credit-starvation scenario: rates of small buffers against the formula, and who starves.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesGolden } from '#test/support/golden.ts';
import { column, FIDELITIES, passing, refused } from '#test/support/passing-scenario.ts';

for (const fidelity of FIDELITIES) {
  test(`128 KiB through every window, ${fidelity}`, async () => {
    const result = await passing('credit-starvation', fidelity, 'size=128KiB');
    assert.equal(result.tables.windows?.length, 18);
    matchesGolden(`credit-starvation.${fidelity}`, result);
  });
}

test('long links need more credits, and the formula says how many', async () => {
  for (const sets of [['flight=1000'], ['gen=1', 'width=1'], ['gen=5', 'width=16']]) {
    const { metrics } = await passing('credit-starvation', 'timed', ...sets);
    assert.ok(Number(metrics.worstError?.value) < 2, sets.join(' '));
  }
});

test('twice the credits give twice the rate until the link is full', async () => {
  const result = await passing('credit-starvation', 'timed', 'flight=1000');
  const rates = column(result, 'windows', 'rate').map(Number);
  for (const first of [0, 6, 12]) {
    const [one = 0, two = 0, four = 0] = rates.slice(first);
    assert.ok(Math.abs(two / one - 2) < 0.05 && Math.abs(four / two - 2) < 0.05, rates.join());
  }
});

test('what does not fit is refused in one line', async () => {
  assert.match(await refused('credit-starvation', 'flight=0'), /^emu: flight: /);
});
