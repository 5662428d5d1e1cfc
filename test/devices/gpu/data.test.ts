/** What the copy engine moves: right to the byte, in order, wherever source and destination are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { FB, GpuRig, patternBytes } from '#test/support/gpu-rig.ts';

const BOTH: readonly Fidelity[] = ['timed', 'functional'];
const FENCE = 64;
const small = { gpu: { timing: { engine: { pieces: 4, pieceBytes: 256 } } } };

for (const fidelity of BOTH) {
  test(`${fidelity}: copies between VRAM and host memory are exact and touch nothing else`, () => {
    const rig = new GpuRig({ fidelity, ...small });
    const host = rig.machine.mm.allocate(2 ** 16);
    const at = fc.integer({ min: 0, max: 9000 });
    const size = fc.integer({ min: 1, max: 9000 });
    const side = fc.boolean();
    fc.assert(
      fc.property(side, side, at, at, size, side, (fromVram, toVram, from, to, bytes, back) => {
        const source = fromVram ? 0x8000 + from : host + from;
        const dest = toVram ? 0x8000 + 20_000 + to : host + 20_000 + to;
        const [src, dst] = [fromVram ? rig.vram : rig.memory, toVram ? rig.vram : rig.memory];
        const sent = patternBytes(bytes, from + 1);
        src.write(source, sent);
        dst.fill(dest - 64, bytes + 128, 0xee);
        const engine = (inVram: boolean, address: number): number =>
          inVram ? FB + address : address;
        rig.copy(engine(fromVram, source), engine(toVram, dest), bytes, back ? 1 << 25 : 0).go();
        assert.equal(rig.exception, 0);
        assert.deepEqual(rig.bytes(dst, dest, bytes), sent);
        assert.ok(rig.bytes(dst, dest - 64, 64).every((x) => x === 0xee));
        assert.ok(rig.bytes(dst, dest + bytes, 64).every((x) => x === 0xee));
      }),
      { numRuns: 30 },
    );
    rig.dispose();
  });

  test(`${fidelity}: fills have the size and pattern of their unit`, () => {
    const rig = new GpuRig({ fidelity, ...small });
    const count = fc.integer({ min: 0, max: 3000 });
    const data = fc.integer({ min: 0, max: 0xffff_ffff });
    fc.assert(
      fc.property(count, data, fc.boolean(), (n, value, dwords) => {
        rig.vram.fill(0, 8192, 0xee);
        rig.fill(FB + 64, n, value, dwords ? 2 : 0).go();
        const size = dwords ? 4 * ((n >>> 2) + 1) : n + 1;
        const expected = Uint8Array.from(
          { length: size },
          (_, i) => value >>> (dwords ? 8 * (i % 4) : 0),
        );
        assert.deepEqual(rig.bytes(rig.vram, 64, size), expected);
        assert.equal(rig.vram.getU8(63), 0xee);
        assert.equal(rig.vram.getU8(64 + size), 0xee);
      }),
      { numRuns: 30 },
    );
    rig.dispose();
  });

  test(`${fidelity}: packets of one ring take effect in order, whatever they read`, () => {
    const rig = new GpuRig({ fidelity, ...small });
    const host = rig.buffer(4096, 3);
    const sent = rig.bytes(rig.memory, host, 4096);
    const [a, b] = [FB + 0x1_0000, FB + 0x2_0000];
    const back = rig.machine.mm.allocate(8192);
    rig.copy(host, a, 4096).copy(a, b, 4096).copy(b, back, 4096).fill(a, 4095, 0x11, 0);
    rig
      .copy(a, back + 4096, 4096)
      .fill(host, 4095, 0x22, 0)
      .copy(back, b, 4096);
    rig.fence(rig.page + FENCE, 1).go();
    assert.deepEqual(rig.bytes(rig.memory, back, 4096), sent);
    assert.ok(rig.bytes(rig.memory, back + 4096, 4096).every((x) => x === 0x11));
    assert.ok(rig.bytes(rig.memory, host, 4096).every((x) => x === 0x22));
    assert.deepEqual(rig.bytes(rig.vram, 0x2_0000, 4096), sent);
    rig.dispose();
  });

  test(`${fidelity}: a copy onto itself, backwards, moves like memmove`, () => {
    const rig = new GpuRig({ fidelity, ...small });
    const sent = patternBytes(3000, 9);
    rig.vram.write(1000, sent);
    rig.copy(FB + 1000, FB + 1100, 3000, 1 << 25).go();
    assert.deepEqual(rig.bytes(rig.vram, 1100, 3000), sent);
    rig.vram.write(1100, sent);
    rig.copy(FB + 1100, FB + 1000, 3000).go();
    assert.deepEqual(rig.bytes(rig.vram, 1000, 3000), sent);
    rig.dispose();
  });

  test(`${fidelity}: inline data longer than the fetch buffer arrives whole`, () => {
    const rig = new GpuRig({ fidelity, ringDwords: 4096 });
    const dwords = Array.from({ length: 3001 }, (_, i) => Math.imul(i, 0x9e37_79b1) >>> 0);
    const host = rig.machine.mm.allocate(16384);
    for (let round = 0; round < 3; round++) {
      rig.store(FB + 4, ...dwords).go();
      for (const [i, dword] of dwords.entries()) assert.equal(rig.vram.getU32(4 + 4 * i), dword);
      rig.vram.fill(0, 16384, 0);
    }
    rig.store(host, ...dwords).go();
    for (const [i, dword] of dwords.entries()) assert.equal(rig.memory.getU32(host + 4 * i), dword);
    rig.dispose();
  });

  test(`${fidelity}: a fence behind a copy is seen only after all of its bytes`, () => {
    const rig = new GpuRig({ fidelity });
    const from = rig.buffer(2 ** 17);
    const sent = rig.bytes(rig.memory, from, 2 ** 17);
    const to = rig.machine.mm.allocate(2 ** 17);
    rig
      .copy(from, to, 2 ** 17)
      .fence(rig.page + FENCE, 1)
      .doorbell(rig.wptr);
    const { kernel } = rig.machine;
    while (rig.memory.getU32(rig.page + FENCE) === 0) {
      assert.ok(kernel.runSlice(1), 'the fence never came');
    }
    assert.deepEqual(rig.bytes(rig.memory, to, 2 ** 17), sent);
    kernel.run();
    rig.dispose();
  });
}

test('a fence in host memory is seen only after what was stored in slow VRAM', () => {
  const timing = { vram: { bytesPerSecond: 1e9 } };
  const rig = new GpuRig({ gpu: { timing } });
  const from = rig.buffer(2 ** 15);
  const sent = rig.bytes(rig.memory, from, 2 ** 15);
  rig
    .copy(from, FB, 2 ** 15)
    .fence(rig.page + FENCE, 1)
    .trap()
    .doorbell(rig.wptr);
  while (rig.memory.getU32(rig.page + FENCE) === 0) rig.machine.kernel.runSlice(1);
  assert.deepEqual(rig.bytes(rig.vram, 0, 2 ** 15), sent);
  assert.equal(rig.interrupts, 0);
  rig.machine.kernel.run();
  assert.equal(rig.interrupts, 1);
  rig.dispose();
});

test('reads of host memory overlap: a copy takes far less than a round trip a piece', () => {
  const took = (pieces: number): number => {
    const rig = new GpuRig({ gpu: { timing: { engine: { pieces, pieceBytes: 4096 } } } });
    const from = rig.buffer(2 ** 18);
    const start = rig.machine.kernel.now;
    rig.copy(from, FB, 2 ** 18).go();
    const elapsed = rig.machine.kernel.now - start;
    rig.dispose();
    return elapsed;
  };
  assert.ok(took(16) * 2 < took(1));
});

test('VRAM bandwidth bounds a copy inside, and functional fidelity takes no time for it', () => {
  const took = (fidelity: Fidelity, bytesPerSecond: number): number => {
    const timing = { vram: { bytesPerSecond }, engine: { packetPs: 0 } };
    const rig = new GpuRig({ fidelity, ringInVram: true, control: 0, gpu: { timing } });
    rig.vram.write(0, patternBytes(2 ** 16));
    const start = rig.machine.kernel.now;
    rig.copy(FB, FB + 2 ** 20 + 2 ** 16, 2 ** 16);
    rig.doorbell(rig.wptr);
    rig.machine.kernel.run();
    assert.deepEqual(rig.bytes(rig.vram, 2 ** 20 + 2 ** 16, 2 ** 16), patternBytes(2 ** 16));
    const elapsed = rig.machine.kernel.now - start;
    rig.dispose();
    return elapsed;
  };
  assert.ok(took('timed', 1e9) > 2 * 2 ** 16 * 1000);
  assert.ok(took('timed', 1e12) < 5_000_000);
  assert.equal(took('functional', 1e9), took('functional', 1e12));
});

test('the same bytes and pointers in both fidelities', () => {
  const outcome = (fidelity: Fidelity): string => {
    const rig = new GpuRig({ fidelity });
    const from = rig.buffer(70_000, 5);
    rig
      .copy(from + 3, FB + 77, 60_001)
      .copy(FB + 77, from, 50_000)
      .fill(from + 9, 99, 3, 0);
    rig.copy(0x10, FB, 4).go();
    const bytes = [...rig.bytes(rig.memory, from, 70_000), ...rig.bytes(rig.vram, 0, 70_000)];
    const sum = bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x0100_0193), 0x811c_9dc5);
    const result = [sum, rig.rptr, rig.exception, rig.reported].join();
    rig.dispose();
    return result;
  };
  assert.equal(outcome('timed'), outcome('functional'));
});
