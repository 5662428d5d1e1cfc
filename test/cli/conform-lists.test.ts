/**
 * `emu conform lists`: the golden vectors pass, wrong expectations are told, bad files get one line.
 * @module
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { conformList } from '#emu/cli/conform/list-conformance.ts';
import { listVectors } from '#emu/cli/conform/list-vectors.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { repositoryRoot } from '#test/support/source-files.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';

const GOLDEN = join(repositoryRoot, 'test/fixtures/lists-golden.json');
const HOST = { kind: 'host', addr: 4096, len: 4096 } as const;
const ONE = {
  id: 1,
  in: [HOST],
  expect: { iovaBytes: 4096, ranges: [{ iovaOffset: 0, len: 4096 }] },
};

function conformFile(context: TestContext, content: unknown, ...options: readonly string[]) {
  const file = join(temporaryFolder(context), 'vectors.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return runEmu('conform', 'lists', file, ...options);
}

test('the seven golden vectors pass', async () => {
  const { code, stdout, stderr } = await runEmu('conform', 'lists', GOLDEN, '--json');
  assert.deepEqual([code, stderr], [0, '']);
  const { schema, kind, ok, vectors } = JSON.parse(stdout);
  assert.deepEqual([schema, kind, ok, vectors.length], [1, 'lists', true, 7]);
});

test('people see a line a vector', async () => {
  const { code, stdout } = await runEmu('conform', 'lists', GOLDEN);
  assert.equal(code, 0);
  assert.match(stdout, /2 mixed.*\{I\+0, 4096\} \{0x4000000000, 65536, BUS\} \{I\+4096, 4096\}/);
  assert.match(stdout, /passed: 7 vectors/);
});

test('every golden expectation is compared: none passes when changed', () => {
  const { vectors } = JSON.parse(readFileSync(GOLDEN, 'utf8'));
  for (const vector of listVectors({ vectors })) {
    const { expect } = vector;
    const others =
      'error' in expect
        ? [{ error: 'ENOMEM' }, { iovaBytes: 0, ranges: [] }]
        : [
            { ...expect, iovaBytes: expect.iovaBytes + 4096 },
            { ...expect, ranges: expect.ranges.slice(1) },
            { ...expect, ranges: expect.ranges.map((each) => ({ ...each, len: each.len + 1 })) },
            { error: 'EREMOTEIO' },
          ];
    for (const other of others) {
      assert.equal(conformList({ ...vector, expect: other }).ok, false, vector.id);
    }
  }
});

test('a mismatch exits 1 and says expected and got', async (context) => {
  const wrong = { ...ONE, expect: { error: 'EREMOTEIO' } };
  const { code, stdout, stderr } = await conformFile(context, { vectors: [ONE, wrong] });
  assert.deepEqual([code, stderr], [1, '']);
  assert.match(stdout, /expected EREMOTEIO\n\s+got {6}\{I\+0, 4096\}; 4096 bytes/);
  assert.match(stdout, /FAILED: 1 of 2 vectors/);
});

test('granule, boundary mask and longest segment are obeyed', () => {
  const two = (overrides: object) =>
    conformList(
      listVectors({
        vectors: [
          {
            ...ONE,
            in: [HOST, { kind: 'host', addr: '0x100000', len: 65536 }],
            expect: { error: 'EIO' },
            ...overrides,
          },
        ],
      })[0]!,
    ).got;
  const whole = { iovaBytes: 69632, ranges: [{ bus: false, iovaOffset: 0, len: 69632 }] };
  assert.deepEqual(two({}), whole);
  const apart = [
    { bus: false, iovaOffset: 0, len: 4096 },
    { bus: false, iovaOffset: 4096, len: 65536 },
  ];
  assert.deepEqual(two({ maxSegment: 65536 }), { iovaBytes: 69632, ranges: apart });
  const padded = [apart[0], { bus: false, iovaOffset: 65536, len: 65536 }];
  assert.deepEqual(two({ boundaryMask: '0xffff' }), { iovaBytes: 131072, ranges: padded });
  const coarse = [
    { bus: false, iovaOffset: 4096, len: 4096 },
    { bus: false, iovaOffset: 65536, len: 65536 },
  ];
  assert.deepEqual(two({ granule: 65536 }), { iovaBytes: 131072, ranges: coarse });
});

test('lengths beyond 32 bits are one range in a file, for each kind of address', () => {
  const len = 8 * 2 ** 30 + 4096;
  for (const kind of ['host', 'bus', 'bridge']) {
    const range = kind === 'bus' ? { bus: true, addr: 2 ** 40, len } : { iovaOffset: 0, len };
    const vectors = listVectors({
      vectors: [
        {
          id: kind,
          boundaryMask: 2 ** 40 - 1,
          in: [{ kind, addr: 2 ** 40, len }],
          expect: { iovaBytes: kind === 'bus' ? 0 : len, ranges: [range] },
        },
      ],
    });
    const result = conformList(vectors[0]!);
    assert.ok(result.ok, JSON.stringify(result));
  }
});

const BAD: readonly (readonly [content: unknown, complaint: RegExp])[] = [
  ['{"vectors":', /vectors\.json: expected JSON/],
  [[], /the file: expected an object, got \[\]/],
  [{}, /vectors: expected an array, got nothing/],
  [{ vectors: [] }, /at least one vector/],
  [
    { vectors: [{ ...ONE, id: null }] },
    /vectors\[0\]\.id: expected a string or a number, got null/,
  ],
  [{ vectors: [{ ...ONE, granule: 5000 }] }, /granule: expected a power of two from 4096/],
  [{ vectors: [{ ...ONE, boundaryMask: 0xfffe }] }, /boundaryMask plus 1: expected a power of two/],
  [{ vectors: [{ ...ONE, maxSegment: 0 }] }, /maxSegment: expected a positive number/],
  [
    { vectors: [{ ...ONE, in: [{ ...HOST, kind: 'dram' }] }] },
    /in\[0\]\.kind: expected one of host/,
  ],
  [{ vectors: [{ ...ONE, in: [{ ...HOST, len: 0 }] }] }, /in\[0\]\.len: expected a positive/],
  [
    { vectors: [{ ...ONE, in: [{ ...HOST, addr: -1 }] }] },
    /in\[0\]\.addr: expected a non-negative/,
  ],
  [{ vectors: [{ ...ONE, in: [{ ...HOST, addr: 2 ** 52 }] }] }, /addr: expected an end of at most/],
  [{ vectors: [{ ...ONE, granul: 4096 }] }, /vectors\[0\]: expected only id, .*, got "granul"/],
  [{ vectors: [{ ...ONE, expect: { error: 'EFOO' } }] }, /error: expected one of .*got "EFOO"/],
  [{ vectors: [{ ...ONE, expect: 3 }] }, /expect: expected an object, got 3/],
  [{ vectors: [{ ...ONE, expect: { error: 5 } }] }, /error: expected one of EREMOTEIO, /],
  [{ vectors: [{ ...ONE, expect: { iovaBytes: 0 } }] }, /ranges: expected an array, got nothing/],
  [
    { vectors: [{ ...ONE, expect: { iovaBytes: 0, ranges: [{ bus: 1, len: 1 }] } }] },
    /ranges\[0\]\.bus: expected a boolean, got 1/,
  ],
];
for (const [content, complaint] of BAD) {
  test(`a bad file gets one line: ${complaint.source}`, async (context) => {
    const { code, stdout, stderr } = await conformFile(context, content, '--json');
    assert.equal(code, 2);
    assert.match(stderr, complaint);
    assert.equal(stderr.trim().split('\n').length, 1);
    const { ok, error } = JSON.parse(stdout);
    assert.deepEqual([ok, error.code], [false, 'USAGE']);
  });
}

const COMMANDS: readonly (readonly [args: readonly string[], complaint: RegExp])[] = [
  [[], /conform: expected a kind and a file/],
  [['lists'], /conform lists: expected a file/],
  [['list', 'x'], /got 'list', did you mean 'lists'/],
  [['lists', 'none.json'], /none\.json: expected a readable file of vectors, got ENOENT/],
];
for (const [args, complaint] of COMMANDS) {
  test(`emu conform ${args.join(' ')} is refused`, async () => {
    const { code, stderr } = await runEmu('conform', ...args);
    assert.equal(code, 2);
    assert.match(stderr, complaint);
  });
}
