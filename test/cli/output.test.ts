/**
 * Pieces of the command line's output.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorSite } from '#emu/cli/error-site.ts';
import { describeFailure } from '#emu/cli/failure.ts';
import { ProgressLine } from '#emu/cli/progress-line.ts';
import { formatNumber, formatQuantity } from '#emu/cli/quantity.ts';
import { renderTable } from '#emu/cli/render-table.ts';
import { combineDigests } from '#emu/cli/trace-digest.ts';
import { RecordingTerminal } from '#test/support/recording-terminal.ts';

const quantities: readonly (readonly [value: number | null, unit: string, text: string])[] = [
  [null, 'B/s', '-'],
  [0, 'B', '0 B'],
  [1.5 * 2 ** 20, 'B', '1.50 MiB'],
  [7.384e9, 'B/s', '7.38 GB/s'],
  [0, 'ns', '0 ns'],
  [999.5, 'ns', '999.5 ns'],
  [17_751.2, 'ns', '17.75 us'],
  [3.7e7, 'ns', '37 ms'],
  [2.5e9, 'ns', '2.5 s'],
  [3.704e7, '1/s', '37.04 M/s'],
  [12, '1/s', '12.00 /s'],
  [1_344_479, '', '1,344,479'],
  [0.123_456, '', '0.1235'],
  [3, 'W', '3 W'],
];
for (const [value, unit, text] of quantities) {
  test(`${value} ${unit} is shown as '${text}'`, () => {
    assert.equal(formatQuantity(value, unit), text);
  });
}

test('large fractions lose their fraction only', () => {
  assert.equal(formatNumber(12_345.678), '12,346');
});

test('tables take their columns from the first row', () => {
  const rows = [
    { route: 'switch', rate: 7.38e9, tlps: 229_288 },
    { route: 'root', rate: null, tlps: 5 },
  ];
  const text = renderTable(rows, { rate: 'B/s' });
  for (const part of ['route', '7.38 GB/s', '229,288', ' - ', '│       5 │']) {
    assert.ok(text.includes(part), `'${part}' is missing:\n${text}`);
  }
  assert.equal(renderTable([]), '');
});

test('digests of several machines combine in name order', () => {
  assert.equal(combineDigests({ machine: 'abc' }), 'abc');
  assert.equal(combineDigests({}), '0000000000000000');
  assert.equal(combineDigests({ a: '1', b: '2' }), combineDigests({ b: '2', a: '1' }));
  assert.notEqual(combineDigests({ a: '1', b: '2' }), combineDigests({ a: '2', b: '1' }));
  assert.match(combineDigests({ a: '1', b: '2' }), /^[0-9a-f]{16}$/);
});

test('error sites are found in stacks and causes', () => {
  const error = new Error('outer', { cause: new Error('inner') });
  error.stack = 'Error: outer\n    at run (file:///x/other.ts:1:2)\n    at file:///x/a%20b.ts:3:4';
  if (error.cause instanceof Error) error.cause.stack = 'Error\n    at f (/x/cause.ts:5:6)';
  assert.equal(errorSite(error, '/x/a b.ts'), '/x/a b.ts:3:4');
  assert.equal(errorSite(error, '/x/cause.ts'), '/x/cause.ts:5:6');
  assert.equal(errorSite(error, '/x/none.ts'), null);
  assert.equal(errorSite('text', '/x/none.ts'), null);
});

test('whatever is thrown becomes one line', () => {
  for (const thrown of ['text', undefined, null, 7, { a: 1 }, new Error('a\n\n b')]) {
    const { line, exitCode } = describeFailure(thrown, '/x/scenario.ts');
    assert.equal(exitCode, 3);
    assert.match(line, /^emu: \/x\/scenario\.ts: SCENARIO: [^\n]+$/);
  }
});

test('a progress line appears on a watched terminal only, and goes away', async () => {
  for (const watched of [true, false]) {
    const terminal = new RecordingTerminal(watched);
    const line = new ProgressLine(terminal, () => `working ${'x'.repeat(500)}`);
    line.start();
    await sleep(400);
    line.stop();
    const drawn = terminal.stderr.split('\r\u001b[K');
    assert.equal(drawn.length > 2, watched);
    assert.ok(drawn.every((text) => text.length < terminal.width));
    assert.equal(drawn.at(-1), '');
  }
});
