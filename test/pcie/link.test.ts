/** Serialisation times against the closed forms, row by row. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CreditReturns } from '#emu/pcie/link/credit-returns.ts';
import { checkLink, psPerByte, serialisationTable } from '#emu/pcie/link/link.ts';
import { FlowClass, Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';

const csv = readFileSync(new URL('../fixtures/timing-closed-form.csv', import.meta.url), 'utf8');
const rows = csv
  .trim()
  .split('\n')
  .slice(1)
  .map((line) => line.split(','));
const GEN1_TO_5 = /^gen([1-5])$/;

test('every row of generations 1 to 5: wire bytes and serialisation time', () => {
  let seen = 0;
  for (const [gen, width, kind, payload, , wire, , , , , serialisation] of rows) {
    const generation = Number(GEN1_TO_5.exec(gen ?? '')?.[1]);
    if (!generation) continue;
    const tlp = new Tlp(0);
    tlp.kind = TlpKind.MWr;
    tlp.address = kind?.includes('64') ? 2 ** 32 : 4096;
    tlp.sizeBytes = Number(payload);
    tlp.seal();
    assert.equal(tlp.wireBytes, Number(wire), `${gen} ${width} ${kind} ${payload}`);
    const link = { gen: generation as 1, width: Number(width?.slice(1)) as 1 };
    const ns = serialisationTable(link)[tlp.wireBytes / 4]! / 1000;
    const expected = Number(serialisation);
    assert.ok(
      Math.abs(ns - expected) <= Math.max(0.0006, expected * 1e-4),
      `${gen} ${width} ${payload}: ${ns} for ${expected}`,
    );
    seen++;
  }
  assert.ok(seen > 100, `only ${seen} rows`);
});

test('a byte takes 1000 ps on four lanes of generation 1, 15.87 ps on sixteen of generation 5', () => {
  assert.equal(psPerByte({ gen: 1, width: 4 }), 1000);
  assert.ok(Math.abs(psPerByte({ gen: 5, width: 16 }) - 15.869) < 0.001);
});

test('links that do not exist are refused with what was expected and got', () => {
  const refuse = (link: object, text: RegExp) =>
    assert.throws(() => checkLink(link as { gen: 1; width: 1 }, 'port0'), {
      code: 'USAGE',
      message: text,
    });
  refuse({ gen: 4, width: 3 }, /port0: link width must be one of 1, 2, 4, 8, 16; got 3/);
  refuse({ gen: 7, width: 4 }, /link gen must be one of 1, 2, 3, 4, 5, 6; got 7/);
  refuse({ gen: 4, width: 4, propagationPs: -1 }, /propagationPs.*got -1/);
  checkLink({ gen: 5, width: 16 }, 'port0');
});

test('credits come back in order however many are on their way, and infinite ones stay so', () => {
  const clock = Float64Array.of(0);
  const returns = new CreditReturns(clock);
  const headers = Float64Array.of(0, 0, Number.MAX_SAFE_INTEGER);
  const data = Float64Array.of(0, 0, Number.MAX_SAFE_INTEGER);
  const push = (count: number): void => {
    for (let i = 0; i < count; i++) returns.push(100 + i, FlowClass.NonPosted, i);
  };
  const sumTo = (count: number): number => (count * (count - 1)) / 2;
  // The ring has turned before it has to grow.
  push(40);
  clock[0] = 139;
  returns.collect(headers, data);
  assert.deepEqual([...headers], [0, 40, Number.MAX_SAFE_INTEGER]);
  push(300);
  assert.equal(returns.nextDelayPs, 100);
  assert.deepEqual([returns.headersDue(1), returns.dataDue(1)], [300, sumTo(300)]);
  assert.deepEqual([returns.headersDue(2), returns.dataDue(2)], [0, 0]);
  clock[0] = 139 + 100 + 49;
  returns.collect(headers, data);
  assert.deepEqual([headers[1], data[1]], [40 + 50, sumTo(40) + sumTo(50)]);
  returns.push(1000, FlowClass.Completion, 5);
  clock[0] = 2000;
  returns.collect(headers, data);
  assert.deepEqual([...headers], [0, 340, Number.MAX_SAFE_INTEGER]);
  assert.deepEqual([...data], [0, sumTo(40) + sumTo(300), Number.MAX_SAFE_INTEGER]);
  assert.equal(returns.nextDelayPs, -1);
});
