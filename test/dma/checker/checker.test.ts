/**
 * The checker: every class of wrong use is reported with the places of both calls, and right use is not.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { dmaAddr, offsetBy, physAddr } from '#emu/base/units.ts';
import { type CheckerAction, DmaChecker } from '#emu/dma/checker/checker.ts';
import { CheckerClass } from '#emu/dma/checker/checker-class.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import type { ListHold } from '#emu/dma/lists/list-hold.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { FAR, FakeView, IommuDriverRig, threePorts } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const PATH = 'rc0.port0.dev0';
const { ToDevice, FromDevice, Bidirectional } = Direction;

function checked(onError: CheckerAction = 'collect', flush: FlushPolicy = FlushPolicy.Strict) {
  const rig = new IommuDriverRig({}, { flush });
  const { kernel } = rig.host;
  const sites: string[] = [];
  const sited = (): object => {
    const name = `site${sites.length}`;
    sites.push(name);
    return { toString: () => name };
  };
  const checker = new DmaChecker({ kernel, here: sited, onError });
  checker.attach(rig.device, PATH);
  const direct = new DirectProvider({ kernel, view: new FakeView(threePorts()) }).device(FAR);
  checker.attach(direct, 'direct0');
  const access = (address: number, size: number, isWrite: boolean, path = PATH): void =>
    checker.accessed(path, dmaAddr(address), size, isWrite);
  const classes = (): string[] => checker.reports.map((report) => report.class);
  return { rig, kernel, checker, direct, access, classes };
}

const pages = (count = 1, at = 0): PhyRangeList =>
  PhyRangeList.of(offsetBy(HOST, at), count * 4096);
const isChecker = (text: RegExp) => (error: unknown) =>
  error instanceof EmuError && error.code === 'CHECKER' && text.test(error.message);

test('right use gives no report', () => {
  const { rig, kernel, checker, access } = checked('throw');
  const mapping = rig.map(pages(4), Bidirectional);
  const address = mapping.ranges.address(0);
  access(address, 16384, true);
  access(address + 100, 5000, false);
  access(address - 4096, 4096, true);
  rig.device.sync(mapping, 'cpu', { offsetBytes: 0, sizeBytes: 4096 });
  rig.device.sync(mapping, 'device', { offsetBytes: 0, sizeBytes: 4096 });
  access(address, 16384, true);
  rig.device.unmap(mapping);
  kernel.run();
  assert.deepEqual([checker.count, checker.live()], [0, []]);
});

test('unmap twice names all three places', () => {
  const { rig } = checked();
  const mapping = rig.map(pages(), ToDevice);
  rig.device.unmap(mapping);
  const text =
    /not live any more; rc0\.port0\.dev0: made at site0, ended at site1, wrong call at site2/;
  assert.throws(() => rig.device.unmap(mapping), isChecker(text));
});

test("unmap of another function's mapping is reported", () => {
  const { rig, direct } = checked();
  const mapping = rig.map(pages(), ToDevice);
  assert.throws(
    () => direct.unmap(mapping),
    isChecker(/did not make; direct0: wrong call at site1/),
  );
});

test('rights that the route does not enforce', () => {
  const { direct, access, classes, checker } = checked();
  const read = direct.map(pages(), ToDevice);
  const write = direct.map(pages(1, 2 ** 20), FromDevice);
  assert.ok(!isRefusal(read) && !isRefusal(write));
  access(HOST, 64, false, 'direct0');
  access(HOST + 2 ** 20, 64, true, 'direct0');
  assert.deepEqual(classes(), []);
  access(HOST, 64, true, 'direct0');
  access(HOST + 2 ** 20, 64, false, 'direct0');
  assert.deepEqual(classes(), ['direction', 'direction']);
  assert.match(
    checker.reports[0]!.message,
    /direct0: write of 64 bytes at 0x1000000000: .*reading only; .*mapped at site0/,
  );
});

test('accesses after unmap: in the lazy window, while unmapping, where nothing refuses them', () => {
  const lazy = checked('collect', FlushPolicy.Lazy);
  const mapping = lazy.rig.map(pages(), Bidirectional);
  const address = mapping.ranges.address(0);
  lazy.rig.access(address, true);
  lazy.rig.device.unmap(mapping);
  assert.equal(lazy.rig.access(address, true), HOST);
  lazy.access(address, 64, true);
  assert.deepEqual(lazy.classes(), ['after-unmap']);
  assert.match(lazy.checker.reports[0]!.message, /has ended; .*mapped at site0, unmapped at site1/);

  const strict = checked();
  const other = strict.rig.map(pages(), Bidirectional);
  strict.rig.device.unmap(other);
  strict.access(other.ranges.address(0), 64, true);
  assert.match(strict.checker.reports[0]!.message, /is ending/);

  const plain = strict.direct.map(pages(1, 2 ** 20), Bidirectional);
  assert.ok(!isRefusal(plain));
  strict.direct.unmap(plain);
  strict.access(HOST + 2 ** 20, 64, false, 'direct0');
  assert.deepEqual(strict.classes(), ['after-unmap', 'after-unmap']);
});

test('a new mapping of the same addresses makes accesses right again', () => {
  const { direct, access, checker } = checked('throw');
  for (let i = 0; i < 3000; i++) {
    const mapping = direct.map(pages(), Bidirectional);
    assert.ok(!isRefusal(mapping));
    access(HOST, 4096, true, 'direct0');
    direct.unmap(mapping);
  }
  assert.equal(checker.count, 0);
});

test("accesses to a revoked lease and to what is the CPU's", () => {
  const { rig, access, classes } = checked();
  const list = pages(2);
  let isRevoked = false;
  const hold: ListHold = {
    mappings: 0,
    get isRevoked() {
      return isRevoked;
    },
    isWritable: true,
    endsStrictly: false,
    admit: () => null,
    mapped: () => {},
    unmapped: () => {},
  };
  list.hold = hold;
  const mapping = rig.map(list, Bidirectional);
  const address = mapping.ranges.address(0);
  rig.device.sync(mapping, 'cpu', { offsetBytes: 4096, sizeBytes: 4096 });
  access(address, 4096, true);
  assert.deepEqual(classes(), []);
  access(address, 4097, true);
  isRevoked = true;
  access(address, 64, false);
  assert.deepEqual(classes(), ['cpu-owned', 'revoked']);
});

test('two-step addresses: linked and synced before use, and both places in reports of misuse', () => {
  const { rig, access, classes, checker } = checked();
  const state = new IovaState(rig.device);
  assert.ok(state.tryAlloc(HOST, 8192));
  access(state.address, 64, false);
  state.link(HOST, 0, 8192, Bidirectional);
  access(state.address, 64, false);
  state.sync(0, 4096);
  access(state.address, 64, false);
  access(state.address, 8192, false);
  assert.deepEqual(classes(), ['not-synced', 'not-synced', 'not-synced']);
  assert.match(checker.reports[1]!.message, /linked and not synced; allocated at site0/);
  assert.match(checker.live()[0]!, /8192 bytes at 0x.*, allocated at site0/);
  assert.throws(() => state.sync(0, 4096), isChecker(/second sync.*made at site0, wrong call at/));
  state.sync(4096, 4096);
  void state.destroy(8192);
  assert.throws(() => state.free(), isChecker(/holds no addresses.*made at site0, ended at/));
  assert.deepEqual(checker.live(), []);
});

test('a second mapping of host memory that is written', () => {
  const { rig, direct, classes } = checked();
  rig.map(pages(), ToDevice);
  rig.map(pages(), ToDevice);
  direct.map(pages(), FromDevice);
  const first = rig.map(pages(), FromDevice);
  // Mappings that devices only read are exempt, as in dma-debug; so is another function's.
  rig.map(pages(), ToDevice);
  assert.deepEqual(classes(), []);
  const second = rig.map(pages(), FromDevice);
  assert.deepEqual(classes(), ['overlap']);
  rig.device.unmap(first);
  rig.device.unmap(second);
  rig.map(pages(), FromDevice);
  rig.map(pages(1, 8192), FromDevice);
  assert.equal(classes().length, 1);
});

test('mappings left when a driver goes', () => {
  const { rig, checker, classes } = checked();
  checker.unbound(PATH);
  rig.map(pages(), ToDevice);
  rig.map(pages(1, 8192), ToDevice);
  checker.unbound(PATH);
  assert.deepEqual(classes(), [CheckerClass.Leak]);
  assert.match(
    checker.reports[0]!.message,
    /2 mappings left, such as 4096 bytes in 1 ranges .*site0/,
  );
});

test('throwing ends at the first report, which has path, time and class', () => {
  const { rig, checker, access } = checked('throw');
  const mapping = rig.map(pages(), FromDevice);
  const call = (): void => access(mapping.ranges.address(0), 4, false);
  assert.throws(call, isChecker(/writing only/));
  assert.equal(checker.count, 1);
  const report = checker.reports[0]!;
  assert.deepEqual(
    [report.path, report.class, report.timePs],
    [PATH, 'direction', rig.host.kernel.now],
  );
});

test("accesses of functions without a driver are nobody's", () => {
  const { access, checker } = checked('throw');
  access(0, 4096, true, 'elsewhere');
  assert.equal(checker.count, 0);
});
