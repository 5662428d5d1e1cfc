/**
 * Whatever is mapped and unmapped in whatever order, and wherever that fails, nothing stays behind: no I/O virtual
 * address, page-table entry, page, slot, pin or count. On machines with every provider. [DMAAPI], [PHYR]
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { offsetBy } from '#emu/base/units.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { pinUserPages, unpinUserPages } from '#emu/host/memory/pinning.ts';
import { type Piece, type Setup, Workbench } from '#test/support/mapping-bench.ts';
import { MiB, PAGE } from '#test/support/requester-rig.ts';
import { granted } from '#test/support/user-rig.ts';

const piece = fc.record({
  place: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom('host', 'near', 'far') },
    { weight: 1, arbitrary: fc.constantFrom('banned', 'nobody') },
  ),
  page: fc.nat({ max: 8191 }),
  offset: fc.oneof(fc.constant(0), fc.nat({ max: 4095 })),
  size: fc.oneof(
    fc.constant(PAGE),
    fc.integer({ min: 1, max: 20_000 }),
    fc.integer({ min: 1, max: 6 * MiB }),
  ),
});
const pieces = fc.array(piece, { minLength: 1, maxLength: 12 });
const direction = fc.constantFrom(
  Direction.ToDevice,
  Direction.FromDevice,
  Direction.Bidirectional,
);

type Step =
  | { readonly do: 'map'; readonly pieces: readonly Piece[]; readonly direction: Direction }
  | { readonly do: 'unmap'; readonly index: number }
  | { readonly do: 'run' }
  | { readonly do: 'fill'; readonly pages: number }
  | { readonly do: 'empty' };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constant('map' as const), pieces, direction }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('unmap' as const), index: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('run' as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('fill' as const), pages: fc.nat({ max: 24 }) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('empty' as const) }) },
  ),
  { minLength: 1, maxLength: 30 },
);

function take(bench: Workbench, step: Step): void {
  if (step.do === 'map') {
    const list = bench.list(step.pieces);
    if (list.count > 0) bench.map(list, step.direction);
  } else if (step.do === 'unmap') bench.unmap(step.index);
  else if (step.do === 'fill') bench.fillMemory(step.pages);
  else if (step.do === 'empty') bench.emptyMemory();
  else bench.run();
}

/** A random life of one function's mappings; the codes of all refusals in it. */
function live(setup: Setup, life: readonly Step[]): ReadonlySet<string> {
  const bench = new Workbench(setup);
  const before = bench.account();
  for (const step of life) take(bench, step);
  while (bench.live.length > 0) bench.unmap(0);
  bench.emptyMemory();
  bench.run();
  assert.deepEqual(bench.account(), before);
  bench.end();
  return bench.refusals;
}

const SETUPS: Readonly<Record<string, Setup>> = {
  'IOMMU, strict': { iommu: true },
  'IOMMU, lazy': { iommu: { flush: 'lazy' } },
  'IOMMU, few addresses': { iommu: true, limits: { addressLimit: 2 ** 23, boundaryBytes: 65536 } },
  'IOMMU, lazy, few addresses': {
    iommu: { flush: 'lazy' },
    limits: { addressLimit: 2 ** 23, maxSegmentBytes: 8192 },
  },
  direct: {},
  'bounce, forced': { dma: { provider: 'bounce', forceBounce: true, bounceBytes: MiB / 2 } },
  legacy: { dma: { provider: 'legacy' } },
  'legacy, IOMMU': { iommu: true, dma: { provider: 'legacy' } },
};

describe('nothing is left by random lives', () => {
  const seen = new Set<string>();
  for (const [name, setup] of Object.entries(SETUPS)) {
    it(name, () => {
      fc.assert(
        fc.property(steps, (life) => {
          for (const code of live(setup, life)) seen.add(code);
        }),
        { numRuns: 25 },
      );
    });
  }

  it('in which every refusal was met', () => {
    assert.deepEqual([...seen].sort(), ['EINVAL', 'EIO', 'ENOMEM', 'EREMOTEIO']);
  });
});

describe('nothing is left by a map that fails', () => {
  for (const iommu of [true, { flush: 'lazy' }] as const) {
    const policy = iommu === true ? 'strict' : 'lazy';

    it(`for want of pages, wherever among its tables, ${policy}`, () => {
      const bench = new Workbench({ iommu });
      // Small pages all over, so 12 tables of them and two above.
      const list = bench.list([
        { place: 'host', page: 0, offset: 100, size: 5000 },
        { place: 'far', page: 1, offset: 0, size: 22 * MiB },
        { place: 'near', page: 0, offset: 0, size: MiB },
      ]);
      const before = bench.account();
      let failures = 0;
      for (let pages = 0; ; pages++) {
        bench.fillMemory(pages);
        const free = bench.freePages;
        const answer = bench.map(list, Direction.FromDevice);
        if (!isRefusal(answer)) break;
        assert.equal(answer.refused, 'ENOMEM');
        assert.match(answer.reason, /no memory for page tables/);
        // No table stays, not even one that is only in part the list's.
        assert.equal(bench.freePages, free, 'tables hold nothing');
        bench.emptyMemory();
        failures++;
      }
      assert.ok(failures >= 12, `${failures} failures`);
      bench.unmap(0);
      bench.emptyMemory();
      bench.run();
      assert.deepEqual(bench.account(), before);
      bench.end();
    });

    it(`for want of addresses, which are all there again afterwards, ${policy}`, () => {
      const bench = new Workbench({ iommu, limits: { addressLimit: 2 ** 21 } });
      const before = bench.account();
      const list = bench.list([{ place: 'host', page: 0, offset: 0, size: 16 * PAGE }]);
      const lists = () => list.coalesced();
      const counts = [0, 1, 2].map(() => {
        let count = 0;
        while (!isRefusal(bench.map(lists(), Direction.ToDevice))) count++;
        while (bench.live.length > 0) bench.unmap(count);
        bench.run();
        assert.deepEqual(bench.account(), before);
        return count;
      });
      // Of 32 spans of 64 KiB all but the first, which holds page 0.
      assert.deepEqual(counts, [31, 31, 31]);
      bench.end();
    });

    it(`at every position of a list, ${policy}`, () => {
      const bench = new Workbench({ iommu });
      const good = Array.from({ length: 6 }, (_, i): Piece => {
        const place = (['host', 'near', 'far'] as const)[i % 3]!;
        return { place, page: 2 * i, offset: 0, size: PAGE };
      });
      for (const [bad, code] of [
        ['banned', 'EREMOTEIO'],
        ['nobody', 'EINVAL'],
      ] as const) {
        for (let at = 0; at <= good.length; at++) {
          const all = good.toSpliced(at, 0, { place: bad, page: 0, offset: 0, size: PAGE });
          const answer = bench.map(bench.list(all), Direction.Bidirectional);
          assert.ok(isRefusal(answer) && answer.refused === code);
        }
      }
      bench.end();
    });
  }
});

it('nothing is left by a list that finds room for some of its pieces in a bounce pool', () => {
  const bench = new Workbench(SETUPS['bounce, forced']!);
  const { slots } = bench.rig.built.bounce!;
  const before = bench.account();
  const pieces = (count: number): Piece[] =>
    Array.from({ length: count }, () => ({ place: 'host', page: 0, offset: 0, size: 3 * PAGE }));
  const many = bench.list(pieces(30));
  for (const count of [1, 5, 7]) {
    while (!isRefusal(bench.map(bench.list(pieces(count)), Direction.Bidirectional))) {
      const answer = bench.map(many, Direction.Bidirectional);
      if (!isRefusal(answer)) bench.unmap(bench.live.length - 1);
    }
  }
  assert.ok(bench.refusals.has('ENOMEM'), 'the pool is full');
  // No piece crosses a multiple of 128 slots, so some of each are left over.
  const { slots: used } = bench.account();
  assert.ok(used! > slots - 6 * (slots / 128), `${used} of ${slots} slots in use`);
  while (bench.live.length > 0) bench.unmap(7);
  bench.run();
  assert.deepEqual(bench.account(), before);
  bench.end();
});

describe('pins', () => {
  for (const name of ['IOMMU, strict', 'IOMMU, few addresses', 'direct', 'bounce, forced']) {
    it(`are as they were after any mappings of pinned pages: ${name}`, () => {
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.nat({ max: 60_000 }), fc.integer({ min: 1, max: 300_000 })), {
            minLength: 1,
            maxLength: 8,
          }),
          fc.array(fc.nat(), { maxLength: 8 }),
          (wishes, order) => pinAndMap(new Workbench(SETUPS[name]!), wishes, order),
        ),
        { numRuns: 15 },
      );
    });
  }
});

/** Pins parts of an area, maps each, unmaps them in some order, unpins. */
function pinAndMap(
  bench: Workbench,
  wishes: readonly [offset: number, size: number][],
  order: readonly number[],
): void {
  const { space } = bench;
  const sizeBytes = 400_000;
  const at = granted(space.mapAnonymous(sizeBytes));
  space.populate(at, sizeBytes);
  const before = bench.account();
  const lists = wishes.map(([offset, size]) =>
    granted(pinUserPages(space, offsetBy(at, offset), size, { write: true })),
  );
  for (const list of lists) bench.map(list, Direction.FromDevice);
  for (const index of order) bench.unmap(index);
  while (bench.live.length > 0) bench.unmap(0);
  bench.run();
  for (const list of lists) {
    assert.deepEqual([list.mappings, list.hold?.mappings], [0, 0]);
    unpinUserPages(space, list);
  }
  assert.equal(bench.pins.live.length, 0);
  assert.deepEqual(bench.account(), before);
  bench.end();
}
