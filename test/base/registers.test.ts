/**
 * Register blocks: masks, write-one-to-clear, and partial, unaligned and spanning accesses.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RegisterFile, type RegisterSpec } from '#emu/base/registers.ts';

const CAP: RegisterSpec = { name: 'CAP', offset: 0, width: 32, reset: 0x1234_5678 };
const CMD: RegisterSpec = { name: 'CMD', offset: 4, width: 16, reset: 0x0100, writable: 0x0547 };
const STS: RegisterSpec = { name: 'STS', offset: 6, width: 16, reset: 0xf900, w1c: 0xf100 };
const MIX: RegisterSpec = { name: 'MIX', offset: 8, width: 32, writable: 0xffff, w1c: 0xff00_0000 };
const REV: RegisterSpec = { name: 'REV', offset: 13, width: 8, reset: 0x42, writable: 0xff };
const TABLE = [CAP, CMD, STS, MIX, REV];
const SIZE = 20;

function write(file: RegisterFile, offset: number, bytes: readonly number[]): void {
  const data = new DataView(new ArrayBuffer(bytes.length + 3));
  for (const [i, byte] of bytes.entries()) data.setUint8(3 + i, byte);
  file.write(offset, bytes.length, data, 3);
}

function read(file: RegisterFile, offset: number, size: number): number[] {
  const out = new DataView(new ArrayBuffer(size + 2));
  file.read(offset, size, out, 2);
  return Array.from({ length: size }, (_, i) => out.getUint8(2 + i));
}

test('registers start at their reset values and return to them', () => {
  const file = new RegisterFile(SIZE, TABLE);
  assert.equal(file.get(CAP), 0x1234_5678);
  assert.equal(file.get(STS), 0xf900);
  file.set(CAP, 0);
  file.set(REV, 1);
  file.set(STS, 3);
  assert.deepEqual([file.get(CAP), file.get(REV), file.get(STS)], [0, 1, 3]);
  file.reset();
  assert.deepEqual([file.get(CAP), file.get(REV), file.get(STS)], [0x1234_5678, 0x42, 0xf900]);
});

test('writes reach writable bits only, and ones clear where they shall', () => {
  const file = new RegisterFile(SIZE, TABLE);
  write(file, 0, [0xff, 0xff, 0xff, 0xff]);
  assert.equal(file.get(CAP), 0x1234_5678);
  write(file, 4, [0xff, 0xff]);
  assert.equal(file.get(CMD), 0x0547);
  write(file, 6, [0xff, 0x30]);
  assert.equal(file.get(STS), 0xc900);
  file.set(MIX, 0xff00_0000);
  write(file, 8, [0x34, 0x12, 0x56, 0x0f]);
  assert.equal(file.get(MIX), 0xf000_1234);
});

test('one access may span registers and gaps, and each touched register is told once', () => {
  const file = new RegisterFile(SIZE, TABLE);
  const told: [string, number][] = [];
  file.onWrite = (register, previous) => told.push([register.name, previous]);
  write(file, 5, [0x05, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66]);
  assert.deepEqual(told, [
    ['CMD', 0x0100],
    ['STS', 0xf900],
    ['MIX', 0],
    ['REV', 0x42],
  ]);
  assert.equal(file.get(CMD), 0x0500);
  assert.equal(file.get(MIX), 0x2211);
  assert.equal(file.get(REV), 0x66);
});

test('reads span registers, gaps and the end of the block', () => {
  const file = new RegisterFile(SIZE, TABLE);
  assert.deepEqual(read(file, 2, 4), [0x34, 0x12, 0x00, 0x01]);
  assert.deepEqual(read(file, 12, 3), [0, 0x42, 0]);
  assert.deepEqual(read(file, SIZE - 1, 4), [0, 0, 0, 0]);
});

test('writes beyond the block are ignored', () => {
  const file = new RegisterFile(4, [{ ...CAP, writable: 0xffff_ffff }]);
  write(file, 3, [0xaa, 0xbb, 0xcc]);
  assert.deepEqual(read(file, 0, 6), [0x78, 0x56, 0x34, 0xaa, 0, 0]);
  write(file, 40, [1]);
});

test('any access equals its single bytes, in order', () => {
  const access = fc.record({
    offset: fc.nat(SIZE + 2),
    bytes: fc.array(fc.nat(255), { minLength: 1, maxLength: 12 }),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 10 }), (accesses) => {
      const whole = new RegisterFile(SIZE, TABLE);
      const single = new RegisterFile(SIZE, TABLE);
      for (const { offset, bytes } of accesses) {
        write(whole, offset, bytes);
        for (const [i, byte] of bytes.entries()) write(single, offset + i, [byte]);
      }
      assert.deepEqual(read(whole, 0, SIZE), read(single, 0, SIZE));
    }),
  );
});

test('a register that overlaps, is misaligned or does not fit is refused', () => {
  const refused = { code: 'INVARIANT' };
  assert.throws(() => new RegisterFile(SIZE, [CAP, { name: 'X', offset: 3, width: 8 }]), {
    ...refused,
    message: /X overlaps CAP at 0x3/,
  });
  assert.throws(() => new RegisterFile(SIZE, [{ name: 'X', offset: 2, width: 32 }]), refused);
  assert.throws(() => new RegisterFile(6, [{ name: 'X', offset: 4, width: 32 }]), refused);
});
