/**
 * Identify, features and log pages, and admin commands that are refused. [NVME] 5.15, 5.16, 5.17, 5.27
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdminOpcode, Feature, IoOpcode, Status, VERSION } from '#devices/nvme/spec.ts';
import {
  Cns,
  IdController,
  IdIndependentNamespace,
  IdNamespace,
} from '#devices/nvme/spec-identify.ts';
import { LogPage, SmartLog } from '#devices/nvme/spec-logs.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import { BLOCK, type Fields, RawDrive } from './raw-drive.ts';

const ALL = 0xffff_ffff;

/** An Identify structure, or the status. */
function identify(drive: RawDrive, cns: number, nsid = 0, csi = 0): DataView | number {
  const page = drive.pages();
  drive.memory.fill(page, 4096, 0xff);
  const code = drive.status({
    ...{ opcode: AdminOpcode.Identify, nsid, prp1: page },
    ...{ cdw10: cns, cdw11: (csi << 24) >>> 0 },
  });
  return code === 0 ? new DataView(drive.bytes(page, 4096).buffer) : code;
}

function structure(drive: RawDrive, cns: number, nsid = 0): DataView {
  const view = identify(drive, cns, nsid);
  if (typeof view === 'number') throw new Error(`Identify ${cns}: status ${view}`);
  return view;
}

const text = (view: DataView, { at, size }: { at: number; size: number }): string =>
  String.fromCharCode(...new Uint8Array(view.buffer, at, size));

test('Identify Controller', () => {
  const drive = new RawDrive({ serial: 'S1', maxTransferBytes: 262_144 }).start();
  const view = structure(drive, Cns.Controller);
  assert.equal(text(view, IdController.SN), 'S1'.padEnd(20));
  assert.match(text(view, IdController.MN), /^pcie-emu NVMe drive {21}$/);
  assert.match(
    text(view, IdController.SUBNQN),
    /^nqn\.2014-08\.org\.nvmexpress:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\0+$/,
  );
  assert.equal(IdController.VER.get(view, 0), VERSION);
  assert.equal(IdController.MDTS.get(view, 0), 6);
  assert.equal(IdController.CNTRLTYPE.get(view, 0), 1);
  assert.equal(IdController.SQES.get(view, 0), 0x66);
  assert.equal(IdController.CQES.get(view, 0), 0x44);
  assert.equal(IdController.NN.get(view, 0), 1);
  assert.equal(IdController.AERL.get(view, 0), 3);
  assert.equal(IdController.ONCS.get(view, 0), 0);
  assert.equal(IdController.SGLS.get(view, 0), 0x1_0001, 'data blocks of any bytes, bit buckets');
  assert.equal(IdController.TNVMCAP.get(view, 0), 4096 * BLOCK);
  drive.dispose();
});

for (const [blockSizeBytes, readOnly, lbads] of [
  [512, false, 9],
  [4096, true, 12],
] as const) {
  test(`Identify Namespace with blocks of ${blockSizeBytes}`, () => {
    const store = new MemoryStore({ blockCount: 1000, blockSizeBytes, readOnly });
    const drive = new RawDrive({ store }).start();
    const view = structure(drive, Cns.Namespace, 1);
    for (const field of ['NSZE', 'NCAP', 'NUSE'] as const) {
      assert.equal(IdNamespace[field].get(view, 0), 1000);
    }
    assert.equal(IdNamespace.LBAF0.get(view, 0), lbads << 16);
    assert.equal(IdNamespace.NSATTR.get(view, 0), Number(readOnly));
    assert.equal(IdNamespace.FLBAS.get(view, 0), 0);
    assert.notEqual(view.getUint32(IdNamespace.NGUID.at), 0);
    assert.equal(
      view.getBigUint64(IdNamespace.EUI64.at),
      view.getBigUint64(IdNamespace.NGUID.at + 8),
    );
    const independent = structure(drive, Cns.IndependentNamespace, 1);
    assert.equal(IdIndependentNamespace.NSTAT.get(independent, 0), 1, 'ready');
    assert.equal(IdIndependentNamespace.NSATTR.get(independent, 0), Number(readOnly));
    drive.dispose();
  });
}

test('lists of namespaces, descriptors and command sets', () => {
  const drive = new RawDrive().start();
  const first = (cns: number, nsid: number): number =>
    structure(drive, cns, nsid).getUint32(0, true);
  assert.equal(first(Cns.ActiveNamespaces, 0), 1);
  assert.equal(first(Cns.ActiveNamespaces, 1), 0);
  assert.equal(first(Cns.CommandSetActiveNamespaces, 0), 1);
  const descriptors = structure(drive, Cns.NamespaceDescriptors, 1);
  const types: number[][] = [];
  for (let at = 0; descriptors.getUint8(at + 1) > 0; at += 4 + descriptors.getUint8(at + 1)) {
    types.push([descriptors.getUint8(at), descriptors.getUint8(at + 1)]);
  }
  assert.deepEqual(types, [
    [1, 8],
    [2, 16],
    [3, 16],
    [4, 1],
  ]);
  assert.equal(structure(drive, Cns.CommandSets).getUint8(0), 1);
  assert.equal(structure(drive, Cns.CommandSetController).getUint32(0), 0);
  assert.equal(structure(drive, Cns.CommandSetNamespace, 1).getUint32(0), 0);
  drive.dispose();
});

test('two drives have identifiers of their own, the same in every run', () => {
  const id = (): number => {
    const drive = new RawDrive().start();
    const value = structure(drive, Cns.Namespace, 1).getUint32(IdNamespace.NGUID.at);
    drive.dispose();
    return value;
  };
  assert.equal(id(), id());
});

test('Identify refuses what there is not', () => {
  const drive = new RawDrive().start();
  const { InvalidField, InvalidNamespaceOrFormat } = Status;
  assert.equal(identify(drive, Cns.Namespace, 0), InvalidNamespaceOrFormat);
  assert.equal(identify(drive, Cns.Namespace, 2), InvalidNamespaceOrFormat);
  assert.equal(identify(drive, Cns.Namespace, ALL), InvalidNamespaceOrFormat);
  assert.equal(identify(drive, Cns.NamespaceDescriptors, 2), InvalidNamespaceOrFormat);
  assert.equal(identify(drive, Cns.IndependentNamespace, 2), InvalidNamespaceOrFormat);
  assert.equal(identify(drive, Cns.ActiveNamespaces, ALL), InvalidNamespaceOrFormat);
  assert.equal(identify(drive, Cns.ActiveNamespaces, ALL - 1), InvalidNamespaceOrFormat);
  assert.equal(identify(drive, Cns.CommandSetNamespace, 1, 2), InvalidField);
  assert.equal(identify(drive, Cns.CommandSetController, 0, 2), InvalidField);
  assert.equal(identify(drive, Cns.CommandSetActiveNamespaces, 0, 1), InvalidField);
  assert.equal(identify(drive, 0x10), InvalidField);
  assert.equal(identify(drive, 0xff), InvalidField);
  drive.dispose();
});

test('Identify data goes where both PRPs point, and nowhere else', () => {
  const drive = new RawDrive().start();
  const pages = drive.pages(4);
  drive.memory.fill(pages, 4 * 4096, 0xee);
  const fields = { opcode: AdminOpcode.Identify, cdw10: Cns.Controller };
  const code = drive.status({ ...fields, prp1: pages + 0xc00, prp2: pages + 8192 });
  assert.equal(code, 0);
  assert.deepEqual(new Set(drive.bytes(pages, 0xc00)), new Set([0xee]));
  assert.deepEqual(new Set(drive.bytes(pages + 4096, 4096)), new Set([0xee]));
  assert.deepEqual(new Set(drive.bytes(pages + 8192 + 0xc00, 0x1400)), new Set([0xee]));
  assert.equal(drive.memory.getU16(pages + 0xc00), 0x1234);
  assert.equal(drive.memory.getU16(pages + 8192 + IdController.PSD0_MP.at - 0x400), 2500);
  assert.equal(drive.status({ ...fields, prp1: pages + 2 }), Status.PrpOffsetInvalid);
  assert.equal(
    drive.status({ ...fields, prp1: pages + 4, prp2: pages + 8 }),
    Status.PrpOffsetInvalid,
  );
  drive.dispose();
});

const feature = (fid: number, more: Partial<Fields> = {}): Fields => ({
  opcode: AdminOpcode.GetFeatures,
  ...more,
  cdw10: fid | (more.cdw10 ?? 0),
});
const setting = (fid: number, cdw11: number, more: Partial<Fields> = {}): Fields => ({
  opcode: AdminOpcode.SetFeatures,
  cdw11,
  ...more,
  cdw10: (fid | (more.cdw10 ?? 0)) >>> 0,
});
const DEFAULT = 1 << 8;
const SAVED = 2 << 8;
const CAPABILITIES = 3 << 8;

const stored: readonly (readonly [fid: number, initial: number, value: number, nsid: number])[] = [
  [Feature.Arbitration, 0, 0x0102_0307, 0],
  [Feature.PowerManagement, 0, 0x20, 0],
  [Feature.TemperatureThreshold, 343, 350, 0],
  [Feature.ErrorRecovery, 0, 0x64, 1],
  [Feature.VolatileWriteCache, 1, 0, 0],
  [Feature.InterruptCoalescing, 0, 0x0a08, 0],
  [Feature.InterruptVectorConfig, 0, 0x0001_0000, 0],
  [Feature.WriteAtomicityNormal, 0, 1, 0],
  [Feature.AsyncEventConfig, 0, 0x1f, 0],
];

for (const [fid, initial, value, nsid] of stored) {
  test(`feature ${fid} is stored, has a default, and is reset with the controller`, () => {
    const drive = new RawDrive().start();
    const get = (cdw10 = 0) => drive.command(drive.admin, feature(fid, { nsid, cdw10 })).dw0;
    assert.equal(get(), initial);
    assert.equal(drive.status(setting(fid, value, { nsid })), 0);
    assert.equal(get(), value);
    assert.equal(get(DEFAULT), initial);
    assert.equal(get(SAVED), initial);
    assert.equal(get(CAPABILITIES), nsid ? 6 : 4);
    const { FeatureNotSaveable, InvalidField } = Status;
    assert.equal(
      drive.status(setting(fid, value, { nsid, cdw10: 0x8000_0000 })),
      FeatureNotSaveable,
    );
    assert.equal(drive.status(feature(fid, { nsid, cdw10: 4 << 8 })), InvalidField);
    drive.write({ offset: 0x14 }, 0);
    drive.admin = drive.queue(0, 16);
    drive.start();
    assert.equal(get(), initial);
    drive.dispose();
  });
}

test('features refuse wrong values and wrong namespaces', () => {
  const drive = new RawDrive().start();
  const { InvalidField, InvalidNamespaceOrFormat, FeatureNotNamespaceSpecific } = Status;
  assert.equal(drive.status(feature(0x7f)), InvalidField);
  assert.equal(drive.status(setting(0, 0)), InvalidField);
  assert.equal(drive.status(setting(Feature.PowerManagement, 1)), InvalidField);
  assert.equal(drive.status(setting(Feature.ErrorRecovery, 0x1_0000, { nsid: 1 })), InvalidField);
  assert.equal(drive.status(setting(Feature.TemperatureThreshold, 0x1_0000)), InvalidField);
  assert.equal(
    drive.status(feature(Feature.TemperatureThreshold, { cdw11: 0x20_0000 })),
    InvalidField,
  );
  assert.equal(drive.status(setting(Feature.TemperatureThreshold, 0xf_0140)), 0, 'all sensors');
  assert.equal(drive.status(setting(Feature.InterruptVectorConfig, 5)), InvalidField);
  assert.equal(drive.status(feature(Feature.InterruptVectorConfig, { cdw11: 5 })), InvalidField);
  assert.equal(drive.status(feature(Feature.ErrorRecovery)), InvalidNamespaceOrFormat);
  assert.equal(
    drive.status(setting(Feature.ErrorRecovery, 1, { nsid: 2 })),
    InvalidNamespaceOrFormat,
  );
  assert.equal(drive.status(setting(Feature.ErrorRecovery, 1, { nsid: ALL })), 0);
  assert.equal(
    drive.status(feature(Feature.Arbitration, { nsid: 1 })),
    FeatureNotNamespaceSpecific,
  );
  assert.equal(drive.status(feature(Feature.Arbitration, { nsid: ALL })), 0);
  drive.dispose();
});

interface LogRequest {
  readonly dwords?: number;
  readonly offset?: number;
  readonly offsetHigh?: number;
  readonly nsid?: number;
  readonly cdw14?: number;
}

/** Bytes of a log page, or the status. */
function log(drive: RawDrive, lid: number, request: LogRequest = {}): Uint8Array | number {
  const { dwords = 1024, offset = 0, offsetHigh = 0, nsid = ALL, cdw14 = 0 } = request;
  const pages = drive.pages(4);
  drive.memory.fill(pages, 16384, 0xee);
  const code = drive.status({
    ...{ opcode: AdminOpcode.GetLogPage, nsid, prp1: pages, prp2: pages + 4096, cdw14 },
    cdw10: (lid | (((dwords - 1) & 0xffff) << 16)) >>> 0,
    cdw11: (dwords - 1) >>> 16,
    cdw12: offset,
    cdw13: offsetHigh,
  });
  return code === 0 ? drive.bytes(pages, dwords * 4 + 4) : code;
}

test('log pages: lengths and offsets', () => {
  const drive = new RawDrive().start();
  const whole = log(drive, LogPage.Effects);
  const part = log(drive, LogPage.Effects, { dwords: 4, offset: 1024 });
  if (typeof whole === 'number' || typeof part === 'number') throw new Error('refused');
  assert.deepEqual([...part.subarray(0, 16)], [...whole.subarray(1024, 1040)]);
  assert.deepEqual([...part.subarray(16)], [0xee, 0xee, 0xee, 0xee], 'no more than asked for');
  const beyond = log(drive, LogPage.Smart, { dwords: 256 });
  if (typeof beyond === 'number') throw new Error('refused');
  assert.deepEqual(new Set(beyond.subarray(512, 1024)), new Set([0]));
  const { InvalidField, InvalidLogPage } = Status;
  assert.equal(log(drive, LogPage.Smart, { offset: 512 }), InvalidField, 'offset = size');
  assert.equal(log(drive, LogPage.Smart, { offset: 2 }), InvalidField, 'unaligned');
  assert.equal(log(drive, LogPage.Smart, { offsetHigh: 1 }), InvalidField, 'above 32 bits');
  assert.equal(log(drive, LogPage.Smart, { offset: 0xffff_fffc }), InvalidField);
  assert.equal(log(drive, LogPage.Smart, { cdw14: 1 << 23 }), InvalidField, 'index offset');
  assert.equal(log(drive, LogPage.Smart, { nsid: 1 }), InvalidField, 'per namespace');
  assert.equal(log(drive, 0x0c), InvalidLogPage);
  assert.equal(log(drive, 0xff), InvalidLogPage);
  assert.equal(
    drive.status({ opcode: AdminOpcode.GetLogPage, nsid: ALL, cdw10: 0xffff_0002, cdw11: 0xffff }),
    InvalidField,
    'more than MDTS',
  );
  drive.dispose();
});

test('log pages tell what is supported', () => {
  const drive = new RawDrive().start();
  const set = (lid: number): number[] => {
    const bytes = log(drive, lid);
    if (typeof bytes === 'number') throw new Error(`log ${lid}: ${bytes}`);
    return [...bytes.subarray(0, 1024).entries()]
      .filter(([i, byte]) => byte && i % 4 === 0)
      .map(([i]) => i / 4);
  };
  assert.deepEqual(set(LogPage.SupportedPages), [0, 1, 2, 3, 5, 0x12, 0x13]);
  assert.deepEqual(
    set(LogPage.Effects),
    Object.values(AdminOpcode).sort((a, b) => a - b),
  );
  assert.deepEqual(set(LogPage.FeatureEffects), Object.values(Feature));
  const firmware = log(drive, LogPage.Firmware);
  if (typeof firmware === 'number') throw new Error('refused');
  assert.equal(firmware[0], 1);
  assert.equal(String.fromCharCode(...firmware.subarray(8, 16)), '1.0     ');
  assert.deepEqual(set(LogPage.ManagementEffects), []);
  drive.dispose();
});

test('the health log counts traffic, the error log keeps the last failures', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue();
  const data = drive.pages();
  const io = (opcode: number, block: number): number =>
    drive.command(queue, { opcode, nsid: 1, prp1: data, cdw10: block, cdw12: 7 }).code;
  assert.equal(io(IoOpcode.Write, 0), 0);
  assert.equal(io(IoOpcode.Read, 0), 0);
  assert.equal(io(IoOpcode.Read, 8), 0);
  for (let i = 0; i < 20; i++) assert.equal(io(IoOpcode.Read, 5000 + i), Status.LbaOutOfRange);
  const smart = log(drive, LogPage.Smart, { dwords: 128 });
  const errors = log(drive, LogPage.Error, { dwords: 256 });
  if (typeof smart === 'number' || typeof errors === 'number') throw new Error('refused');
  const health = new DataView(smart.buffer);
  assert.equal(SmartLog.hostReads.get(health, 0), 2);
  assert.equal(SmartLog.hostWrites.get(health, 0), 1);
  assert.equal(SmartLog.dataUnitsRead.get(health, 0), 1);
  assert.equal(SmartLog.errorLogEntries.get(health, 0), 20);
  const entries = new DataView(errors.buffer);
  for (let i = 0; i < 16; i++) {
    assert.equal(entries.getUint32(64 * i, true), 20 - i, 'newest first');
    assert.equal(entries.getUint16(64 * i + 8, true), 1);
    assert.equal(entries.getUint16(64 * i + 12, true) >> 1, Status.LbaOutOfRange);
    assert.equal(entries.getUint32(64 * i + 16, true), 5019 - i);
  }
  drive.dispose();
});

test('opcodes that are not there, fused commands and SGLs of admin commands are refused', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue();
  for (const opcode of [0x03, 0x0d, 0x10, 0x7c, 0x7f, 0x80, 0x84, 0xff]) {
    assert.equal(drive.status({ opcode }), Status.InvalidOpcode);
  }
  for (const opcode of [0x04, 0x05, 0x08, 0x09, 0x7f, 0xff]) {
    assert.equal(drive.command(queue, { opcode, nsid: 1 }).code, Status.InvalidOpcode);
  }
  for (const flags of [0x01, 0x02, 0x40, 0x80, 0xc0]) {
    assert.equal(
      drive.status({ opcode: AdminOpcode.Identify, flags, cdw10: 1 }),
      Status.InvalidField,
    );
  }
  for (const flags of [0x01, 0x02, 0xc0]) {
    assert.equal(drive.command(queue, { opcode: 2, nsid: 1, flags }).code, Status.InvalidField);
  }
  drive.dispose();
});
