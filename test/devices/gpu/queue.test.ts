/** The ring queue driven through registers, memory and doorbells: pointers, wrap-around, refusals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { QueueException, Reg, SdmaReg } from '#devices/gpu/spec.ts';
import { offsetBy } from '#emu/base/units.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { FB, GpuRig } from '#test/support/gpu-rig.ts';

const BOTH: readonly Fidelity[] = ['timed', 'functional'];
const FENCE = 64;

for (const fidelity of BOTH) {
  test(`${fidelity}: the function has the shape and the registers of the card`, () => {
    const rig = new GpuRig({ fidelity });
    assert.deepEqual([rig.pci.vendorId, rig.pci.deviceId], [0x1002, 0x744c]);
    assert.equal(rig.pci.classCode, 0x03_0000);
    const sizes = rig.pci.bars.map(({ index, sizeBytes }) => [index, sizeBytes]);
    assert.deepEqual(sizes, [
      [0, 2 ** 24],
      [2, 2 ** 21],
      [5, 2 ** 20],
    ]);
    assert.equal(rig.readAt(0x378c), 16);
    assert.equal(rig.read(Reg.MMMC_VM_FB_LOCATION_BASE), FB / 2 ** 24);
    assert.equal(rig.read(Reg.MMMC_VM_FB_LOCATION_TOP), FB / 2 ** 24);
    rig.write(Reg.RCC_CONFIG_MEMSIZE, 1);
    assert.equal(rig.readAt(0x378c), 16);
    assert.equal(rig.readAt(0xf_0000), 0);
    rig.dispose();
  });

  for (const ringInVram of [false, true]) {
    test(`${fidelity}: fence, trap and pointers from a ring in ${ringInVram ? 'VRAM' : 'host memory'}`, () => {
      const rig = new GpuRig({ fidelity, ringInVram });
      const value = rig.page + FENCE;
      rig.memory.setU32(value + 4, 0x5555_5555);
      rig.nop(3).fence(value, 0xcafe_f00d).trap().go();
      assert.equal(rig.memory.getU32(value), 0xcafe_f00d);
      assert.equal(rig.memory.getU32(value + 4), 0x5555_5555, 'a fence stores 4 bytes');
      assert.equal(rig.interrupts, 1);
      assert.equal(rig.rptr, rig.wptr);
      assert.equal(rig.reported, rig.wptr);
      assert.equal(rig.read(SdmaReg.CONTEXT_STATUS), 4);
      rig.dispose();
    });
  }

  test(`${fidelity}: packets go round the ring many times and may straddle its end`, () => {
    const rig = new GpuRig({ fidelity, ringDwords: 32 });
    for (let i = 1; i <= 100; i++) {
      rig
        .nop(i % 5)
        .fence(rig.page + FENCE, i)
        .store(FB + 16 * i, i, ~i, i * 3)
        .go();
      assert.equal(rig.memory.getU32(rig.page + FENCE), i);
      assert.equal(rig.vram.getU32(16 * i + 8), i * 3);
      assert.equal(rig.exception, 0);
    }
    assert.ok(rig.wptr > 10 * rig.ringBytes);
    assert.equal(rig.reported, rig.wptr);
    rig.dispose();
  });

  test(`${fidelity}: counters beyond 32 bits are pointers like any other`, () => {
    const rig = new GpuRig({ fidelity, counter: 2 ** 32 - 8 });
    rig.fence(rig.page + FENCE, 7).go();
    assert.equal(rig.memory.getU32(rig.page + FENCE), 7);
    assert.equal(rig.rptr, 2 ** 32 + 8);
    assert.equal(rig.reported, 2 ** 32 + 8);
    rig.dispose();
  });

  test(`${fidelity}: a packet that is not all there waits for the next doorbell`, () => {
    const rig = new GpuRig({ fidelity });
    rig.fence(rig.page + FENCE, 5);
    rig.go(rig.wptr - 4);
    assert.equal(rig.memory.getU32(rig.page + FENCE), 0);
    assert.equal(rig.exception, 0);
    rig.go();
    assert.equal(rig.memory.getU32(rig.page + FENCE), 5);
    rig.dispose();
  });

  test(`${fidelity}: doorbells that make no sense stop the queue and are logged`, () => {
    const rig = new GpuRig({ fidelity });
    const bad = [66, 64 + rig.ringBytes + 4, 2 ** 51];
    for (const value of bad) {
      rig.start(64);
      rig.go(value);
      assert.equal(rig.exception, QueueException.BadPointer, `doorbell ${value}`);
      assert.equal(rig.read(SdmaReg.DOORBELL_LOG), (value & 0xffff_fffc) >>> 0);
      assert.equal(rig.rptr, 64);
    }
    rig.start(64);
    rig.go(32);
    assert.equal(rig.exception, QueueException.BadPointer, 'below the read pointer');
    rig.fence(rig.page + FENCE, 9).go();
    assert.equal(rig.memory.getU32(rig.page + FENCE), 0, 'a stopped queue takes nothing');
    rig.dispose();
  });

  test(`${fidelity}: a doorbell of another size says nothing and is reported`, () => {
    const rig = new GpuRig({ fidelity });
    const { address } = rig.pci.bar(2);
    rig.machine.cpu.write32(offsetBy(address, 0x900), 1);
    rig.machine.kernel.run();
    assert.equal(rig.exception, 0, 'another doorbell is nobody');
    rig.machine.cpu.write32(offsetBy(address, 0x804), 16);
    rig.machine.kernel.run();
    assert.equal(rig.exception, QueueException.BadPointer);
    assert.equal(rig.read(SdmaReg.DOORBELL_LOG) & 1, 1);
    rig.dispose();
  });

  test(`${fidelity}: unknown packets, bad fields and bad addresses stop the queue at the packet`, () => {
    const cases: [QueueException, (rig: GpuRig) => void][] = [
      [QueueException.UnknownPacket, (rig) => rig.put(0x23)],
      [QueueException.UnknownPacket, (rig) => rig.put(0x0101)],
      [QueueException.BadPacket, (rig) => rig.copy(FB, FB + 4096, 64, 1 << 27)],
      [QueueException.BadPacket, (rig) => rig.fill(FB, 64, 0, 1)],
      [QueueException.BadAddress, (rig) => rig.copy(FB - 8, FB + 4096, 64)],
      [QueueException.BadAddress, (rig) => rig.copy(FB, FB + 2 ** 24 - 8, 64)],
      [QueueException.BadAddress, (rig) => rig.put(5, 0, 0xffff_0000, 1)],
      [QueueException.ReadFailed, (rig) => rig.copy(0x1000, FB, 64)],
    ];
    for (const [exception, packet] of cases) {
      const rig = new GpuRig({ fidelity });
      rig.fence(rig.page + FENCE, 1).trap();
      const at = rig.wptr;
      packet(rig);
      rig
        .fence(rig.page + FENCE, 2)
        .trap()
        .go();
      assert.equal(rig.exception, exception);
      assert.equal(rig.memory.getU32(rig.page + FENCE), 1, 'what came before took effect');
      assert.equal(rig.rptr, at);
      assert.equal(rig.interrupts, 1);
      assert.equal(rig.read(SdmaReg.MIDCMD_CNTL), 1);
      assert.equal(rig.model.queue.fault?.exception, exception);
      rig.start(0);
      assert.equal(rig.exception, 0);
      rig.fence(rig.page + FENCE, 3).go();
      assert.equal(rig.memory.getU32(rig.page + FENCE), 3, 'it starts anew');
      rig.dispose();
    }
  });

  test(`${fidelity}: the write pointer's shadow is used when polling is on`, () => {
    const rig = new GpuRig({ fidelity, control: (1 << 12) | (1 << 11) });
    rig.fence(rig.page + FENCE, 4);
    rig.memory.setU64(rig.page + 8, rig.wptr);
    rig.go(0);
    assert.equal(rig.memory.getU32(rig.page + FENCE), 4);
    assert.equal(rig.exception, 0);
    rig.dispose();
  });

  test(`${fidelity}: the pointer registers move the queue too, and halting holds it`, () => {
    const rig = new GpuRig({ fidelity });
    rig.write(SdmaReg.F32_CNTL, 1);
    rig.fence(rig.page + FENCE, 4);
    rig.write(SdmaReg.RB_WPTR, rig.wptr);
    rig.write(SdmaReg.RB_WPTR_HI, 0);
    rig.machine.kernel.run();
    assert.equal(rig.memory.getU32(rig.page + FENCE), 0);
    rig.write(SdmaReg.F32_CNTL, 0);
    rig.machine.kernel.run();
    assert.equal(rig.memory.getU32(rig.page + FENCE), 4);
    rig.write(SdmaReg.MINOR_PTR_UPDATE, 1);
    rig.fence(rig.page + FENCE, 5);
    rig.pair(SdmaReg.RB_WPTR, rig.wptr);
    rig.machine.kernel.run();
    assert.equal(rig.memory.getU32(rig.page + FENCE), 4, 'minor updates start nothing');
    rig.dispose();
  });

  test(`${fidelity}: with bus mastering off nothing moves and the queue stops at its ring`, () => {
    const rig = new GpuRig({ fidelity });
    rig.process(rig.pci.setBusMaster(false));
    rig.fence(FB + 4096, 6).go();
    assert.equal(rig.exception, QueueException.RingFailed);
    assert.equal(rig.read(SdmaReg.MIDCMD_DATA3), DmaStatus.BusMasterOff);
    assert.equal(rig.vram.getU32(4096), 0);
    assert.equal(rig.interrupts, 0);
    rig.dispose();
  });

  test(`${fidelity}: with a ring in VRAM and bus mastering off, host memory stays as it is`, () => {
    const rig = new GpuRig({ fidelity, ringInVram: true });
    rig.process(rig.pci.setBusMaster(false));
    rig
      .store(FB + 4096, 1)
      .fence(rig.page + FENCE, 6)
      .trap()
      .go();
    assert.equal(rig.vram.getU32(4096), 1);
    assert.equal(rig.memory.getU32(rig.page + FENCE), 0);
    assert.equal(rig.exception, QueueException.WriteFailed);
    assert.equal(rig.interrupts, 0);
    rig.dispose();
  });

  test(`${fidelity}: a ring or pointers that lead nowhere stop the queue when it starts`, () => {
    const rig = new GpuRig({ fidelity });
    rig.write(SdmaReg.RB_CNTL, 0);
    rig.pair(SdmaReg.RB_BASE, (FB + 2 ** 24) / 256 - 1);
    rig.write(SdmaReg.RB_CNTL, 1 | (8 << 1));
    rig.machine.kernel.run();
    assert.equal(rig.exception, QueueException.BadAddress);
    rig.write(SdmaReg.RB_CNTL, 0);
    rig.machine.kernel.run();
    assert.equal(rig.exception, 0);
    rig.dispose();
  });
}

test('a queue turned off with transfers under way starts again when they are over', () => {
  const rig = new GpuRig({ link: { gen: 1, width: 4 }, ringInVram: true });
  const from = rig.buffer(2 ** 18);
  rig.copy(from, FB, 2 ** 18).doorbell(rig.wptr);
  rig.machine.kernel.runUntil(rig.machine.kernel.now + 20_000_000);
  const other = rig.buffer(2 ** 17, 77);
  const sent = rig.bytes(rig.memory, other, 2 ** 17);
  rig.program(0);
  rig
    .copy(other, FB, 2 ** 17)
    .fence(rig.page + FENCE, 8)
    .go();
  assert.equal(rig.memory.getU32(rig.page + FENCE), 8);
  assert.deepEqual(rig.bytes(rig.vram, 0, 2 ** 17), sent);
  assert.equal(rig.exception, 0);
  rig.dispose();
});

test('the read pointer passes nothing that has not taken effect', () => {
  const rig = new GpuRig();
  const from = rig.buffer(2 ** 16);
  const sent = rig.bytes(rig.memory, from, 2 ** 16);
  rig
    .copy(from, FB, 2 ** 16)
    .nop(2)
    .doorbell(rig.wptr);
  while (rig.model.registers.get(SdmaReg.RB_RPTR) === 0) rig.machine.kernel.runSlice(1);
  assert.deepEqual(rig.bytes(rig.vram, 0, 2 ** 16), sent);
  rig.machine.kernel.run();
  assert.equal(rig.reported, rig.wptr);
  rig.dispose();
});

test('read pointers that come faster than they can be written merge into the last', () => {
  const rig = new GpuRig({ ringDwords: 32, gpu: { timing: { engine: { packetPs: 0 } } } });
  for (let i = 0; i < 32; i++) rig.nop(0);
  rig.go();
  assert.equal(rig.reported, rig.wptr);
  rig.dispose();
});

test('a function-level reset forgets everything and the queue can be set up again', () => {
  const rig = new GpuRig();
  const from = rig.buffer(2 ** 18);
  rig.copy(from, FB, 2 ** 18).doorbell(rig.wptr);
  const { kernel } = rig.machine;
  kernel.runUntil(kernel.now + 3_000_000);
  const { config } = rig.machine.endpoint('gpu0');
  const bars = [0x10, 0x14, 0x18, 0x1c, 0x24].map((at) => [at, config.read(at, 4)] as const);
  const pcie = config.capability(0x10);
  config.write(pcie + 8, 2, config.read(pcie + 8, 2) | 0x8000);
  kernel.run();
  for (const [at, value] of bars) config.write(at, 4, value);
  config.write(4, 2, 6);
  assert.equal(rig.readAt(0x378c), 16);
  assert.equal(rig.read(SdmaReg.RB_CNTL), 0);
  rig.start(0);
  rig.fence(rig.page + FENCE, 8).go();
  assert.equal(rig.memory.getU32(rig.page + FENCE), 8);
  rig.dispose();
});

test('observers see packets as they take effect, with the time they were decoded', () => {
  const rig = new GpuRig();
  const seen: unknown[] = [];
  const times: number[] = [];
  rig.model.probe = {
    completed: (path, { opcode, cid, status, dataBytes, startedPs }) => {
      seen.push([path.endsWith('sdma0'), opcode, cid, status, dataBytes]);
      times.push(startedPs, rig.machine.kernel.now);
    },
  };
  const from = rig.buffer(2 ** 15);
  rig
    .copy(from, FB, 2 ** 15)
    .nop(1)
    .trap()
    .put(0x77)
    .go();
  assert.deepEqual(seen, [
    [true, 1, 36, 0, 2 ** 15],
    [true, 6, 44, 0, 0],
    [true, 0x77, 44, QueueException.UnknownPacket, 0],
  ]);
  assert.ok(times.every((time, i) => i % 2 === 0 || time >= (times[i - 1] ?? 0)));
  assert.ok((times[1] ?? 0) - (times[0] ?? 0) > 1_000_000, 'a copy takes its time');
  rig.dispose();
});

test('packets take at least their latency each', () => {
  const rig = new GpuRig({ gpu: { timing: { engine: { packetPs: 1_000_000 } } } });
  const start = rig.machine.kernel.now;
  for (let i = 0; i < 10; i++) rig.trap();
  rig.go();
  assert.equal(rig.interrupts, 10);
  assert.ok(rig.machine.kernel.now - start >= 10_000_000);
  rig.dispose();
});

test('an error interrupts only where that is asked for', () => {
  const rig = new GpuRig();
  rig.write(SdmaReg.SDMA0_CNTL, 1 << 29);
  rig.trap().put(0x99).go();
  assert.equal(rig.interrupts, 1);
  rig.dispose();
});

test('nothing that a driver can write makes the model throw', () => {
  const opcodes = [0, 1, 2, 5, 6, 11].flatMap((op) => [op, op | 0x8000_0000, op | (1 << 25)]);
  const small = fc.integer({ min: 0, max: 0x3ffff });
  const places = fc.constantFrom(FB % 2 ** 32, FB / 2 ** 32, 0x8000_0000, 0xffff_ffff, 0x10_0000);
  const dword = fc.oneof(fc.constantFrom(...opcodes), small, places);
  const registers = Object.values(SdmaReg).map(({ offset }) => offset);
  const write = fc.record({
    offset: fc.oneof(fc.constantFrom(...registers), fc.integer({ min: 0, max: 0xf_fff0 })),
    size: fc.constantFrom(1, 2, 4, 8, 13),
    value: fc.oneof(small, places),
  });
  const view = new DataView(new ArrayBuffer(64));
  const [ring, writes] = [fc.array(dword, { maxLength: 60 }), fc.array(write, { maxLength: 8 })];
  fc.assert(
    fc.property(ring, writes, fc.nat(300), fc.nat(4096), (dwords, steps, wptr, doorbell) => {
      const rig = new GpuRig({ fidelity: 'functional', ringDwords: 64 });
      rig.put(...dwords).go();
      for (const { offset, size, value } of steps) {
        for (let i = 0; i < 4; i++) view.setUint32(4 * i, value, true);
        rig.model.registers.mmioWrite(offset, size, view, 0);
        rig.model.registers.mmioRead(offset, size, view, 16);
        rig.doorbell(wptr);
        rig.machine.kernel.run();
      }
      const { address } = rig.pci.bar(2);
      rig.machine.cpu.write32(offsetBy(address, doorbell & ~3), wptr);
      rig.machine.kernel.run();
      rig.dispose();
    }),
    { numRuns: 150 },
  );
});
