/** SDMA packets: the driver's encoding, the engine's decoding, and that they mean the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  encodeCopy,
  encodeFence,
  encodeFill,
  encodeNop,
  encodeTrap,
  encodeWrite,
  type PacketBuffer,
} from '#devices/gpu/driver/packet-encoder.ts';
import { PacketDecoder, PacketKind, SdmaPacket } from '#devices/gpu/model/packet-decoder.ts';
import { SDMA_V6 } from '#devices/gpu/spec.ts';
import { ADDR_LIMIT } from '#emu/base/units.ts';

type Encode = (to: PacketBuffer) => number;

function dwordsOf(encode: Encode): number[] {
  const view = new DataView(new ArrayBuffer(2048));
  const size = encode({ view, at: 0 });
  return Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 * i, true));
}

function decoded(dwords: readonly number[]): SdmaPacket | null {
  const decoder = new PacketDecoder(SDMA_V6);
  const packet = new SdmaPacket();
  const size = decoder.fixedBytes(dwords[0] ?? 0);
  if (size === 0) return null;
  for (let i = 0; i < size / 4; i++) decoder.view.setUint32(4 * i, dwords[i] ?? 0, true);
  return decoder.decode(packet) ? packet : null;
}

const address = fc.integer({ min: 0, max: ADDR_LIMIT - 1 });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });

test('packets have the dwords that the public headers describe', () => {
  const far = 0x12_3456_789a;
  assert.deepEqual(
    dwordsOf((to) => encodeNop(SDMA_V6, to, 5)),
    [0x0004_0000, 0, 0, 0, 0],
  );
  assert.deepEqual(
    dwordsOf((to) => encodeCopy(SDMA_V6, to, far, 0x4000, 4096)),
    [1, 4095, 0, 0x3456_789a, 0x12, 0x4000, 0],
  );
  assert.deepEqual(
    dwordsOf((to) => encodeFill(SDMA_V6, to, far, 4096, 0xaabb_ccdd, 4)),
    [0x8000_000b, 0x3456_789a, 0x12, 0xaabb_ccdd, 4095],
  );
  assert.deepEqual(
    dwordsOf((to) => encodeFill(SDMA_V6, to, far, 3, 0x77, 1)),
    [0x0000_000b, 0x3456_789a, 0x12, 0x77, 2],
  );
  assert.deepEqual(
    dwordsOf((to) => encodeFence(SDMA_V6, to, far, 9)),
    [5, 0x3456_789a, 0x12, 9],
  );
  assert.deepEqual(
    dwordsOf((to) => encodeTrap(SDMA_V6, to, 0xfff_ffff)),
    [6, 0xfff_ffff],
  );
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  assert.deepEqual(
    dwordsOf((to) => encodeWrite(SDMA_V6, to, far, bytes)),
    [2, 0x3456_789a, 0x12, 1, 0x0403_0201, 0x0807_0605],
  );
});

test('a copy is decoded as it was encoded', () => {
  const size = fc.integer({ min: 1, max: 2 ** 30 });
  fc.assert(
    fc.property(address, address, size, (source, dest, sizeBytes) => {
      const packet = decoded(dwordsOf((to) => encodeCopy(SDMA_V6, to, source, dest, sizeBytes)));
      assert.ok(packet);
      assert.deepEqual(
        [packet.kind, packet.source, packet.dest, packet.sizeBytes, packet.backwards],
        [PacketKind.Copy, source, dest, sizeBytes, false],
      );
    }),
  );
});

test('a fill of bytes has count + 1 of them, a fill of dwords (count >> 2) + 1', () => {
  const count = fc.integer({ min: 0, max: 2 ** 30 - 1 });
  fc.assert(
    fc.property(address, count, u32, (dest, bytes, value) => {
      const byBytes = decoded([11, dest >>> 0, Math.floor(dest / 2 ** 32), value, bytes]);
      assert.equal(byBytes?.sizeBytes, bytes + 1);
      assert.equal(byBytes?.fillBytes, 1);
      const byDwords = decoded([0x8000_000b, 0, 0, value, bytes]);
      assert.equal(byDwords?.sizeBytes, 4 * ((bytes >>> 2) + 1));
      assert.equal(byDwords?.fillBytes, 4);
      assert.equal(byDwords?.data, value);
    }),
  );
});

test('fences, traps, writes and NOPs are decoded as they were encoded', () => {
  fc.assert(
    fc.property(address, u32, fc.integer({ min: 1, max: 200 }), (to, value, count) => {
      const fence = decoded(dwordsOf((at) => encodeFence(SDMA_V6, at, to, value)));
      assert.deepEqual([fence?.kind, fence?.dest, fence?.data], [PacketKind.Fence, to, value]);
      const trap = decoded(dwordsOf((at) => encodeTrap(SDMA_V6, at, value)));
      assert.deepEqual([trap?.kind, trap?.data], [PacketKind.Trap, value & 0xfff_ffff]);
      const bytes = new Uint8Array(4 * count);
      const write = decoded(dwordsOf((at) => encodeWrite(SDMA_V6, at, to, bytes)));
      assert.deepEqual([write?.dest, write?.trailingBytes], [to, 4 * count]);
      const nop = decoded(dwordsOf((at) => encodeNop(SDMA_V6, at, count)));
      assert.deepEqual([nop?.kind, nop?.trailingBytes], [PacketKind.Nop, 4 * (count - 1)]);
    }),
  );
});

test('flags and sizes without defined effect are refused, unknown opcodes too', () => {
  const copy = dwordsOf((to) => encodeCopy(SDMA_V6, to, 0, 0, 64));
  for (const flag of [1 << 16, 1 << 18, 1 << 27]) {
    assert.equal(decoded([(copy[0] ?? 0) | flag, ...copy.slice(1)]), null);
  }
  const backwards = decoded([(copy[0] ?? 0) | (1 << 25), ...copy.slice(1)]);
  assert.equal(backwards?.backwards, true);
  for (const fillSize of [1, 3]) assert.equal(decoded([(fillSize << 30) | 11, 0, 0, 0, 0]), null);
  for (const header of [3, 4, 7, 0x101, 0x401, 0xff]) assert.equal(decoded([header]), null);
});

test('addresses of 2^52 and more are marked, not rounded', () => {
  assert.equal(decoded([5, 0, 0x0010_0000, 1])?.dest, -1);
  assert.equal(decoded([5, 0xffff_ffff, 0x000f_ffff, 1])?.dest, ADDR_LIMIT - 1);
});
