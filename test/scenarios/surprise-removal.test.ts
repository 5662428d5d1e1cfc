/**
 * The surprise-removal scenario: who is told what when a busy card is pulled, and that the next one works.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesGolden } from '#test/support/golden.ts';
import { column, FIDELITIES, passing, refused } from '#test/support/passing-scenario.ts';

for (const fidelity of FIDELITIES) {
  test(`both slots, ${fidelity}`, async () => {
    const result = await passing('surprise-removal', fidelity);
    assert.equal(result.tables.transfers?.length, 6);
    matchesGolden(`surprise-removal.${fidelity}`, result);
  });
}

test('pulled early or late, on slow and fast links', async () => {
  for (const sets of [
    ['after=5000'],
    ['after=5000', 'gen=5', 'width=16'],
    ['after=200000', 'gen=1', 'width=1'],
    ['size=1MiB', 'after=50000'],
  ]) {
    const result = await passing('surprise-removal', 'timed', 'slot=orderly', ...sets);
    const arrived = column(result, 'transfers', 'arrived').map(Number);
    assert.equal(arrived.length, 3, sets.join(' '));
  }
});

test('what does not fit is refused in one line', async () => {
  assert.match(await refused('surprise-removal', 'after=0'), /^emu: after: /);
});
