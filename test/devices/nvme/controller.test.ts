/**
 * Controller properties, enable, failure, reset and shutdown, as seen through BAR0. [NVME] 3.1.3, 3.5.1, 3.6.1, 3.7.2
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TIMING } from '#devices/nvme/index.ts';
import { AdminOpcode, Cc, Csts, Property, Shn, VERSION } from '#devices/nvme/spec.ts';
import { ns } from '#emu/base/units.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import { CapabilityId, Command, DevCtl, Header, Pcie } from '#emu/pcie/config/config-registers.ts';
import { BLOCK, CC, EN, NOWHERE, RawDrive } from './raw-drive.ts';

const READY = 1;
const FATAL = 2;
const SHUT_DOWN = 2 << 2;

test('capabilities read as two dwords, and no access beyond the properties disturbs', () => {
  const drive = new RawDrive({ maxQueueEntries: 256 });
  assert.equal(drive.read(Property.CapLo), 0x0a01_00ff);
  // CSS bits 0 and 6, MPSMAX 64 KiB, ready with media support.
  assert.equal(drive.read(Property.CapHi), 0x0840_0820);
  assert.equal(drive.read(Property.Vs), VERSION);
  assert.equal(drive.read(Property.Crto), 10);
  assert.equal(drive.csts, 0);
  assert.equal(drive.read({ offset: 0xe00 }), 0, 'PMR registers without a PMR');
  assert.equal(drive.read({ offset: 0x1000 }), 0, 'doorbells read as zero');
  drive.write(Property.CapLo, 0xffff_ffff);
  drive.write(Property.Csts, 0xffff_ffff);
  assert.equal(drive.read(Property.CapLo), 0x0a01_00ff);
  assert.equal(drive.csts, 0);
  drive.dispose();
});

test('registers take writes of any size, high or low half first', () => {
  const drive = new RawDrive();
  drive.writeBytes(0x28, 8, 0x8000_1000, 0x7);
  assert.equal(drive.read(Property.AsqLo), 0x8000_1000);
  assert.equal(drive.read(Property.AsqHi), 0x7);
  drive.write(Property.AcqHi, 0x1);
  drive.write(Property.AcqLo, 0x8000_2000);
  assert.equal(drive.read(Property.AcqLo), 0x8000_2000);
  drive.writeBytes(0x24, 1, 0x1f);
  drive.writeBytes(0x26, 2, 0xffff);
  assert.equal(drive.read(Property.Aqa), 0x0fff_001f, 'reserved bits stay 0');
  drive.write(Property.Intms, 0b1100);
  drive.write(Property.Intms, 0b0001);
  drive.write(Property.Intmc, 0b0100);
  assert.equal(drive.read(Property.Intms), 0b1001);
  assert.equal(drive.read(Property.Intmc), 0b1001);
  drive.dispose();
});

test('CC is written in two steps, first without EN', () => {
  const drive = new RawDrive();
  drive.setAdminQueues();
  drive.write(Property.Cc, 0x0046_0060);
  assert.equal(drive.csts, 0);
  drive.write(Property.Cc, 0x0046_0061);
  assert.equal(drive.csts, READY);
  assert.equal(drive.status({ opcode: AdminOpcode.GetFeatures, cdw10: 7 }), 0);
  drive.dispose();
});

test('becoming ready and not ready takes the time that the drive says', () => {
  const drive = new RawDrive({ timing: 'optane' });
  drive.setAdminQueues();
  drive.post(Property.Cc, CC | EN);
  assert.equal(drive.poll(Property.Csts), 0);
  drive.wait(100e6);
  assert.equal(drive.poll(Property.Csts), READY);
  drive.post(Property.Cc, CC);
  assert.equal(drive.poll(Property.Csts), READY, 'still ready while the reset is under way');
  drive.wait(20e6);
  assert.equal(drive.poll(Property.Csts), 0);
  drive.dispose();
});

const refused: readonly (readonly [what: string, set: (drive: RawDrive) => number])[] = [
  ['admin queues of one entry', (drive) => set(drive, Property.Aqa, 0)],
  ['a submission queue of one entry', (drive) => set(drive, Property.Aqa, 15 << 16)],
  ['a completion queue of one entry', (drive) => set(drive, Property.Aqa, 15)],
  ['a misaligned submission queue', (drive) => set(drive, Property.AsqLo, drive.admin.sq + 64)],
  ['a misaligned completion queue', (drive) => set(drive, Property.AcqLo, drive.admin.cq + 16)],
  ['pages that are too large', () => Cc.MPS.put(CC, 5)],
  [
    'queues misaligned for larger pages',
    (drive) => {
      set(drive, Property.AsqLo, 0x8001_1000);
      return Cc.MPS.put(CC, 1);
    },
  ],
  ['an unknown command set', () => Cc.CSS.put(CC, 1)],
  ['weighted arbitration', () => Cc.AMS.put(CC, 1)],
];

function set(drive: RawDrive, property: { readonly offset: number }, value: number): number {
  drive.write(property, value);
  return CC;
}

for (const [what, apply] of refused) {
  test(`enable fails with ${what}, and works after a reset`, () => {
    const drive = new RawDrive();
    drive.setAdminQueues();
    const cc = apply(drive);
    drive.write(Property.Cc, cc | EN);
    assert.equal(drive.csts, FATAL);
    drive.ringTail(0, 1);
    assert.equal(drive.csts, FATAL, 'doorbells do nothing');
    drive.write(Property.Cc, cc);
    assert.equal(drive.csts, 0);
    drive.start();
    assert.equal(drive.csts, READY);
    assert.equal(drive.status({ opcode: AdminOpcode.GetFeatures, cdw10: 7 }), 0);
    drive.dispose();
  });
}

test('address 0 is a legal queue; reading where nothing answers is fatal', () => {
  const drive = new RawDrive();
  drive.setAdminQueues();
  drive.write(Property.AsqLo, 0);
  drive.write(Property.Cc, CC | EN);
  assert.equal(drive.csts, READY);
  drive.ringTail(0, 1);
  assert.equal(drive.csts, READY | FATAL);
  drive.write(Property.Cc, 0);
  assert.equal(drive.csts, 0);
  drive.dispose();
});

test('a submission queue beyond 2^52 is fatal at its first fetch', () => {
  const drive = new RawDrive();
  drive.setAdminQueues();
  drive.write(Property.AsqHi, 0xffff_ffff);
  drive.write(Property.Cc, CC | EN);
  assert.equal(drive.csts, READY);
  drive.ringTail(0, 1);
  assert.equal(drive.csts, READY | FATAL);
  drive.dispose();
});

for (const [what, place] of [
  ['where nothing answers', [NOWHERE, 0]],
  ['beyond 2^52', [0, 0xffff_ffff]],
] as const) {
  test(`completions posted ${what} are lost without a word`, () => {
    const drive = new RawDrive();
    drive.setAdminQueues();
    drive.write(Property.AcqLo, place[0]);
    drive.write(Property.AcqHi, place[1]);
    drive.write(Property.Cc, CC | EN);
    drive.push(drive.admin, { opcode: AdminOpcode.GetFeatures, cdw10: 7 });
    drive.ring(drive.admin);
    assert.equal(drive.csts, READY);
    assert.deepEqual(drive.peek(drive.admin), []);
    drive.dispose();
  });
}

test('without bus mastering nothing moves and the controller fails', () => {
  const drive = new RawDrive().start();
  drive.process(drive.pci.setBusMaster(false));
  drive.push(drive.admin, { opcode: AdminOpcode.GetFeatures, cdw10: 7 });
  drive.ring(drive.admin);
  assert.equal(drive.csts, READY | FATAL);
  assert.deepEqual(drive.peek(drive.admin), []);
  drive.process(drive.pci.setBusMaster(true));
  drive.ringTail(0, 2);
  assert.equal(drive.csts, READY | FATAL, 'until it is reset');
  drive.write(Property.Cc, 0);
  assert.equal(drive.csts, 0);
  drive.dispose();
});

test('bus mastering lost between fetch and completion is fatal too', () => {
  const drive = new RawDrive({ timing: 'optane' }).start();
  drive.push(drive.admin, { opcode: AdminOpcode.GetFeatures, cdw10: 7 });
  drive.postTail(drive.admin);
  drive.wait(2e6);
  drive.machine.endpoint('nvme0').config.write(4, 2, 2);
  drive.run();
  assert.equal(drive.csts, READY | FATAL);
  assert.deepEqual(drive.peek(drive.admin), []);
  drive.dispose();
});

for (const fidelity of ['timed', 'functional'] as const) {
  test(`reset with the same admin queues starts over: heads, tails, phase (${fidelity})`, () => {
    const drive = new RawDrive({ fidelity }).start();
    drive.ioQueue();
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 5; i++)
        assert.equal(drive.status({ opcode: AdminOpcode.GetFeatures, cdw10: 7 }), 0);
      drive.write(Property.Cc, CC);
      assert.equal(drive.csts, 0);
      assert.equal(drive.read(Property.Aqa), 0x000f_000f, 'admin queue properties stay');
      drive.memory.fill(drive.admin.cq, 4096, 0);
      drive.admin.tail = 0;
      drive.admin.head = 0;
      drive.admin.phase = 1;
      drive.write(Property.Cc, CC | EN);
      assert.equal(drive.csts, READY);
    }
    assert.ok(drive.ioQueue(), 'I/O queues are gone after a reset');
    drive.dispose();
  });

  test(`reset with I/O under way: it ends quietly, and nothing moves after RDY = 0 (${fidelity})`, () => {
    const store = new MemoryStore({ blockCount: 8192, blockSizeBytes: BLOCK });
    const timing = { ...TIMING.optane, resetLatencyPs: ns(0) };
    const drive = new RawDrive({ fidelity, store, timing }).start();
    for (let after = 0; after < 12; after++) {
      drive.admin = drive.queue(0, 16);
      drive.write(Property.Cc, CC);
      drive.start();
      const queue = drive.ioQueue();
      const data = drive.pages(256);
      for (let i = 0; i < 8; i++) {
        drive.push(queue, {
          opcode: 1 + (i & 1),
          nsid: 1,
          prp1: data,
          prp2: data + 4096,
          cdw12: 15,
        });
      }
      drive.postTail(queue);
      drive.wait(after * 0.9e6);
      drive.post(Property.Cc, CC);
      while (drive.poll(Property.Csts) & READY) drive.wait(100_000);
      drive.memory.fill(data, 4096 * 256, 0xee);
      drive.memory.fill(queue.cq, 4096, 0);
      const before = drive.machine.fabric.delivered;
      drive.run();
      assert.equal(drive.machine.fabric.delivered, before);
      assert.deepEqual(new Set(drive.bytes(data, 4096 * 256)), new Set([0xee]));
    }
    drive.dispose();
  });
}

test('a function-level reset puts everything back, at any moment', () => {
  const drive = new RawDrive({ fidelity: 'timed', timing: 'optane' });
  for (let round = 0; round < 10; round++) {
    drive.admin = drive.queue(0, 16);
    drive.process(drive.pci.setBusMaster(true));
    drive.start();
    const queue = drive.ioQueue();
    const data = drive.pages(32);
    for (let i = 0; i < 8; i++) {
      drive.push(queue, { opcode: 2, nsid: 1, prp1: data, prp2: data + 4096, cdw12: 15 });
    }
    drive.postTail(queue);
    drive.wait(round * 1.1e6);
    const control = drive.pci.capability(CapabilityId.Pcie) + Pcie.DevCtl;
    drive.process(drive.pci.configWrite16(control, DevCtl.InitiateFlr.of(1)));
    // Software puts BAR and memory decoding back. [PCIE] 6.6.2
    drive.process(drive.pci.configWrite32(Header.Bar0, drive.bar));
    drive.process(drive.pci.configWrite16(Header.Command, Command.MSE.of(1)));
    assert.equal(drive.csts, 0);
    assert.equal(drive.read(Property.Aqa), 0);
    assert.equal(drive.read(Property.Cc), 0);
  }
  drive.dispose();
});

test('shutdown completes, stops commands, and a reset ends it', () => {
  const drive = new RawDrive().start();
  const cc = CC | EN;
  drive.write(Property.Cc, Cc.SHN.put(cc, Shn.Normal));
  assert.equal(drive.csts, READY | SHUT_DOWN);
  drive.push(drive.admin, { opcode: AdminOpcode.GetFeatures, cdw10: 7 });
  drive.ring(drive.admin);
  assert.deepEqual(drive.peek(drive.admin), []);
  drive.write(Property.Cc, 0);
  assert.equal(drive.csts, 0);
  drive.admin = drive.queue(0, 16);
  drive.start();
  assert.equal(Csts.RDY.get(drive.csts), 1);
  assert.equal(Csts.SHST.get(drive.csts), 0);
  drive.dispose();
});

test('shutdown of a disabled controller completes too, and flushes the store', () => {
  let flushes = 0;
  const store = new MemoryStore({ blockCount: 8, blockSizeBytes: BLOCK });
  const drive = new RawDrive({
    store: Object.assign(Object.create(store), {
      flush() {
        flushes++;
        return store.flush();
      },
    }),
  });
  drive.write(Property.Cc, Cc.SHN.put(0, Shn.Abrupt));
  assert.equal(drive.csts, SHUT_DOWN);
  assert.equal(flushes, 1);
  drive.setAdminQueues();
  drive.write(Property.Cc, CC | EN);
  assert.equal(drive.csts, READY);
  drive.dispose();
});

test('a reset in the middle of a large write: no more of it reaches the medium, and nothing completes', () => {
  const store = new MemoryStore({ blockCount: 2048, blockSizeBytes: BLOCK });
  const drive = new RawDrive({ fidelity: 'timed', store }).start();
  const queue = drive.ioQueue();
  const data = drive.pages(256);
  const list = drive.pages();
  drive.scribble(data, 2 ** 20);
  for (let i = 1; i < 256; i++) drive.memory.setU64(list + 8 * (i - 1), data + 4096 * i);
  drive.push(queue, { opcode: 1, nsid: 1, prp1: data, prp2: list, cdw12: 2047 });
  drive.postTail(queue);
  // More requests than the fetches of the command and its list: data is on its way.
  while (drive.machine.endpoint('nvme0').outstandingReads < 8) drive.wait(10_000);
  drive.post(Property.Cc, CC);
  drive.run();
  assert.equal(drive.csts, 0);
  assert.equal(store.memory.residentBytes, 0);
  assert.deepEqual(drive.peek(queue), []);
  drive.dispose();
});

test('enabled again while a reset is under way: ready once it is through', () => {
  const drive = new RawDrive({ timing: 'optane' }).start();
  drive.admin = drive.queue(0, 16);
  drive.post(Property.Cc, CC);
  drive.setAdminQueues();
  drive.start();
  assert.equal(drive.csts, READY);
  assert.equal(drive.status({ opcode: AdminOpcode.GetFeatures, cdw10: 7 }), 0);
  drive.post(Property.Cc, CC);
  drive.post(Property.Cc, CC | EN);
  drive.run();
  assert.equal(drive.csts, READY);
  drive.dispose();
});

test('data that could not leave is fatal, although its completion could', () => {
  const store = new MemoryStore({ blockCount: 2048, blockSizeBytes: BLOCK });
  const drive = new RawDrive({ fidelity: 'timed', store, timing: 'optane' }).start();
  const queue = drive.ioQueue();
  const data = drive.pages(256);
  const list = drive.pages();
  for (let i = 1; i < 256; i++) drive.memory.setU64(list + 8 * (i - 1), data + 4096 * i);
  drive.push(queue, { opcode: 2, nsid: 1, prp1: data, prp2: list, cdw12: 2047 });
  drive.postTail(queue);
  drive.wait(100e6);
  const { config } = drive.machine.endpoint('nvme0');
  config.write(Header.Command, 2, Command.MSE.of(1));
  drive.wait(50e6);
  config.write(Header.Command, 2, Command.MSE.of(1) | Command.BME.of(1));
  drive.run();
  assert.equal(drive.csts, READY | FATAL);
  drive.dispose();
});

test('a failure during shutdown does not keep it from completing', () => {
  const drive = new RawDrive({ timing: 'optane' }).start();
  drive.push(drive.admin, { opcode: AdminOpcode.GetFeatures, cdw10: 7 });
  drive.postTail(drive.admin);
  drive.wait(1e6);
  drive.post(Property.Cc, Cc.SHN.put(CC | EN, Shn.Normal));
  drive.wait(1e6);
  drive.machine.endpoint('nvme0').config.write(Header.Command, 2, Command.MSE.of(1));
  drive.run();
  assert.equal(drive.csts, READY | FATAL | SHUT_DOWN);
  drive.dispose();
});
