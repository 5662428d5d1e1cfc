/** Parts of the GPU that are pure or nearly so: cutting, addresses, registers, pointers, allocation, locations. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isAmbiguous, LocationCursor } from '#devices/gpu/driver/location-cursor.ts';
import { VramAllocator } from '#devices/gpu/driver/vram-allocator.ts';
import { gpu } from '#devices/gpu/index.ts';
import { pieceBytes } from '#devices/gpu/model/piece-bytes.ts';
import { Aperture, Place } from '#devices/gpu/model/place.ts';
import { pointerFollows } from '#devices/gpu/model/queue-registers.ts';
import { RegisterSpace } from '#devices/gpu/model/register-space.ts';
import { VramPort } from '#devices/gpu/model/vram-port.ts';
import { FB_UNIT, PLAIN_STORAGE, REGISTERS_SIZE, Reg, SdmaReg } from '#devices/gpu/spec.ts';
import { ADDR_LIMIT, dmaAddr } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const powerOf2 = fc.integer({ min: 6, max: 20 }).map((n) => 2 ** n);

test('pieces cover a transfer once, in either direction, and end on boundaries', () => {
  const size = fc.integer({ min: 1, max: 2 ** 18 });
  const at = fc.integer({ min: 0, max: 2 ** 50 });
  fc.assert(
    fc.property(at, size, powerOf2, fc.boolean(), (address, sizeBytes, limit, backwards) => {
      let done = 0;
      while (done < sizeBytes) {
        const bytes = pieceBytes(address, sizeBytes, done, backwards, limit);
        assert.ok(bytes > 0 && bytes <= limit);
        const edge = backwards ? address + sizeBytes - done - bytes : address + done + bytes;
        done += bytes;
        if (done < sizeBytes) assert.equal(edge % limit, 0);
      }
      assert.equal(done, sizeBytes);
    }),
    { numRuns: 50 },
  );
});

test('the frame buffer window is VRAM, everything else a bus address, and nothing is both', () => {
  const [base, vramBytes] = [0x10 * FB_UNIT, 2 * FB_UNIT];
  const values = new Map<string, number>([
    [Reg.MMMC_VM_FB_LOCATION_BASE.name, 0x10],
    [Reg.MMMC_VM_FB_LOCATION_TOP.name, 0x13],
  ]);
  const aperture = new Aperture({ get: ({ name }) => values.get(name) ?? 0 }, vramBytes);
  const place = new Place();
  const resolve = (address: number, size: number): string => {
    if (!aperture.resolve(address, size, place)) return 'nowhere';
    return `${place.inVram ? 'vram' : 'bus'} ${place.address}`;
  };
  assert.equal(resolve(base, vramBytes), 'vram 0');
  assert.equal(resolve(base + 5, 1), 'vram 5');
  assert.equal(resolve(base - 1, 1), `bus ${base - 1}`);
  assert.equal(resolve(base - 1, 2), 'nowhere');
  assert.equal(resolve(base + vramBytes - 1, 2), 'nowhere');
  assert.equal(resolve(base + vramBytes, 1), 'nowhere');
  assert.equal(resolve(0x14 * FB_UNIT, 1), `bus ${0x14 * FB_UNIT}`);
  assert.equal(resolve(-1, 1), 'nowhere');
  assert.equal(resolve(ADDR_LIMIT - 1, 2), 'nowhere');
  values.set(Reg.MMMC_VM_FB_LOCATION_TOP.name, 0);
  assert.equal(resolve(base, 1), `bus ${base}`);
});

test('places overlap when a byte is in both', () => {
  const [a, b] = [new Place(), new Place()];
  const span = fc.integer({ min: 0, max: 40 });
  fc.assert(
    fc.property(span, span, span, span, fc.boolean(), (from, to, size, other, inVram) => {
      a.set(false, from);
      b.set(inVram, to);
      const shared = Math.min(from + size, to + other) - Math.max(from, to) > 0;
      if (size > 0 && other > 0) assert.equal(a.overlaps(size, b, other), shared && !inVram);
    }),
  );
});

test('a write pointer follows in whole dwords, never back, at most one ring ahead', () => {
  assert.ok(pointerFollows(0, 0, 1024, 1024));
  assert.ok(pointerFollows(64, 128, 128, 1024));
  assert.ok(!pointerFollows(0, 0, 1028, 1024));
  assert.ok(!pointerFollows(64, 128, 124, 1024));
  assert.ok(!pointerFollows(64, 128, 60, 1024));
  assert.ok(!pointerFollows(0, 0, 6, 1024));
  assert.ok(!pointerFollows(2, 2, 8, 1024));
  assert.ok(!pointerFollows(ADDR_LIMIT - 8, ADDR_LIMIT - 8, ADDR_LIMIT, 1024));
});

test('the register space keeps masks, spans pages and reads zero elsewhere', () => {
  const space = new RegisterSpace(REGISTERS_SIZE, [...Object.values(SdmaReg), ...PLAIN_STORAGE]);
  const view = new DataView(new ArrayBuffer(64));
  let writes = 0;
  space.onWrite(SdmaReg.RB_BASE_HI, () => writes++);
  view.setUint32(0, 0xffff_ffff, true);
  space.mmioWrite(SdmaReg.RB_BASE_HI.offset, 4, view, 0);
  assert.equal(space.get(SdmaReg.RB_BASE_HI), 0x00ff_ffff);
  assert.equal(writes, 1);
  space.mmioWrite(SdmaReg.CONTEXT_STATUS.offset, 4, view, 0);
  assert.equal(space.get(SdmaReg.CONTEXT_STATUS), 4);
  space.mmioWrite(SdmaReg.F32_CNTL.offset + 1, 1, view, 0);
  assert.equal(space.get(SdmaReg.F32_CNTL), 0xff00);
  for (let i = 0; i < 64; i++) view.setUint8(i, 0xaa);
  space.mmioRead(0x4ff0, 32, view, 8);
  assert.deepEqual([view.getUint8(7), view.getUint8(8), view.getUint8(39)], [0xaa, 0, 0]);
  assert.equal(view.getUint8(40), 0xaa);
  space.mmioWrite(REGISTERS_SIZE - 4, 4, view, 0);
  space.reset();
  assert.equal(space.get(SdmaReg.RB_BASE_HI), 0);
});

test('VRAM accesses share one bandwidth, and take no time where transfers do not', () => {
  const port = new VramPort({ latencyPs: 100, bytesPerSecond: 1e12 }, false);
  assert.equal(port.accessPs(0, 50), 150);
  assert.equal(port.accessPs(0, 50), 200);
  assert.equal(port.accessPs(1000, 10), 110);
  assert.equal(new VramPort({ latencyPs: 100, bytesPerSecond: 1 }, true).accessPs(0, 50), 0);
});

test('the allocator gives disjoint aligned pieces and gets all of them back', () => {
  const total = 2 ** 20;
  const sizes = fc.array(fc.integer({ min: 1, max: 40_000 }), { maxLength: 40 });
  const align = fc.constantFrom(4096, 65536);
  fc.assert(
    fc.property(sizes, align, fc.nat(), (wanted, alignBytes, seed) => {
      const allocator = new VramAllocator(total);
      const taken: { offset: number; size: number }[] = [];
      for (const [i, size] of wanted.entries()) {
        if ((seed + i) % 3 === 0 && taken.length > 0) allocator.free(taken.shift()!.offset);
        if (allocator.freeBytes < 2 ** 19) continue;
        const offset = allocator.allocate(size, alignBytes);
        assert.equal(offset % alignBytes, 0);
        assert.ok(offset + size <= total);
        for (const other of taken) {
          assert.ok(offset + size <= other.offset || other.offset + other.size <= offset);
        }
        taken.push({ offset, size });
      }
      for (const { offset } of taken) allocator.free(offset);
      assert.equal(allocator.allocate(total), 0);
    }),
    { numRuns: 50 },
  );
});

test('the allocator names what is missing', () => {
  const allocator = new VramAllocator(8192);
  allocator.allocate(4096);
  throwsCode('USAGE', /at most 4096 bytes/, () => allocator.allocate(8192));
  assert.throws(() => allocator.free(4096), /freed but not allocated/);
});

test('a location is walked range by range, from any offset', () => {
  const space = { vramBase: 2 ** 39, vramBytes: 2 ** 24, vramLimit: 2 ** 39 + 2 ** 24 };
  const lengths = fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(lengths, fc.nat(), fc.nat(), (sizes, a, b) => {
      const ranges = new DmaRangeList();
      const bytes: number[] = [];
      for (const [i, size] of sizes.entries()) {
        ranges.appendApart(dmaAddr(1000 * i), size);
        for (let at = 0; at < size; at++) bytes.push(1000 * i + at);
      }
      const offset = a % bytes.length;
      const size = b % (bytes.length - offset + 1);
      const cursor = new LocationCursor(space, { ranges, offset }, size);
      const seen: number[] = [];
      while (seen.length < size) {
        const step = Math.min(cursor.left, 7);
        for (let at = 0; at < step; at++) seen.push(cursor.address + at);
        cursor.advance(step);
      }
      assert.deepEqual(seen, bytes.slice(offset, offset + size));
    }),
  );
  const at = new LocationCursor(space, { vram: 4096 }, 100);
  assert.deepEqual([at.address, at.left], [2 ** 39 + 4096, 100]);
  throwsCode('USAGE', /vram/, () => new LocationCursor(space, { vram: 2 ** 24 - 1 }, 2));
  const list = { ranges: DmaRangeList.of(dmaAddr(0), 10), offset: 4 };
  throwsCode('USAGE', /./, () => new LocationCursor(space, list, 7));
  assert.ok(isAmbiguous(space, { address: dmaAddr(2 ** 39 - 1) }, 2));
  assert.ok(!isAmbiguous(space, { address: dmaAddr(2 ** 39 - 1) }, 1));
  assert.ok(!isAmbiguous(space, { vram: 0 }, 100));
});

test('an impossible GPU is refused by name', () => {
  throwsCode('USAGE', /vramBytes/, () => gpu({ vramBytes: 3 * 2 ** 20 }));
  throwsCode('USAGE', /vramBytes/, () => gpu({ vramBytes: 4096 }));
  throwsCode('USAGE', /pieces/, () => gpu({ timing: { engine: { pieces: 3 } } }));
  assert.equal(gpu({ name: 'a' }).name, 'a');
  assert.equal(gpu().kind, 'gpu');
});
