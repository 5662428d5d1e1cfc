/**
 * Scenario parameters: values, defaults, and what is said of wrong ones.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { param } from '#emu/scenario/param.ts';
import { readParams } from '#emu/scenario/param-values.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const params = {
  size: param.bytes('64MiB', 'bytes to move', { min: 1, max: '1GiB' }),
  depth: param.int(32, 'queue depth', { min: 1, max: 1024 }),
  ratio: param.number(0.5, 'ratio', { max: 1 }),
  route: param.choice(['switch', 'root', 'all'], 'all', 'routes'),
  label: param.string('', 'label'),
  strict: param.flag(false, 'strict'),
  input: param.file('input file'),
};

test('defaults stand where nothing is assigned', () => {
  assert.deepEqual(readParams(params, []), {
    size: 64 * 2 ** 20,
    depth: 32,
    ratio: 0.5,
    route: 'all',
    label: '',
    strict: false,
    input: null,
  });
});

test('assignments are parsed by kind, the last one of a key counts', () => {
  const texts = ['size=1k', 'depth=7', 'ratio=-1e-3', 'route=root', 'label=a=b', 'strict=true'];
  const values = readParams(params, [...texts, 'input=./x y', 'depth=8']);
  assert.deepEqual(values, {
    size: 1024,
    depth: 8,
    ratio: -0.001,
    route: 'root',
    label: 'a=b',
    strict: true,
    input: './x y',
  });
});

const refused: readonly (readonly [assignment: string, message: RegExp])[] = [
  ['size', /--set size: expected key=value, got 'size'/],
  ['=3', /expected key=value/],
  ['sise=1', /sise: no such parameter, did you mean 'size'\?.*size, depth, ratio/],
  ['toString=1', /toString: no such parameter/],
  ['size=lots', /size: expected a size from 1B to 1GiB, such as .*, got 'lots'/],
  ['size=0', /got '0'/],
  ['size=2GiB', /got '2GiB'/],
  ['depth=0', /depth: expected a whole number from 1 to 1024, got '0'/],
  ['depth=1.5', /got '1.5'/],
  ['depth=', /got ''/],
  ['ratio=2', /ratio: expected a number of at most 1, got '2'/],
  ['ratio=NaN', /got 'NaN'/],
  ['route=Root', /route: expected one of switch, root, all, got 'Root'/],
  ['strict=yes', /strict: expected true or false, got 'yes'/],
  ['input=', /input: expected the path of a file, got ''/],
];
for (const [assignment, message] of refused) {
  test(`--set ${assignment} is refused`, () => {
    throwsCode('USAGE', message, () => readParams(params, [assignment]));
  });
}

test('a parameter must accept its own default', () => {
  throwsCode('SCENARIO', /expected a size/, () => param.bytes('many', 'size'));
  throwsCode('SCENARIO', /from 1 to 4/, () => param.int(5, 'depth', { min: 1, max: 4 }));
  throwsCode('SCENARIO', /a number/, () => param.number(Number.NaN, 'ratio'));
});

test('formatted values parse to themselves', () => {
  assert.equal(params.size.parse(params.size.format(12_345)), 12_345);
  assert.equal(params.route.parse(params.route.format('root')), 'root');
});
