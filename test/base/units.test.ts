/**
 * Units: exact address arithmetic to 2^52, BDF packing, formatting.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as units from '#emu/base/units.ts';

const address = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 13 }),
  fc.integer({ min: 2 ** 31 - 5000, max: 2 ** 32 + 5000 }),
  fc.integer({ min: 0, max: units.ADDR_LIMIT - 1 }),
);

test('times convert to whole picoseconds', () => {
  assert.equal(units.ns(1.5), 1500);
  assert.equal(units.us(2), 2e6);
  assert.equal(units.ms(0.25), 2.5e8);
  assert.equal(units.ns(0.0004), 0);
  assert.equal(units.picos(7), 7);
});

test('page and step arithmetic is exact for every address', () => {
  fc.assert(
    fc.property(address, fc.integer({ min: 0, max: 40 }), (at, bits) => {
      const exact = BigInt(at);
      assert.equal(BigInt(units.pageOffset(at)), exact % 4096n);
      assert.equal(BigInt(units.pageBase(at)), exact - (exact % 4096n));
      const step = 1n << BigInt(bits);
      assert.equal(BigInt(units.alignDown(at, 2 ** bits)), (exact / step) * step);
      assert.equal(BigInt(units.alignUp(at, 2 ** bits)), ((exact + step - 1n) / step) * step);
      assert.equal(units.offsetBy(at, 5), at + 5);
    }),
  );
});

test('halves of 64-bit values split and join', () => {
  fc.assert(
    fc.property(address, (at) => {
      assert.equal(units.u64(units.lo32(at), units.hi32(at)), at);
      assert.ok(units.lo32(at) >= 0 && units.lo32(at) < 2 ** 32);
      assert.equal(units.u64(units.lo32(at) | 0, units.hi32(at) | 0), at);
    }),
  );
  assert.equal(units.u64(0, 0x8000_0000), 2 ** 63);
});

test('a BDF packs, unpacks, and prints as lspci does', () => {
  const parts = fc.tuple(fc.nat(255), fc.nat(31), fc.nat(7));
  fc.assert(
    fc.property(parts, ([bus, device, fn]) => {
      const id = units.bdf(bus, device, fn);
      assert.deepEqual(
        [units.bdfBus(id), units.bdfDevice(id), units.bdfFunction(id)],
        [bus, device, fn],
      );
      assert.equal(units.bdfFromId(0x7_0000 + id), id);
    }),
  );
  assert.equal(units.formatBdf(units.bdf(0x0a, 0x1f, 7)), '0a:1f.7');
});

test('brands cost nothing and hex is lower case', () => {
  assert.equal(units.physAddr(5), 5);
  assert.equal(units.dmaAddr(6), 6);
  assert.equal(units.hex(2 ** 40 + 0xab), '0x100000000ab');
  assert.equal(units.hex(0xab, 4), '0x00ab');
});
