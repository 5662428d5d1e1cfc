/**
 * Areas of an address space: which addresses may be used, for what, and what stands behind them. Sorted, disjoint,
 * cut where part of one changes. It knows no pages and counts no references.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { alignUp, hex, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { PeerPool } from '#emu/host/peer/peer-pool.ts';
import type { PageBytes } from './page-tables.ts';
import { USER_LIMIT } from './user-address.ts';

/** What the process may do with an area. */
export const Access = { None: 0, Read: 1, ReadWrite: 3 } as const;
export type Access = (typeof Access)[keyof typeof Access];

/** Pages of host memory, taken when they are first used. */
export interface AnonymousBacking {
  readonly kind: 'anonymous';
  readonly pageBytes: PageBytes;
}

/** A device's registers or memory, mapped by address only: no provider stands behind it. */
export interface DeviceBacking {
  readonly kind: 'device';
  readonly pageBytes: PageBytes;
  /** User address at which `address` is mapped. */
  readonly origin: number;
  readonly address: PhysAddr;
}

/** Pages of a pool of peer memory, held one by one. */
export interface PeerBacking {
  readonly kind: 'peer';
  readonly pageBytes: PageBytes;
  readonly origin: number;
  readonly address: PhysAddr;
  readonly pool: PeerPool;
  /** Its pool was taken away: there is nothing behind the area any more. */
  isGone: boolean;
}

export type Backing = AnonymousBacking | DeviceBacking | PeerBacking;

/** Addresses `start` to `limit` - 1. Replaced, never changed. */
export interface Area {
  readonly start: number;
  readonly limit: number;
  readonly access: Access;
  readonly backing: Backing;
}

/** Lowest address given out. */
const FIRST = 2 ** 32;
/** Unmapped bytes between areas whose place nobody chose: running over the end of one is an error. */
const GUARD_BYTES = 4096;

/** Physical address behind `at` in an area that is mapped linearly. */
export const linearAddress = (backing: DeviceBacking | PeerBacking, at: number): PhysAddr =>
  offsetBy(backing.address, at - backing.origin);

export class AreaMap {
  readonly #areas: Area[] = [];
  #next = FIRST;

  /** In ascending order. */
  get areas(): readonly Area[] {
    return this.#areas;
  }

  /** The area that holds `at`, or null. */
  find(at: number): Area | null {
    const area = this.#areas[this.#firstEndingAfter(at)];
    return area !== undefined && area.start <= at ? area : null;
  }

  /** Free addresses for `sizeBytes`, above those it gave out before. @throws USAGE when none are left */
  place(sizeBytes: number, alignBytes: number): number {
    let start = alignUp(this.#next, alignBytes);
    for (;;) {
      if (start + sizeBytes > USER_LIMIT) throw usage(`no room for an area of ${sizeBytes} bytes`);
      const other = this.#areas[this.#firstEndingAfter(start)];
      if (other === undefined || other.start >= start + sizeBytes) break;
      start = alignUp(other.limit + GUARD_BYTES, alignBytes);
    }
    this.#next = start + sizeBytes + GUARD_BYTES;
    return start;
  }

  /** @throws USAGE where it overlaps another area or leaves the user's addresses */
  add(area: Area): void {
    if (!(area.start >= 0 && area.limit <= USER_LIMIT)) {
      throw usage(`area: expected addresses below ${hex(USER_LIMIT)}, got ${format(area)}`);
    }
    const index = this.#firstEndingAfter(area.start);
    const other = this.#areas[index];
    if (other !== undefined && other.start < area.limit) {
      throw usage(`area: ${format(area)} overlaps ${format(other)}`);
    }
    this.#areas.splice(index, 0, area);
  }

  /** Takes what lies in the range out and returns it, in order. @throws USAGE where it cuts a page */
  remove(start: number, limit: number): readonly Area[] {
    const [index, pieces] = this.#isolate(start, limit);
    this.#areas.splice(index, pieces.length);
    return pieces;
  }

  /** Changes the access to what lies in the range. @throws USAGE where it cuts a page or nothing is mapped */
  protect(start: number, limit: number, access: Access): void {
    for (let at = start; at < limit; ) {
      const area = this.find(at);
      if (area === null) throw usage(`protect: nothing is mapped at ${hex(at)}`);
      at = area.limit;
    }
    const [index, pieces] = this.#isolate(start, limit);
    const changed = pieces.map((area) => ({ ...area, access }));
    this.#areas.splice(index, pieces.length, ...changed);
  }

  /** Cuts areas at both ends of the range; returns where it begins and the areas in it. */
  #isolate(start: number, limit: number): [index: number, pieces: readonly Area[]] {
    checkCut(this.find(start), start);
    checkCut(this.find(limit), limit);
    this.#cut(start);
    this.#cut(limit);
    const index = this.#firstEndingAfter(start);
    let end = index;
    while (end < this.#areas.length && this.#areas[end]!.start < limit) end++;
    return [index, this.#areas.slice(index, end)];
  }

  #cut(at: number): void {
    const index = this.#firstEndingAfter(at);
    const area = this.#areas[index];
    if (area === undefined || area.start >= at) return;
    this.#areas.splice(index, 1, { ...area, limit: at }, { ...area, start: at });
  }

  #firstEndingAfter(at: number): number {
    let low = 0;
    let high = this.#areas.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#areas[middle]!.limit <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function checkCut(area: Area | null, at: number): void {
  if (area === null || at % area.backing.pageBytes === 0) return;
  throw usage(`${hex(at)} is inside a page of ${hex(area.backing.pageBytes)} bytes`);
}

const format = ({ start, limit }: Area): string => `${hex(start)}..${hex(limit - 1)}`;
