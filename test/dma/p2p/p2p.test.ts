/**
 * Map types and distances over topologies written down: every row of the decision.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bdf, bdf } from '#emu/base/units.ts';
import { MapType } from '#emu/dma/mapping.ts';
import { mapType } from '#emu/dma/p2p/p2p.ts';
import { type FakeFunction, FakeView } from '#test/support/dma-rig.ts';

const SV = 0x01;
const TB = 0x02;
const RR = 0x04;
const CR = 0x08;
const UF = 0x10;
const EC = 0x20;
const DT = 0x40;

const ROOT = bdf(0, 1, 0);
const UP = bdf(1, 0, 0);
const DOWN_A = bdf(2, 0, 0);
const DOWN_B = bdf(2, 1, 0);
const A = bdf(3, 0, 0);
const A1 = bdf(3, 0, 1);
const B = bdf(4, 0, 0);
const OTHER_ROOT = bdf(0, 2, 0);
const C = bdf(9, 0, 0);
/** A second switch below port B's switch. */
const DEEP_UP = bdf(5, 0, 0);
const DEEP_DOWN = bdf(6, 0, 0);
const D = bdf(7, 0, 0);
const DOWN_C = bdf(2, 2, 0);

/** Two switch levels and a second root port; ACS Control of functions by number. */
function view(acs: readonly (readonly [Bdf, number])[] = []): FakeView {
  const plain: FakeFunction[] = [
    { bdf: ROOT },
    { bdf: UP, parent: ROOT },
    { bdf: DOWN_A, parent: UP },
    { bdf: DOWN_B, parent: UP },
    { bdf: DOWN_C, parent: UP },
    { bdf: A, parent: DOWN_A },
    { bdf: A1, parent: DOWN_A },
    { bdf: B, parent: DOWN_B },
    { bdf: DEEP_UP, parent: DOWN_C },
    { bdf: DEEP_DOWN, parent: DEEP_UP },
    { bdf: D, parent: DEEP_DOWN },
    { bdf: OTHER_ROOT },
    { bdf: C, parent: OTHER_ROOT },
  ];
  const control = new Map(acs);
  return new FakeView(
    plain.map((fn) => {
      const bits = control.get(fn.bdf);
      return bits === undefined ? fn : { ...fn, acs: bits };
    }),
  );
}

const BUS = MapType.BusAddress;
const THROUGH = MapType.ThruHostBridge;
const NO = MapType.NotSupported;

for (const [name, provider, client, distance, type] of [
  ['the same function', A, A, 0, BUS],
  ['two functions of a device', A, A1, 2, BUS],
  ['one switch', A, B, 4, BUS],
  ['one switch, the other way', B, A, 4, BUS],
  ['a switch level more', A, D, 6, BUS],
  ['own root ports', C, A, 6, NO],
  ['own root ports, the other way', A, C, 6, NO],
] as const) {
  test(`without ACS: ${name}`, () => {
    assert.deepEqual(mapType(view(), provider, client, false), { type, distance, acsRedirect: [] });
  });
}

test('two endpoints directly below own root ports are 4 apart', () => {
  const simple = new FakeView([
    { bdf: ROOT },
    { bdf: OTHER_ROOT },
    { bdf: A, parent: ROOT },
    { bdf: C, parent: OTHER_ROOT },
  ]);
  assert.deepEqual(mapType(simple, A, C, true), { type: THROUGH, distance: 4, acsRedirect: [] });
});

for (const [bits, redirects] of [
  [RR, true],
  [CR, true],
  [EC, true],
  [RR | CR | EC, true],
  [SV | RR | CR | UF, true],
  [SV, false],
  [TB, false],
  [UF, false],
  [DT, false],
  [0, false],
] as const) {
  test(`ACS control ${bits} on a port ${redirects ? 'redirects' : 'does not count'}`, () => {
    for (const port of [DOWN_A, DOWN_B]) {
      for (const allowed of [true, false]) {
        const route = mapType(view([[port, bits]]), A, B, allowed);
        const through = allowed ? THROUGH : NO;
        assert.equal(route.type, redirects ? through : BUS);
        assert.deepEqual(route.acsRedirect, redirects ? [port] : []);
        assert.equal(route.distance, 4);
      }
    }
  });
}

test('redirects count on the provider, on every bridge up to the common one, and on the client', () => {
  const chain: [Bdf, boolean][] = [
    [A, true],
    [DOWN_A, true],
    [UP, true],
    [ROOT, false],
    [DOWN_C, true],
    [DEEP_UP, true],
    [DEEP_DOWN, true],
    [D, true],
    [DOWN_B, false],
  ];
  for (const [at, counts] of chain) {
    const route = mapType(view([[at, RR]]), A, D, true);
    assert.equal(route.type, counts ? THROUGH : BUS, at.toString(16));
  }
  const all = view(chain.map(([at]) => [at, RR]));
  const expected = [A, DOWN_A, UP, D, DEEP_DOWN, DEEP_UP, DOWN_C];
  assert.deepEqual(mapType(all, A, D, true).acsRedirect, expected);
});

test('without a common bridge ACS does not matter', () => {
  const route = mapType(view([[DOWN_A, RR]]), A, C, true);
  assert.deepEqual(route, { type: THROUGH, distance: 6, acsRedirect: [] });
});

test('a function that is not in the view is not supported', () => {
  const unknown = bdf(200, 0, 0);
  for (const [provider, client] of [
    [unknown, A],
    [A, unknown],
  ] as const) {
    assert.deepEqual(mapType(view(), provider, client, true), {
      type: NO,
      distance: -1,
      acsRedirect: [],
    });
  }
});

test('a view with a circle of parents ends', () => {
  const circle = new FakeView([
    { bdf: A, parent: B },
    { bdf: B, parent: A },
  ]);
  assert.equal(mapType(circle, A, B, false).distance, 1);
});
