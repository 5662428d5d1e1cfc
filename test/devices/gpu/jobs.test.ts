/**
 * Lists of ranges as SDMA packets: whatever the lists, the engine decodes exactly their bytes, in order, within the
 * limits of a packet. [AMDGPU] sdma_v6_0_0_pkt_open.h
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  CopySource,
  FillSource,
  MAX_PACKET_BYTES,
  MAX_PACKET_TRANSFER,
  type PacketSource,
  WriteSource,
} from '#devices/gpu/driver/jobs.ts';
import { LocationCursor } from '#devices/gpu/driver/location-cursor.ts';
import { PacketDecoder, PacketKind, SdmaPacket } from '#devices/gpu/model/packet-decoder.ts';
import { SDMA_V6 } from '#devices/gpu/spec.ts';
import { dmaAddr } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { patternBytes } from '#test/support/gpu-rig.ts';

const SPACE = { vramBase: 2 ** 39, vramBytes: 2 ** 24, vramLimit: 2 ** 39 + 2 ** 24 };
const MAX_INLINE = 1024;

type Run = [address: number, sizeBytes: number];

/** A packet as the engine sees it, with what follows it in the ring. */
interface Seen {
  readonly packet: SdmaPacket;
  readonly payload: Uint8Array;
}

/** All packets of a job, decoded; each has all of its bytes and no more. */
function packetsOf(job: PacketSource): Seen[] {
  const bytes = new Uint8Array(MAX_PACKET_BYTES);
  const to = { view: new DataView(bytes.buffer), at: 0 };
  const decoder = new PacketDecoder(SDMA_V6);
  const seen: Seen[] = [];
  for (let size = job.next(to); size > 0; size = job.next(to)) {
    const fixed = decoder.fixedBytes(to.view.getUint32(0, true));
    for (let at = 0; at < fixed; at += 4) {
      decoder.view.setUint32(at, to.view.getUint32(at, true), true);
    }
    const packet = new SdmaPacket();
    assert.ok(decoder.decode(packet), 'a packet that the engine refuses');
    assert.equal(size, fixed + packet.trailingBytes);
    seen.push({ packet, payload: bytes.slice(fixed, size) });
  }
  assert.equal(job.next(to), 0, 'over is over');
  return seen;
}

/** Runs without those that continue the one before. */
function joined(runs: readonly Run[]): Run[] {
  const result: Run[] = [];
  for (const [address, size] of runs) {
    const last = result.at(-1);
    if (last && last[0] + last[1] === address) last[1] += size;
    else result.push([address, size]);
  }
  return result;
}

const partOf = (list: DmaRangeList, offset: number, sizeBytes: number): Run[] =>
  sizeBytes === 0
    ? []
    : joined([...list.slice(offset, sizeBytes)].map(({ address, length }) => [address, length]));

/** Lists whose ranges now and then follow on from one another; lengths are multiples of `unit`. */
const listOf = (unit: number, longest: number): fc.Arbitrary<DmaRangeList> => {
  const length = fc.oneof(
    fc.integer({ min: 1, max: 5000 }),
    fc.constantFrom(1024, 1025, MAX_PACKET_TRANSFER / unit, MAX_PACKET_TRANSFER / unit + 1),
    fc.integer({ min: 1, max: longest / unit }),
  );
  const range = fc.record({
    page: fc.nat(2 ** 26),
    offset: fc.nat(4095),
    length,
    joins: fc.boolean(),
  });
  return fc.array(range, { minLength: 1, maxLength: 12 }).map((parts) => {
    const list = new DmaRangeList();
    let end = 0;
    for (const { page, offset, length: units, joins } of parts) {
      const at = joins && end > 0 ? end : 4096 * page + offset;
      list.appendApart(dmaAddr(at), unit * units);
      end = at + unit * units;
    }
    return list;
  });
};

/** A place in a list and how much follows, as shares of what there is. */
function cut(list: DmaRangeList, start: number, share: number, unit: number): [number, number] {
  const units = list.sizeBytes / unit;
  const offset = start % units;
  return [offset * unit, Math.floor(share * (units - offset)) * unit];
}

const share = fc.double({ min: 0, max: 1, noNaN: true });

test('a copy between any two lists: every byte from its place to its place, in order', () => {
  const most = { packets: 0, bytes: 0 };
  const list = listOf(1, 2 ** 30);
  fc.assert(
    fc.property(list, list, fc.nat(), fc.nat(), share, (from, to, a, b, part) => {
      const [fromOffset, fromBytes] = cut(from, a, part, 1);
      const [toOffset, toBytes] = cut(to, b, 1, 1);
      const sizeBytes = Math.min(fromBytes, toBytes);
      const source = new LocationCursor(SPACE, { ranges: from, offset: fromOffset }, sizeBytes);
      const target = new LocationCursor(SPACE, { ranges: to, offset: toOffset }, sizeBytes);
      const seen = packetsOf(new CopySource(SDMA_V6, source, target, sizeBytes));
      for (const { packet } of seen) {
        assert.equal(packet.kind, PacketKind.Copy);
        assert.ok(packet.sizeBytes <= MAX_PACKET_TRANSFER && !packet.backwards);
      }
      const runs = (key: 'source' | 'dest'): Run[] =>
        joined(seen.map(({ packet }): Run => [packet[key], packet.sizeBytes]));
      assert.deepEqual(runs('source'), partOf(from, fromOffset, sizeBytes));
      assert.deepEqual(runs('dest'), partOf(to, toOffset, sizeBytes));
      // No packet more than the ends of ranges and the limit ask for.
      const least = Math.ceil(sizeBytes / MAX_PACKET_TRANSFER);
      assert.ok(seen.length <= least + 2 * (from.count + to.count), `${seen.length} of ${least}`);
      most.packets = Math.max(most.packets, seen.length);
      most.bytes = Math.max(most.bytes, sizeBytes);
    }),
    { numRuns: 200 },
  );
  assert.ok(most.packets > 100 && most.bytes > 2 ** 28, JSON.stringify(most));
});

for (const unit of [1, 4] as const) {
  test(`a fill of any list by units of ${unit}: every byte once, in order`, () => {
    fc.assert(
      fc.property(listOf(unit, 2 ** 26), fc.nat(), share, fc.nat(255), (to, a, part, value) => {
        const [offset, sizeBytes] = cut(to, a, part, unit);
        const target = new LocationCursor(SPACE, { ranges: to, offset }, sizeBytes);
        const seen = packetsOf(new FillSource(SDMA_V6, target, sizeBytes, value, unit));
        for (const { packet } of seen) {
          assert.equal(packet.kind, PacketKind.Fill);
          assert.deepEqual([packet.fillBytes, packet.data], [unit, value]);
          assert.ok(packet.sizeBytes <= MAX_PACKET_TRANSFER);
        }
        const runs = joined(seen.map(({ packet }): Run => [packet.dest, packet.sizeBytes]));
        assert.deepEqual(runs, partOf(to, offset, sizeBytes));
      }),
    );
  });
}

test('a write to any list: the bytes travel in whole dwords, in order', () => {
  fc.assert(
    fc.property(listOf(4, 4096), fc.nat(), share, (to, a, part) => {
      const [offset, all] = cut(to, a, part, 4);
      const sizeBytes = Math.min(all, 2 ** 15);
      const bytes = patternBytes(sizeBytes, a);
      const target = new LocationCursor(SPACE, { ranges: to, offset }, sizeBytes);
      const seen = packetsOf(new WriteSource(SDMA_V6, target, bytes));
      for (const { packet, payload } of seen) {
        assert.equal(packet.kind, PacketKind.Write);
        assert.ok(payload.length % 4 === 0 && payload.length <= MAX_INLINE, `${payload.length}`);
      }
      const runs = joined(seen.map(({ packet, payload }): Run => [packet.dest, payload.length]));
      assert.deepEqual(runs, partOf(to, offset, sizeBytes));
      assert.deepEqual(Buffer.concat(seen.map(({ payload }) => payload)), Buffer.from(bytes));
    }),
  );
});
