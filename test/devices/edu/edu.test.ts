/** The teaching device: its hardware through registers and memory, then its driver end to end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type EduOptions, edu, openEdu } from '#devices/edu/index.ts';
import { bufferOffset, factorial, wireAddress } from '#devices/edu/model/arithmetic.ts';
import { EduModel } from '#devices/edu/model/edu-model.ts';
import { DmaCommand, Irq, Reg } from '#devices/edu/spec.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { dmaAddr, hi32, lo32, ns, offsetBy } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { patternBytes } from '#test/support/gpu-rig.ts';
import { plainDevice } from '#test/support/plain-device.ts';

const BOTH: readonly Fidelity[] = ['timed', 'functional'];
const BUFFER = 0x4_0000;
const START = 1;
const TO_HOST = 2;
const DMA_IRQ = 4;

/** A machine with one `edu`, and its registers. */
class Rig {
  readonly m: Machine;
  readonly model: EduModel;
  interrupts = 0;

  constructor(fidelity: Fidelity, options: EduOptions = { dmaMaskBits: 40 }) {
    const device = edu({ name: 'edu0', ...options });
    this.m = machine({ rootPorts: [{ device }] }).build({ fidelity, seed: 1 });
    this.done(this.m.boot());
    const { model } = this.m.endpoint('edu0');
    assert.ok(model instanceof EduModel);
    this.model = model;
    const pci = this.m.function('edu0');
    this.done(this.m.kernel.spawn('on', pci.setBusMaster(true)));
    const msi = pci.enableMsi(() => this.interrupts++);
    this.done(this.m.kernel.spawn('msi', msi));
  }

  done<T>(pending: Pending<T>): T {
    this.m.kernel.run();
    return pending.value;
  }
  at(offset: number) {
    return offsetBy(this.m.function('edu0').bar(0).address, offset);
  }
  read(register: RegisterSpec): number {
    return this.done(this.m.cpu.read32(this.at(register.offset)));
  }
  write(register: RegisterSpec, value: number): void {
    this.m.cpu.write32(this.at(register.offset), value);
  }
  write64(register: RegisterSpec, value: number): void {
    this.m.cpu.write64(this.at(register.offset), lo32(value), hi32(value));
  }
  /** Writes the DMA registers; the writes are on their way. */
  program(source: number, dest: number, count: number, command: number): void {
    this.write64(Reg.DMA_SOURCE, source);
    this.write64(Reg.DMA_DEST, dest);
    this.write64(Reg.DMA_COUNT, count);
    this.write(Reg.DMA_COMMAND, command);
  }
  /** As {@link program}, and lets everything happen. */
  dma(source: number, dest: number, count: number, command: number): void {
    this.program(source, dest, count, command);
    this.m.kernel.run();
  }
  /** Lets time pass until a transfer is under way. */
  untilTransfer(): void {
    const { registers } = this.model;
    while (!DmaCommand.START.get(registers.get(Reg.DMA_COMMAND))) {
      assert.ok(this.m.kernel.runSlice(1), 'no transfer starts');
    }
  }
}

test('factorials wrap at 32 bits', () => {
  assert.deepEqual([0, 1, 2, 3, 12].map(factorial), [1, 1, 2, 6, 479_001_600]);
  assert.equal(factorial(13), 6_227_020_800 % 2 ** 32);
  assert.equal(factorial(33), 2 ** 31);
  assert.equal(factorial(34), 0);
  assert.equal(factorial(0xffff_ffff), 0);
  const exact = (n: number): bigint => (n < 2 ? 1n : BigInt(n) * exact(n - 1));
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 60 }), (n) => {
      assert.equal(BigInt(factorial(n)), exact(n) % 2n ** 32n);
    }),
  );
});

test('DMA addresses: the buffer holds what fits, and the wire has as many bits as the mask', () => {
  assert.equal(bufferOffset(BUFFER, 4096), 0);
  assert.equal(bufferOffset(BUFFER + 4095, 1), 4095);
  assert.equal(bufferOffset(BUFFER + 4095, 2), -1);
  assert.equal(bufferOffset(BUFFER - 1, 1), -1);
  assert.equal(wireAddress(0x8000_0123, 28), 0x123);
  assert.equal(wireAddress(0x8000_0123, 32), 0x8000_0123);
  assert.equal(wireAddress(2 ** 45 + 5, 45), 5);
});

for (const fidelity of BOTH) {
  test(`${fidelity}: identity and liveness`, () => {
    const rig = new Rig(fidelity);
    const pci = rig.m.function('edu0');
    assert.deepEqual([pci.vendorId, pci.deviceId, pci.bar(0).sizeBytes], [0x1234, 0x11e8, 2 ** 20]);
    assert.equal(rig.read(Reg.ID), 0x0100_00ed);
    rig.write(Reg.ID, 5);
    assert.equal(rig.read(Reg.ID), 0x0100_00ed);
    rig.write(Reg.LIVENESS, 0x1234_5678);
    assert.equal(rig.read(Reg.LIVENESS), 0xedcb_a987);
    rig.m.dispose();
  });

  test(`${fidelity}: accesses of a size or place that the device has not read as ones`, () => {
    const rig = new Rig(fidelity);
    const { cpu } = rig.m;
    assert.equal(rig.done(cpu.read32(rig.at(0xa0))), 0xffff_ffff);
    assert.equal(rig.done(rig.m.root.mmioRead(rig.at(0x00), 2)), 0xffff);
    cpu.write64(rig.at(Reg.LIVENESS.offset - 4), 1, 2);
    assert.equal(rig.read(Reg.LIVENESS), 0);
    rig.m.dispose();
  });

  test(`${fidelity}: a factorial takes its time, refuses another meanwhile, and interrupts if asked`, () => {
    const rig = new Rig(fidelity, { multiplyPs: ns(1000) });
    rig.write(Reg.FACTORIAL, 10);
    rig.m.kernel.runUntil(rig.m.kernel.now + ns(5000));
    assert.equal(rig.model.registers.get(Reg.STATUS), 1);
    rig.write(Reg.FACTORIAL, 3);
    rig.m.kernel.runUntil(rig.m.kernel.now + ns(3000));
    assert.equal(rig.model.registers.get(Reg.FACTORIAL), 10);
    rig.m.kernel.run();
    assert.equal(rig.read(Reg.FACTORIAL), 3_628_800);
    assert.equal(rig.read(Reg.STATUS), 0);
    assert.equal(rig.interrupts, 0);
    rig.write(Reg.STATUS, 0xff);
    assert.equal(rig.read(Reg.STATUS), 0x80, 'only the interrupt bit is writable');
    rig.write(Reg.FACTORIAL, 5);
    rig.m.kernel.run();
    assert.equal(rig.interrupts, 1);
    assert.equal(rig.read(Reg.IRQ_STATUS), Irq.FACTORIAL);
    assert.equal(rig.read(Reg.FACTORIAL), 120);
    rig.m.dispose();
  });

  test(`${fidelity}: interrupts are raised, kept and acknowledged bit by bit`, () => {
    const rig = new Rig(fidelity);
    rig.write(Reg.IRQ_RAISE, 0x8000_0006);
    rig.m.kernel.run();
    assert.equal(rig.interrupts, 1);
    assert.equal(rig.read(Reg.IRQ_STATUS), 0x8000_0006);
    assert.equal(rig.read(Reg.IRQ_RAISE), 0);
    rig.write(Reg.IRQ_ACK, 0x8000_0002);
    assert.equal(rig.read(Reg.IRQ_STATUS), 4);
    rig.write(Reg.IRQ_ACK, 4);
    rig.write(Reg.IRQ_RAISE, 0);
    rig.m.kernel.run();
    assert.equal(rig.interrupts, 1);
    rig.m.dispose();
  });

  test(`${fidelity}: DMA moves bytes both ways, at any place and length`, () => {
    const rig = new Rig(fidelity);
    const page = rig.m.mm.allocate(16384);
    const { memory } = rig.m.mm;
    const at = fc.integer({ min: 0, max: 4095 });
    fc.assert(
      fc.property(at, at, at, (inside, outside, length) => {
        const size = Math.max(1, Math.min(length, 4096 - inside));
        const sent = patternBytes(size, inside + 1);
        const seen = new Uint8Array(size);
        memory.write(page + outside, sent);
        rig.dma(page + outside, BUFFER + inside, size, START | DMA_IRQ);
        rig.dma(BUFFER + inside, page + 8192 + outside, size, START | TO_HOST);
        memory.read(page + 8192 + outside, seen);
        assert.deepEqual(seen, sent);
        assert.equal(rig.read(Reg.DMA_COMMAND) & 1, 0);
      }),
      { numRuns: 20 },
    );
    assert.equal(rig.interrupts, 20);
    assert.equal(rig.read(Reg.IRQ_STATUS), Irq.DMA);
    rig.m.dispose();
  });

  test(`${fidelity}: a transfer that does not fit moves nothing and ends`, () => {
    const rig = new Rig(fidelity);
    const page = rig.m.mm.allocate(8192);
    rig.m.mm.memory.fill(page, 8192, 0x5a);
    const { UnsupportedRequest } = DmaStatus;
    const bad: [number, number, number][] = [
      [page, BUFFER - 4, 8],
      [page, BUFFER + 4090, 8],
      [page, BUFFER, 4097],
      [page, BUFFER, 0],
      [2 ** 60, BUFFER, 8],
      [0x1000, BUFFER, 64],
    ];
    for (const [source, dest, count] of bad) {
      rig.dma(source, dest, count, START | DMA_IRQ);
      assert.equal(rig.read(Reg.DMA_COMMAND) & 1, 0);
      assert.equal(rig.model.dmaStatus, source === 0x1000 ? UnsupportedRequest : DmaStatus.Ok);
    }
    assert.equal(rig.model.buffer.residentBytes, 0);
    assert.equal(rig.interrupts, bad.length);
    rig.m.dispose();
  });

  test(`${fidelity}: while a transfer runs its registers keep their values`, () => {
    const rig = new Rig(fidelity);
    const page = rig.m.mm.allocate(4096);
    const bytes = patternBytes(4096);
    rig.m.mm.memory.write(page, bytes);
    rig.program(page, BUFFER, 4096, START | DMA_IRQ);
    rig.untilTransfer();
    const view = new DataView(new ArrayBuffer(8));
    for (const register of [Reg.DMA_SOURCE, Reg.DMA_DEST, Reg.DMA_COUNT]) {
      rig.model.mmioWrite(register.offset, 8, view, 0);
    }
    view.setUint32(0, START | TO_HOST | DMA_IRQ, true);
    rig.model.mmioWrite(Reg.DMA_COMMAND.offset, 4, view, 0);
    rig.m.kernel.run();
    assert.equal(rig.interrupts, 1);
    assert.equal(rig.read(Reg.DMA_SOURCE), page);
    assert.equal(rig.read(Reg.DMA_COUNT), 4096);
    assert.equal(rig.read(Reg.DMA_COMMAND), DMA_IRQ);
    const seen = new Uint8Array(4096);
    rig.model.buffer.read(0, seen);
    assert.deepEqual(seen, bytes);
    rig.m.dispose();
  });

  test(`${fidelity}: address bits beyond the mask are lost`, () => {
    const rig = new Rig(fidelity, { dmaMaskBits: 32 });
    const page = rig.m.mm.allocate(4096);
    rig.m.mm.memory.fill(page, 16, 0x77);
    rig.dma(2 ** 40 + page, BUFFER, 16, START);
    assert.equal(rig.model.buffer.getU32(12), 0x7777_7777);
    rig.m.dispose();
  });

  test(`${fidelity}: with bus mastering off nothing moves and nothing interrupts`, () => {
    const rig = new Rig(fidelity);
    const page = rig.m.mm.allocate(4096);
    rig.model.buffer.fill(0, 4096, 0x33);
    rig.done(rig.m.kernel.spawn('off', rig.m.function('edu0').setBusMaster(false)));
    rig.dma(BUFFER, page, 4096, START | TO_HOST | DMA_IRQ);
    assert.equal(rig.m.mm.memory.getU32(page), 0);
    assert.equal(rig.model.dmaStatus, DmaStatus.BusMasterOff);
    assert.equal(rig.interrupts, 0);
    rig.m.dispose();
  });

  test(`${fidelity}: the driver computes, transfers and closes`, () => {
    const device = edu({ name: 'edu0', dmaMaskBits: 32 });
    const m = machine({ rootPorts: [{ device }] }).build({ fidelity });
    const done = <T>(pending: Pending<T>): T => {
      m.kernel.run();
      return pending.value;
    };
    done(m.boot());
    const one = done(openEdu(m, 'edu0', { dmaMaskBits: 32 }));
    assert.equal(done(one.identification()), 0x0100_00ed);
    assert.equal(done(one.isAlive()), true);
    const page = m.mm.allocate(16384);
    const bytes = patternBytes(4000, 2);
    m.mm.memory.write(page, bytes.subarray(0, 1000));
    m.mm.memory.write(page + 8192, bytes.subarray(1000));
    const parts = m.mm.pin(page, 1000).append(offsetBy(page, 8192), 3000);
    const mapping = one.function.dma.map(parts, Direction.ToDevice);
    const target = one.function.dma.map(
      m.mm.pin(offsetBy(page, 12288), 4000),
      Direction.FromDevice,
    );
    assert.ok(!isRefusal(mapping) && !isRefusal(target));
    const both = [one.factorial(12), one.toDevice({ ranges: mapping.ranges, bufferOffset: 50 })];
    m.kernel.run();
    assert.equal(both[0]?.value, 479_001_600);
    done(one.fromDevice({ ranges: target.ranges, bufferOffset: 50 }));
    const seen = new Uint8Array(4000);
    m.mm.memory.read(page + 12288, seen);
    assert.deepEqual(seen, bytes);
    const { model } = m.endpoint('edu0');
    assert.ok(model instanceof EduModel);
    assert.equal(model.registers.get(Reg.IRQ_STATUS), 0, 'acknowledged');
    done(one.close());
    assert.deepEqual(m.kernel.outstanding(), []);
    m.dispose();
  });
}

test('a reset in the middle of everything leaves a device that works', () => {
  const rig = new Rig('timed');
  const page = rig.m.mm.allocate(4096);
  const bytes = patternBytes(4096);
  rig.m.mm.memory.write(page, bytes);
  rig.write(Reg.FACTORIAL, 1000);
  rig.program(page, BUFFER, 4096, START | DMA_IRQ);
  rig.untilTransfer();
  rig.model.endpoint.onReset?.();
  rig.program(page + 64, BUFFER, 32, START | DMA_IRQ);
  rig.m.kernel.run();
  assert.equal(rig.interrupts, 1, 'the transfer before the reset is not heard of');
  assert.equal(rig.read(Reg.IRQ_STATUS), Irq.DMA);
  assert.equal(rig.read(Reg.STATUS), 0);
  assert.equal(rig.read(Reg.FACTORIAL), 0);
  const seen = new Uint8Array(32);
  rig.model.buffer.read(0, seen);
  assert.deepEqual(seen, bytes.subarray(64, 96));
  rig.m.dispose();
});

test('the driver names what it refuses', () => {
  const rootPorts = [{ device: edu({ name: 'edu0' }) }, { device: plainDevice('plain0') }];
  const m = machine({ rootPorts }).build();
  m.boot();
  m.kernel.run();
  const failure = <T>(pending: Pending<T>): string => {
    let message = '';
    pending.onDone(
      () => {},
      (error) => {
        message = error.message;
      },
    );
    m.kernel.run();
    return message;
  };
  const opened = openEdu(m, 'edu0');
  m.kernel.run();
  const one = opened.value;
  const page = m.mm.allocate(8192);
  // All of this host's memory is beyond the 28 bits that the documented device has.
  const refusal = one.function.dma.map(m.mm.pin(page, 16), Direction.ToDevice);
  assert.ok(isRefusal(refusal) && refusal.refused === 'EIO');
  assert.match(refusal.reason, /beyond the device's 0x10000000$/);
  const beyond = DmaRangeList.of(dmaAddr(page), 16);
  assert.match(failure(one.toDevice({ ranges: beyond })), /expected addresses up to 0xfffffff/);
  const large = DmaRangeList.of(dmaAddr(0), 8192);
  assert.match(failure(one.toDevice({ ranges: large })), /at most 4096 bytes, got 8192/);
  one.factorial(3);
  assert.match(failure(one.factorial(4)), /one factorial at a time/);
  assert.equal(m.function('plain0').deviceId, 0x11e8);
  assert.throws(() => edu({ dmaMaskBits: 53 }), /dmaMaskBits: expected an integer from 1 to 52/);
  const narrow = openEdu(m, 'edu0', { dmaMaskBits: 0 });
  assert.match(failure(narrow), /edu0 dmaMaskBits: expected an integer from 1 to 52, got 0/);
  m.dispose();
});
