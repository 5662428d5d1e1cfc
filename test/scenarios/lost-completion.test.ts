/**
 * The lost-completion scenario: timeout, quarantine and the wrong bytes without it.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesGolden } from '#test/support/golden.ts';
import { column, FIDELITIES, passing, refused } from '#test/support/passing-scenario.ts';

for (const fidelity of FIDELITIES) {
  test(`all cases, ${fidelity}`, async () => {
    matchesGolden(`lost-completion.${fidelity}`, await passing('lost-completion', fidelity));
  });
}

test('without quarantine the second read gets the bytes of the first, whenever they come in its time', async () => {
  for (const hit of [2, 30, 98]) {
    const result = await passing('lost-completion', 'timed', `hit=${hit}`, 'size=64');
    const bytes = column(result, 'cases', 'secondBytes');
    assert.deepEqual(bytes, ['right', 'right', 'right', "the first read's"], `hit ${hit}`);
  }
});

test('one case alone', async () => {
  const result = await passing('lost-completion', 'timed', 'case=lost', 'size=4');
  assert.deepEqual(column(result, 'cases', 'first'), ['Timeout']);
  assert.deepEqual(column(result, 'cases', 'waited'), [50e6]);
});

test('what does not fit is refused in one line', async () => {
  assert.match(await refused('lost-completion', 'size=512'), /^emu: size: /);
});
