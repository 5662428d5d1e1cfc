/** The ordering table: what must, may and must not pass what. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EgressQueue } from '#emu/pcie/link/egress-queue.ts';
import { FlowClass, isRelaxed, Tlp, TlpFlag, TlpKind } from '#emu/pcie/tlp/tlp.ts';

const { Posted, NonPosted, Completion } = FlowClass;
const KINDS = [TlpKind.MWr, TlpKind.MRd, TlpKind.CplD] as const;

function make(flowClass: number, relaxed = false): Tlp {
  const tlp = new Tlp(0);
  tlp.kind = KINDS[flowClass]!;
  tlp.address = 0;
  tlp.sizeBytes = 4;
  tlp.flags = relaxed ? TlpFlag.RO : 0;
  tlp.seal();
  return tlp;
}

const queueOf = (...tlps: Tlp[]): EgressQueue => {
  const queue = new EgressQueue();
  for (const tlp of tlps) queue.push(tlp);
  return queue;
};
const block = (...classes: number[]): number => classes.reduce((bits, c) => bits | (1 << c), 0);

test('without a shortage everything leaves in the order of arrival', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 80 }), (classes) => {
      const tlps = classes.map((c) => make(c));
      const queue = queueOf(...tlps);
      for (const tlp of tlps) {
        assert.equal(queue.next(0), tlp);
        queue.drop(tlp.flowClass);
      }
      assert.equal(queue.next(0), null);
    }),
  );
});

test('posted passes blocked reads and completions', () => {
  const posted = make(Posted);
  const queue = queueOf(make(NonPosted), make(Completion), posted);
  assert.equal(queue.next(block(NonPosted, Completion)), posted);
});

test('a completion passes blocked reads: else two devices that read each other stand still', () => {
  const completion = make(Completion);
  assert.equal(queueOf(make(NonPosted), completion).next(block(NonPosted)), completion);
});

test('nothing passes an older posted write, but a completion with relaxed ordering', () => {
  assert.equal(queueOf(make(Posted), make(NonPosted)).next(block(Posted)), null);
  assert.equal(queueOf(make(Posted), make(Completion)).next(block(Posted)), null);
  const relaxed = make(Completion, true);
  assert.equal(queueOf(make(Posted), relaxed).next(block(Posted)), relaxed);
});

test('within a class the order of arrival always holds', () => {
  const all = fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), fc.boolean()), { maxLength: 60 });
  fc.assert(
    fc.property(all, fc.array(fc.integer({ min: 0, max: 7 })), (kinds, blocks) => {
      const tlps = kinds.map(([c, relaxed]) => make(c, relaxed));
      const queue = queueOf(...tlps);
      const left = new Set(tlps);
      for (const blocked of blocks) {
        const tlp = queue.next(blocked);
        if (tlp === null) continue;
        assert.equal((blocked >> tlp.flowClass) & 1, 0);
        const first = [...left].find((other) => other.flowClass === tlp.flowClass);
        assert.equal(tlp, first);
        const olderPosted = [...left].find((other) => other.flowClass === Posted);
        if (olderPosted && tlp.flowClass !== Posted && !isRelaxed(tlp)) {
          assert.ok(olderPosted.order > tlp.order, 'passed an older posted write');
        }
        left.delete(tlp);
        queue.drop(tlp.flowClass);
      }
      assert.equal(queue.count, left.size);
    }),
  );
});

test('what may pass an older posted write goes first only while that is blocked', () => {
  const [posted, relaxed] = [make(Posted), make(Completion, true)];
  const queue = queueOf(posted, relaxed);
  assert.equal(queue.next(0), posted);
  assert.equal(queue.next(block(Posted)), relaxed);
});

test('ID-based ordering looks at older posted writes alone', () => {
  const completion = make(Completion);
  completion.flags |= TlpFlag.IDO;
  completion.completer = 0x300;
  const [other, own] = [make(Posted), make(Posted)];
  other.requester = 0x400;
  own.requester = 0x300;
  assert.equal(queueOf(other, completion, own).next(block(Posted)), completion);
  assert.equal(queueOf(other, own, completion).next(block(Posted)), null);
});

test('the only head is one of a class that waits alone', () => {
  for (let present = 0; present < 8; present++) {
    const tlps = [Posted, NonPosted, Completion]
      .filter((c) => (present >> c) & 1)
      .map((c) => make(c));
    const expected = tlps.length === 1 ? tlps[0] : null;
    assert.equal(queueOf(...tlps).onlyHead(), expected, `${present}`);
  }
});

test('a single FIFO stands still while the class of its head is blocked', () => {
  for (const first of [Posted, NonPosted, Completion]) {
    for (const blocked of [Posted, NonPosted, Completion]) {
      const head = make(first);
      const queue = queueOf(head, make(Posted), make(NonPosted), make(Completion));
      queue.isSingleFifo = true;
      assert.equal(queue.next(block(blocked)), blocked === first ? null : head);
    }
  }
});
