/**
 * What a scenario reports; every check is made to fire.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Recorder } from '#emu/scenario/recorder.ts';
import { throwsCode } from '#test/support/usage-error.ts';

test('checks record both outcomes with what was expected and got', () => {
  const { check, checks } = new Recorder();
  const outcomes = [
    check.ok('fine', true),
    check.ok('bad', false, 'because'),
    check.equal('same', 'a', 'a'),
    check.equal('other', 1, 2),
    check.atMost('low', 1, 2),
    check.atMost('high', 3, 2),
    check.atMost('none', Number.NaN, 2),
    check.atLeast('enough', 2, 2),
    check.atLeast('short', 1, 2),
  ];
  assert.deepEqual(outcomes, [true, false, true, false, true, false, false, true, false]);
  assert.deepEqual(
    checks.map((entry) => entry.ok),
    outcomes,
  );
  assert.equal(checks[1]?.detail, 'because');
  assert.equal(checks[2]?.detail, "'a'");
  assert.equal(checks[3]?.detail, 'expected 2, got 1');
  assert.equal(checks[5]?.detail, 'expected at most 2, got 3');
});

test('byte checks name the first difference', () => {
  const { check, checks } = new Recorder();
  assert.ok(check.bytes('same', Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  assert.ok(!check.bytes('other', Uint8Array.of(1, 9), Uint8Array.of(1, 2)));
  assert.ok(!check.bytes('short', Uint8Array.of(1), Uint8Array.of(1, 2)));
  assert.deepEqual(
    checks.map((entry) => entry.detail),
    ['2 bytes', 'byte 0x1: expected 0x02, got 0x09', 'expected 2 bytes, got 1'],
  );
});

test('metrics and tables are kept by name', () => {
  const recorder = new Recorder();
  recorder.metric('rate', 12.5, 'B/s');
  recorder.metric('tlps', null, '');
  recorder.table('routes', [{ route: 'switch', rate: 1 }], { rate: 'B/s' });
  assert.deepEqual(recorder.metrics, {
    rate: { value: 12.5, unit: 'B/s' },
    tlps: { value: null, unit: '' },
  });
  assert.deepEqual(recorder.tables, { routes: [{ route: 'switch', rate: 1 }] });
  assert.deepEqual(recorder.unitsOf('routes'), { rate: 'B/s' });
});

test('names are used once and values are finite', () => {
  const recorder = new Recorder();
  recorder.metric('rate', 1, '');
  recorder.table('t', []);
  throwsCode('SCENARIO', /metric 'rate' is given twice/, () => recorder.metric('rate', 1, ''));
  throwsCode('SCENARIO', /table 't' is given twice/, () => recorder.table('t', []));
  throwsCode('SCENARIO', /finite number, got NaN/, () => recorder.metric('x', Number.NaN, ''));
});
