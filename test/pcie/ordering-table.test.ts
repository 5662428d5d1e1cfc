/** The ordering table, entry by entry, against the egress queue; and what a single FIFO leads to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EgressQueue } from '#emu/pcie/link/egress-queue.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { FlowClass, Tlp, TlpFlag, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { BAR_BYTES, Outcomes, smallFabric } from '#test/support/small-fabric.ts';

const { RO, IDO } = TlpFlag;
type Entry = 'no' | 'may' | 'must';
interface Shape {
  readonly kind: TlpKind;
  readonly flags: number;
  /** Who sent it. */
  readonly from: number;
}

const ROWS = ['P', 'NPR', 'NPD', 'C'] as const;
type Row = (typeof ROWS)[number];
const rowOf = ({ kind }: Shape): Row => {
  if (kind === TlpKind.MWr || kind === TlpKind.MsgD) return 'P';
  if (kind === TlpKind.MRd || kind === TlpKind.CfgRd0) return 'NPR';
  return kind === TlpKind.Cpl || kind === TlpKind.CplD ? 'C' : 'NPD';
};

/** Section 2.4.1 of the specification: whether `later` passes `earlier`. */
function entry(later: Shape, earlier: Shape): Entry {
  const [row, column] = [rowOf(later), rowOf(earlier)];
  const isRelaxed = (later.flags & RO) !== 0;
  const isApart = (later.flags & IDO) !== 0 && later.from !== earlier.from;
  if (column === 'P') return (isRelaxed && row !== 'NPR') || isApart ? 'may' : 'no';
  if (column === 'C') return 'may';
  return row === 'P' || row === 'C' ? 'must' : 'may';
}

function make({ kind, flags, from }: Shape): Tlp {
  const tlp = new Tlp(0);
  tlp.kind = kind;
  tlp.flags = flags;
  tlp.requester = kind >= TlpKind.Cpl ? 99 : from;
  tlp.completer = from;
  tlp.sizeBytes = 4;
  tlp.address = 0;
  tlp.seal();
  return tlp;
}

const { MWr, MsgD, MRd, CfgRd0, CfgWr0, FetchAdd, Cpl, CplD } = TlpKind;
const shape: fc.Arbitrary<Shape> = fc.record({
  kind: fc.constantFrom(MWr, MsgD, MRd, CfgRd0, CfgWr0, FetchAdd, Cpl, CplD),
  flags: fc.constantFrom(0, RO, IDO, RO | IDO),
  from: fc.integer({ min: 1, max: 3 }),
});

test('whatever is blocked, no TLP passes one that it must not, and what must pass does', () => {
  const blocks = fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 40 });
  fc.assert(
    fc.property(fc.array(shape, { maxLength: 30 }), blocks, (shapes, steps) => {
      const queue = new EgressQueue();
      let waiting = shapes.map((one) => ({ one, tlp: make(one) }));
      for (const { tlp } of waiting) queue.push(tlp);
      for (const blocked of steps) {
        const isBlocked = ({ tlp }: { tlp: Tlp }): boolean =>
          ((blocked >> tlp.flowClass) & 1) === 1;
        const next = queue.next(blocked);
        const at = waiting.findIndex(({ tlp }) => tlp === next);
        if (at < 0) {
          // Nothing goes: then each is blocked, or behind one that the table does not say it must pass.
          for (const [i, later] of waiting.entries()) {
            const stuck = waiting.slice(0, i).some(({ one }) => entry(later.one, one) !== 'must');
            assert.ok(isBlocked(later) || stuck, `${rowOf(later.one)} could have gone`);
          }
          continue;
        }
        const chosen = waiting[at]!;
        assert.equal(isBlocked(chosen), false, 'sent without credits');
        for (const { one } of waiting.slice(0, at)) {
          const verdict = entry(chosen.one, one);
          assert.notEqual(verdict, 'no', `${rowOf(chosen.one)} passed ${rowOf(one)}`);
        }
        queue.drop(chosen.tlp.flowClass);
        waiting = waiting.toSpliced(at, 1);
      }
    }),
    { numRuns: 2000 },
  );
});

test('each head may use what the table allows it: RO and IDO pass a blocked write', () => {
  const passes = (later: Shape, earlier: Shape): boolean => {
    const queue = new EgressQueue();
    queue.push(make(earlier));
    queue.push(make(later));
    return queue.next(1 << FlowClass.Posted) !== null;
  };
  const write = { kind: MWr, flags: 0, from: 1 };
  for (const kind of [MRd, CfgWr0, FetchAdd, CplD]) {
    for (const flags of [0, RO, IDO, RO | IDO]) {
      for (const from of [1, 2]) {
        const later = { kind, flags, from };
        const label = `${rowOf(later)} flags ${flags} from ${from}`;
        assert.equal(passes(later, write), entry(later, write) === 'may', label);
      }
    }
  }
});

test('ID-based ordering looks at every older write, not at the first alone', () => {
  const queue = new EgressQueue();
  for (const from of [1, 2]) queue.push(make({ kind: MWr, flags: 0, from }));
  queue.push(make({ kind: MRd, flags: IDO, from: 2 }));
  queue.push(make({ kind: MWr, flags: 0, from: 3 }));
  assert.equal(queue.next(1 << FlowClass.Posted), null);
});

/** Two devices read each other with one non-posted credit everywhere; how many reads are still out after 1 ms. */
function readEachOther(isSingleFifo: boolean): { left: number; done: number } {
  const few = { NPH: 1, NPD: 1 };
  const one = smallFabric({
    link: { gen: 3, width: 8, upperCredits: few, lowerCredits: few },
    maxPayloadBytes: 128,
  });
  const ports = [...one.root.ports, ...one.switch.ports];
  for (const { endpoint } of one.endpoints) ports.push(endpoint.port);
  for (const port of ports) port.channels.vc0.queue.isSingleFifo = isSingleFifo;
  const client = new Outcomes();
  const [a, b] = one.endpoints;
  const size = BAR_BYTES / 16;
  a!.endpoint.read(b!.bar, size, a!.memory, 0, Purpose.Data, client, 0);
  b!.endpoint.read(a!.bar, size, b!.memory, 0, Purpose.Data, client, 1);
  one.kernel.runUntil(1e9);
  const left = a!.endpoint.outstandingReads + b!.endpoint.outstandingReads;
  const done = client.ended.length;
  one.dispose();
  return { left, done };
}

test('out of non-posted credits, a single FIFO stands still for ever', () => {
  const { left, done } = readEachOther(true);
  assert.equal(done, 0);
  assert.ok(left > 0, 'nothing was under way');
});

test('three queues do not', () => {
  assert.deepEqual(readEachOther(false), { left: 0, done: 2 });
});
