/** Byte enables against the completion table of the specification and against plain enumeration. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type ByteRun,
  byteCount,
  byteEnablesValid,
  byteRuns,
  firstByteEnables,
  lastByteEnables,
  lengthDw,
  lowerAddress,
} from '#emu/pcie/tlp/byte-enables.ts';

const range = fc.record({
  address: fc.integer({ min: 0, max: 2 ** 40 }),
  size: fc.integer({ min: 1, max: 4096 }),
});

/** Offsets of the enabled bytes, one by one. */
function enabled(dwords: number, first: number, last: number): number[] {
  const bytes: number[] = [];
  for (let dw = 0; dw < dwords; dw++) {
    const enables = dw === 0 ? first : dw === dwords - 1 ? last : 0xf;
    for (let i = 0; i < 4; i++) if ((enables >> i) & 1) bytes.push(4 * dw + i);
  }
  return bytes;
}

describe('a contiguous range', () => {
  it('enables exactly its bytes and is legal', () => {
    fc.assert(
      fc.property(range, ({ address, size }) => {
        const dwords = lengthDw(address, size);
        const first = firstByteEnables(address, size);
        const last = lastByteEnables(address, size);
        const expected = Array.from({ length: size }, (_, i) => (address & 3) + i);
        assert.deepEqual(enabled(dwords, first, last), expected);
        assert.ok(byteEnablesValid(address - (address & 3), dwords, first, last));
        assert.deepEqual(byteRuns(dwords, first, last), [{ offset: address & 3, sizeBytes: size }]);
        assert.equal(byteCount(dwords, first, last), size);
        assert.equal(lowerAddress(address - (address & 3), first), address % 128);
      }),
    );
  });

  it('of no bytes names one DW and enables nothing', () => {
    for (const address of [0x1000, 0x1003]) {
      assert.equal(lengthDw(address, 0), 1);
      assert.equal(firstByteEnables(address, 0), 0);
      assert.equal(lastByteEnables(address, 0), 0);
    }
    assert.ok(byteEnablesValid(0x1000, 1, 0, 0));
    assert.deepEqual(byteRuns(1, 0, 0), []);
    assert.equal(byteCount(1, 0, 0), 1);
    assert.equal(lowerAddress(0x107c, 0), 0x7c);
  });
});

describe('every pair of masks', () => {
  const masks = Array.from({ length: 16 }, (_, i) => i);
  const triples = [1, 2, 3, 7].flatMap((dwords) =>
    masks.flatMap((first) => masks.map((last) => [dwords, first, last] as const)),
  );
  const offsets = ({ offset, sizeBytes }: ByteRun): number[] =>
    Array.from({ length: sizeBytes }, (_, i) => offset + i);
  const end = (run: ByteRun | undefined): number => (run ? run.offset + run.sizeBytes : 0);

  it('has runs that cover the enabled bytes and a count from first to last', () => {
    let legal = 0;
    for (const [dwords, first, last] of triples) {
      if (!byteEnablesValid(0x2000, dwords, first, last)) continue;
      legal++;
      const bytes = enabled(dwords, first, last);
      const runs = byteRuns(dwords, first, last);
      assert.deepEqual(runs.flatMap(offsets), bytes);
      assert.ok(runs.every(({ offset }, i) => i === 0 || offset > end(runs[i - 1])));
      const from = bytes[0] ?? 0;
      assert.equal(byteCount(dwords, first, last), (bytes.at(-1) ?? 0) - from + 1);
      assert.equal(lowerAddress(0x2040, first), 0x40 + from);
    }
    assert.equal(legal, 16 + 15 * 15 + 2 * 4 * 4);
  });

  it('is legal as the rules say', () => {
    const ends = new Set([0xf, 0xe, 0xc, 0x8]);
    const starts = new Set([0xf, 0x7, 0x3, 0x1]);
    for (const first of masks) {
      for (const last of masks) {
        const contiguous = ends.has(first) && starts.has(last);
        const both = first !== 0 && last !== 0;
        assert.equal(byteEnablesValid(0x1000, 1, first, last), last === 0);
        assert.equal(byteEnablesValid(0x1000, 2, first, last), both);
        assert.equal(byteEnablesValid(0x1004, 2, first, last), contiguous);
        assert.equal(byteEnablesValid(0x1000, 3, first, last), contiguous);
        assert.equal(byteEnablesValid(0x1004, 1024, first, last), contiguous);
      }
    }
  });
});

describe('the completion table', () => {
  // First enables, last enables, byte count of a request of `dwords`; x bits are tried both ways.
  const rows: readonly (readonly [first: string, last: string, count: (dw: number) => number])[] = [
    ['1xx1', '0000', () => 4],
    ['01x1', '0000', () => 3],
    ['1x10', '0000', () => 3],
    ['0011', '0000', () => 2],
    ['0110', '0000', () => 2],
    ['1100', '0000', () => 2],
    ['0001', '0000', () => 1],
    ['0010', '0000', () => 1],
    ['0100', '0000', () => 1],
    ['1000', '0000', () => 1],
    ['0000', '0000', () => 1],
    ['xxx1', '1xxx', (dw) => 4 * dw],
    ['xxx1', '01xx', (dw) => 4 * dw - 1],
    ['xxx1', '001x', (dw) => 4 * dw - 2],
    ['xxx1', '0001', (dw) => 4 * dw - 3],
    ['xx10', '1xxx', (dw) => 4 * dw - 1],
    ['xx10', '01xx', (dw) => 4 * dw - 2],
    ['xx10', '001x', (dw) => 4 * dw - 3],
    ['xx10', '0001', (dw) => 4 * dw - 4],
    ['x100', '1xxx', (dw) => 4 * dw - 2],
    ['x100', '01xx', (dw) => 4 * dw - 3],
    ['x100', '001x', (dw) => 4 * dw - 4],
    ['x100', '0001', (dw) => 4 * dw - 5],
    ['1000', '1xxx', (dw) => 4 * dw - 3],
    ['1000', '01xx', (dw) => 4 * dw - 4],
    ['1000', '001x', (dw) => 4 * dw - 5],
    ['1000', '0001', (dw) => 4 * dw - 6],
  ];
  const spread = (pattern: string): number[] =>
    [...pattern].reduce<number[]>(
      (masks, bit) => masks.flatMap((m) => (bit === 'x' ? [2 * m, 2 * m + 1] : [2 * m + +bit])),
      [0],
    );

  for (const [first, last, count] of rows) {
    it(`${first} ${last}`, () => {
      const dwords = last === '0000' ? [1] : [2, 3, 64, 1024];
      const pairs = spread(first).flatMap((f) => spread(last).map((l) => [f, l] as const));
      for (const dw of dwords) {
        for (const [f, l] of pairs) assert.equal(byteCount(dw, f, l), count(dw));
      }
    });
  }

  it('gives the lower address for each first mask', () => {
    for (const [pattern, low] of [
      ['0000', 0],
      ['xxx1', 0],
      ['xx10', 1],
      ['x100', 2],
      ['1000', 3],
    ] as const) {
      for (const mask of spread(pattern)) {
        assert.equal(lowerAddress(0x1234_5604, mask), 4 + low);
        assert.equal(lowerAddress(0x7c, mask), 0x7c + low);
      }
    }
  });
});
