/**
 * Address spaces: areas and their pages against a plain model, page sizes, placement, what a process may do, and that
 * nothing is left at the end.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { physAddr } from '#emu/base/units.ts';
import { AddressSpace } from '#emu/host/memory/address-space.ts';
import { Access } from '#emu/host/memory/area-map.ts';
import { PageBytes } from '#emu/host/memory/page-tables.ts';
import { USER_LIMIT, type UserAddr, userAddr } from '#emu/host/memory/user-address.ts';
import { throwsCode } from '#test/support/usage-error.ts';
import {
  after,
  DRAM,
  GiB,
  KiB,
  MiB,
  PAGE,
  pinned,
  userHost,
  userSpace,
} from '#test/support/user-rig.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

function readBack(space: AddressSpace, at: UserAddr, sizeBytes: number): Uint8Array {
  const into = new Uint8Array(sizeBytes).fill(0xee);
  space.read(at, into);
  return into;
}

/** Physical addresses behind consecutive pages. */
const framesOf = (space: AddressSpace, at: UserAddr, pages: number): (number | null)[] =>
  Array.from({ length: pages }, (_, i) => space.translate(after(at, i * PAGE)));

describe('anonymous memory', () => {
  it('is populated when first written, and reads zero before', () => {
    const space = userSpace();
    const at = space.mapAnonymous(5 * PAGE);
    assert.deepEqual(readBack(space, after(at, PAGE - 1), 2), bytes(0, 0));
    assert.equal(space.residentBytes, 0);
    assert.equal(space.translate(at), null);
    space.write(after(at, PAGE - 1), bytes(1, 2));
    assert.equal(space.residentBytes, 2 * PAGE);
    assert.deepEqual(readBack(space, after(at, PAGE - 2), 4), bytes(0, 1, 2, 0));
    space.fill(after(at, 3 * PAGE), 2 * PAGE, 7);
    assert.deepEqual(readBack(space, after(at, 5 * PAGE - 2), 2), bytes(7, 7));
    assert.equal(space.residentBytes, 4 * PAGE);
  });

  it('lies in host memory, where its physical addresses say', () => {
    const host = userHost();
    const space = new AddressSpace(host);
    const at = space.mapAnonymous(PAGE, { populate: true });
    space.write(after(at, 100), bytes(42));
    assert.equal(host.memory.getU8(space.translate(after(at, 100))!), 42);
  });

  it('gives every page back when unmapped, zeroed for the next user', () => {
    const host = userHost();
    const space = new AddressSpace(host);
    const at = space.mapAnonymous(2 * MiB);
    space.fill(at, 2 * MiB, 0xaa);
    space.unmap(at, MiB);
    assert.equal(space.residentBytes, MiB);
    const other = space.mapAnonymous(MiB, { populate: true });
    assert.deepEqual(readBack(space, other, MiB), new Uint8Array(MiB));
    assert.deepEqual(readBack(space, after(at, MiB), 2), bytes(0xaa, 0xaa));
    space.dispose();
    assert.deepEqual([host.mm.usedBytes, space.usedBytes, space.areas.length], [0, 0, 0]);
    assert.equal(host.memory.residentBytes, 0);
  });

  it('has pages of three sizes side by side', () => {
    const host = userHost(4 * GiB);
    const space = new AddressSpace(host);
    const sizes = [PageBytes.Giant, PageBytes.Small, PageBytes.Large];
    const areas = sizes.map((pageBytes) => space.mapAnonymous(1, { pageBytes }));
    for (const [i, at] of areas.entries()) {
      assert.equal(at % sizes[i]!, 0);
      space.write(after(at, sizes[i]! - 1), bytes(i + 1));
      assert.equal(space.translate(at)! % sizes[i]!, 0);
    }
    assert.equal(space.residentBytes, sizes[0]! + sizes[1]! + sizes[2]!);
    assert.deepEqual(readBack(space, after(areas[0]!, GiB - 1), 1), bytes(1));
    assert.equal(host.memory.residentBytes, 3 * PAGE);
    for (const at of areas.slice(1)) space.unmap(at, space.areaAt(at)!.limit - at);
    assert.equal(space.residentBytes, GiB);
    space.dispose();
    assert.equal(host.mm.usedBytes, 0);
  });
});

describe('physical placement', () => {
  it('is contiguous by default and the same every time', () => {
    const [first, second] = [userSpace(), userSpace()];
    const frames = [first, second].map((space) =>
      framesOf(space, space.mapAnonymous(4 * MiB, { populate: true }), 1024),
    );
    assert.deepEqual(frames[0], frames[1]);
    assert.ok(frames[0]!.every((frame, i) => frame === frames[0]![0]! + i * PAGE));
  });

  it('scatters pages in runs of the size asked for, each page once', () => {
    for (const runBytes of [PAGE, 16 * KiB, MiB]) {
      const space = userSpace(64 * MiB, { runBytes });
      const pages = 2048;
      const frames = framesOf(space, space.mapAnonymous(pages * PAGE, { populate: true }), pages);
      const jumps = frames.filter((frame, i) => i > 0 && frame !== frames[i - 1]! + PAGE).length;
      assert.equal(jumps + 1, (pages * PAGE) / runBytes);
      assert.equal(new Set(frames).size, pages);
    }
  });

  it('makes do with whatever pieces are left of host memory', () => {
    const host = userHost(MiB);
    const space = new AddressSpace(host, { runBytes: PAGE });
    const at = space.mapAnonymous(2 * MiB);
    assert.throws(() => space.populate(at, 2 * MiB), { code: 'NO_MEMORY' });
    assert.equal(space.residentBytes, MiB);
    assert.equal(new Set(framesOf(space, at, 256)).size, 256);
    space.dispose();
    assert.equal(host.mm.usedBytes, 0);
  });

  it('uses pages given back before it takes new blocks', () => {
    const host = userHost();
    const space = new AddressSpace(host);
    const at = space.mapAnonymous(2 * MiB, { populate: true });
    const used = host.mm.usedBytes;
    for (let i = 0; i < 512; i += 2) space.unmap(after(at, i * PAGE), PAGE);
    space.mapAnonymous(MiB, { populate: true });
    assert.deepEqual([host.mm.usedBytes, space.usedBytes], [used, 2 * MiB]);
  });

  it('refuses runs that cannot be', () => {
    for (const runBytes of [0, 5000, 2 * MiB]) {
      throwsCode('USAGE', /runBytes: expected a power of two/, () => userSpace(MiB, { runBytes }));
    }
  });
});

describe('areas', () => {
  it('are placed apart, or where one asks', () => {
    const space = userSpace();
    const first = space.mapAnonymous(PAGE);
    const second = space.mapAnonymous(PAGE);
    assert.ok(second > first + PAGE && space.areaAt(after(first, PAGE)) === null);
    const chosen = userAddr(second + 2 * PAGE);
    assert.equal(space.mapAnonymous(3 * PAGE, { at: chosen }), chosen);
    const next = space.mapAnonymous(PAGE);
    assert.ok(next > chosen + 3 * PAGE);
    assert.equal(space.areas.length, 4);
  });

  it('refuse to overlap, to lie askew or beyond the end', () => {
    const space = userSpace();
    const at = space.mapAnonymous(4 * PAGE);
    throwsCode('USAGE', /overlaps/, () => space.mapAnonymous(PAGE, { at: after(at, 3 * PAGE) }));
    throwsCode('USAGE', /at: expected a multiple of 0x200000/, () =>
      space.mapAnonymous(1, { at: after(at, 2 * PAGE), pageBytes: PageBytes.Large }),
    );
    const end = userAddr(USER_LIMIT - PAGE);
    space.mapAnonymous(PAGE, { at: end });
    throwsCode('USAGE', /expected addresses below/, () =>
      space.mapAnonymous(PAGE, { at: userAddr(USER_LIMIT) }),
    );
    throwsCode('USAGE', /no room/, () => space.mapAnonymous(USER_LIMIT));
    throwsCode('USAGE', /size: expected a positive/, () => space.mapAnonymous(0));
    throwsCode('USAGE', /device address/, () => space.mapDevice(physAddr(5), PAGE));
    throwsCode('USAGE', /address: expected a multiple/, () => space.unmap(userAddr(5), PAGE));
    const options: object = { pageBytes: 8192 };
    throwsCode('USAGE', /pageBytes: expected one of/, () => space.mapAnonymous(1, options));
  });

  it('are cut by changes of part of them, never inside a page', () => {
    const space = userSpace();
    const at = space.mapAnonymous(6 * MiB, { pageBytes: PageBytes.Large });
    space.protect(after(at, 2 * MiB), 2 * MiB, Access.Read);
    assert.deepEqual(
      space.areas.map(({ access }) => access),
      [Access.ReadWrite, Access.Read, Access.ReadWrite],
    );
    throwsCode('USAGE', /inside a page of 0x200000/, () => space.unmap(after(at, PAGE), 2 * MiB));
    throwsCode('USAGE', /inside a page/, () => space.protect(at, PAGE, Access.None));
    assert.equal(space.areas.length, 3);
    throwsCode('USAGE', /nothing is mapped/, () => space.protect(at, 8 * MiB, Access.None));
  });

  it('let the process do what their access says', () => {
    const space = userSpace();
    const at = space.mapAnonymous(2 * PAGE);
    space.write(at, bytes(9));
    space.protect(at, PAGE, Access.Read);
    assert.deepEqual(readBack(space, at, 1), bytes(9));
    throwsCode('USAGE', /write at .* no right/, () => space.write(at, bytes(1)));
    space.protect(at, PAGE, Access.None);
    throwsCode('USAGE', /read at .* no right/, () => readBack(space, at, 1));
    throwsCode('USAGE', /nothing is mapped/, () => readBack(space, after(at, 2 * PAGE), 1));
    const device = space.mapDevice(physAddr(0x4000_0000), PAGE);
    throwsCode('USAGE', /memory of a device/, () => readBack(space, device, 1));
    assert.equal(space.translate(after(device, 12)), 0x4000_000c);
  });
});

/** One thing that a process does to its memory; numbers are reduced to what exists. */
const stepArbitrary = fc.record({
  kind: fc.constantFrom('map', 'unmap', 'protect', 'write'),
  page: fc.nat(40),
  pages: fc.integer({ min: 1, max: 12 }),
  value: fc.integer({ min: 1, max: 255 }),
});
type Step = typeof stepArbitrary extends fc.Arbitrary<infer S> ? S : never;

const BASE = 2 ** 30;

/** What each page should hold: its access and the byte all of it was set to. */
class Model {
  readonly pages = new Map<number, { access: Access; value: number }>();

  all(step: Step, wanted: (page: number) => boolean): boolean {
    return Array.from({ length: step.pages }, (_, i) => step.page + i).every(wanted);
  }
  each(step: Step, visit: (page: number) => void): void {
    for (let i = 0; i < step.pages; i++) visit(step.page + i);
  }
}

/** Does a step to the space and to the model, if the model allows it. */
function apply(space: AddressSpace, model: Model, step: Step): void {
  const { pages } = model;
  const at = userAddr(BASE + step.page * PAGE);
  const size = step.pages * PAGE;
  const isMapped = model.all(step, (page) => pages.has(page));
  if (step.kind === 'map' && model.all(step, (page) => !pages.has(page))) {
    space.mapAnonymous(size, { at });
    model.each(step, (page) => pages.set(page, { access: Access.ReadWrite, value: 0 }));
  } else if (step.kind === 'unmap') {
    space.unmap(at, size);
    model.each(step, (page) => pages.delete(page));
  } else if (step.kind === 'protect' && isMapped) {
    const access = step.value % 2 ? Access.Read : Access.ReadWrite;
    space.protect(at, size, access);
    model.each(step, (page) => pages.set(page, { ...pages.get(page)!, access }));
  } else if (
    step.kind === 'write' &&
    model.all(step, (page) => pages.get(page)?.access === Access.ReadWrite)
  ) {
    space.fill(at, size, step.value);
    model.each(step, (page) => pages.set(page, { ...pages.get(page)!, value: step.value }));
  }
}

describe('any sequence of calls', () => {
  it('leaves the bytes and rights of every page as a plain model has them', () => {
    const check = (steps: Step[], runBytes: number): void => {
      const host = userHost();
      const space = new AddressSpace(host, { runBytes });
      const model = new Model();
      for (const step of steps) apply(space, model, step);
      for (let page = 0; page < 60; page++) {
        const at = userAddr(BASE + page * PAGE);
        const expected = model.pages.get(page);
        assert.equal(space.areaAt(at)?.access, expected?.access);
        if (!expected) continue;
        assert.deepEqual(readBack(space, at, PAGE), new Uint8Array(PAGE).fill(expected.value));
      }
      space.dispose();
      assert.deepEqual([host.mm.usedBytes, host.memory.residentBytes], [0, 0]);
    };
    const run = fc.constantFrom(PAGE, 16 * KiB, MiB);
    const steps = fc.array(stepArbitrary, { minLength: 20, maxLength: 80 });
    fc.assert(fc.property(steps, run, check), { numRuns: 60 });
  });
});

describe('large spaces', () => {
  it('keep 262,144 pages in a few tables and take them all out again', () => {
    const host = userHost(2 * GiB);
    const space = new AddressSpace(host, { runBytes: PAGE });
    const at = space.mapAnonymous(GiB, { populate: true });
    assert.equal(space.residentBytes, GiB);
    assert.equal(pinned(space, at, PAGE).address(0), space.translate(at));
    assert.ok(space.translate(after(at, GiB - 1))! >= DRAM);
    space.dispose();
    assert.equal(space.usedBytes, PAGE);
  });
});
