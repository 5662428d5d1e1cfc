/**
 * A process's memory: areas of anonymous memory, device BARs and peer memory, populated when first used. Bytes are read
 * and written as the process would; devices reach them only through pins. [P2PDMA]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { alignDown, alignUp, hex, PAGE_SIZE, type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { PeerPool, PeerRefusal, PoolMapper } from '#emu/host/peer/peer-pool.ts';
import {
  Access,
  type Area,
  AreaMap,
  type Backing,
  linearAddress,
  type PeerBacking,
} from './area-map.ts';
import type { HostMemory } from './mm.ts';
import type { PageKeeper } from './page-counts.ts';
import { PageBytes, PageRun, PageTables } from './page-tables.ts';
import type { PinLedger } from './pin-ledger.ts';
import { wasRefused } from './refusal.ts';
import { type UserAddr, userAddr } from './user-address.ts';
import { UserFrames } from './user-frames.ts';

/** What address spaces share: one machine's memory and its account of pins. */
export interface UserHost {
  readonly mm: HostMemory;
  readonly pins: PinLedger;
}

export interface SpaceOptions {
  /** For reports. Default `process`. */
  readonly name?: string;
  /**
   * Longest physically contiguous run among 4 KiB pages populated in order: a power of two from 4 KiB,
   * which scatters them, to 1 MiB. Default: as long as host memory allows.
   */
  readonly runBytes?: number;
}

export interface AreaOptions {
  /** Where to map, a multiple of the page size. Default: anywhere, with a hole behind. */
  readonly at?: UserAddr;
  /** Default ReadWrite. */
  readonly access?: Access;
}

export interface AnonymousOptions extends AreaOptions {
  /** Default 4 KiB. */
  readonly pageBytes?: PageBytes;
  /** Whether to take all pages now. Default: when first used. */
  readonly populate?: boolean;
}

export interface PeerAreaOptions extends AreaOptions {
  /** Pages allocated from the pool before. Default: newly allocated ones, that the area alone holds. */
  readonly address?: PhysAddr;
}

export class AddressSpace implements PoolMapper {
  readonly name: string;
  readonly host: UserHost;
  readonly #frames: UserFrames;
  readonly #tables = new PageTables();
  readonly #map = new AreaMap();
  readonly #run = new PageRun();

  /** @throws USAGE for options that cannot be */
  constructor(host: UserHost, options: SpaceOptions = {}) {
    this.host = host;
    this.name = options.name ?? 'process';
    this.#frames = new UserFrames(host.mm, options.runBytes);
  }

  /** Areas in ascending order; a part whose access differs is one of its own. */
  get areas(): readonly Area[] {
    return this.#map.areas;
  }
  /** Bytes of anonymous memory that have a page. */
  get residentBytes(): number {
    return this.#tables.residentBytes;
  }
  /** Bytes of host memory it keeps from being freed: resident ones, and pinned ones already unmapped. */
  get usedBytes(): number {
    return this.#frames.usedBytes;
  }

  /** Maps zeroed memory; the size is rounded up to pages. @throws USAGE, NO_MEMORY when populating */
  mapAnonymous(sizeBytes: number, options: AnonymousOptions = {}): UserAddr {
    const { pageBytes = PageBytes.Small, populate = false } = options;
    const sizes = Object.values(PageBytes);
    if (!sizes.includes(pageBytes)) {
      throw usage(`pageBytes: expected one of ${sizes.join(', ')}, got ${pageBytes}`);
    }
    const at = this.#add(sizeBytes, options, pageBytes, () => ({ kind: 'anonymous', pageBytes }));
    if (populate) this.populate(at, alignUp(sizeBytes, pageBytes));
    return at;
  }

  /** Maps device addresses without a provider of peer memory: nobody can pin them. @throws USAGE */
  mapDevice(address: PhysAddr, sizeBytes: number, options: AreaOptions = {}): UserAddr {
    checkAligned('device address', address, PAGE_SIZE);
    const pageBytes = PageBytes.Small;
    return this.#add(sizeBytes, options, pageBytes, (origin) => {
      return { kind: 'device', pageBytes, origin, address };
    });
  }

  /** Maps pages of a pool of peer memory, whole pages. Refused as the pool refuses. @throws USAGE */
  mapPeer(
    pool: PeerPool,
    sizeBytes: number,
    options: PeerAreaOptions = {},
  ): UserAddr | PeerRefusal {
    checkSize(sizeBytes);
    const wholeBytes = alignUp(sizeBytes, PAGE_SIZE);
    const address = this.#peerPages(pool, wholeBytes, options.address);
    if (wasRefused(address)) return address;
    const pageBytes = PageBytes.Small;
    try {
      const at = this.#add(sizeBytes, options, pageBytes, (origin) => {
        return { kind: 'peer', pageBytes, origin, address, pool, isGone: false };
      });
      pool.attach(this);
      return at;
    } catch (error) {
      pool.drop(address, wholeBytes);
      throw error;
    }
  }

  /** Ends all that is mapped in the range; pinned pages stay until they are unpinned. @throws USAGE */
  unmap(at: UserAddr, sizeBytes: number): void {
    const limit = checkRange(at, sizeBytes);
    for (const area of this.#map.remove(at, limit)) this.#release(area);
  }

  /** Changes what the process may do; existing pins stay valid. @throws USAGE where nothing is mapped */
  protect(at: UserAddr, sizeBytes: number, access: Access): void {
    this.#map.protect(at, checkRange(at, sizeBytes), access);
  }

  /** Ends everything, as the end of the process does. */
  dispose(): void {
    const first = this.areas[0];
    const last = this.areas.at(-1);
    if (first && last) this.unmap(userAddr(first.start), last.limit - first.start);
  }

  /** The area that holds `at`, or null. */
  areaAt(at: UserAddr): Area | null {
    return this.#map.find(at);
  }

  /** Gives every anonymous page that the range touches a physical one. @throws USAGE at a hole, NO_MEMORY */
  populate(at: UserAddr, sizeBytes: number): void {
    checkSize(sizeBytes);
    this.#eachPiece('populate', at, sizeBytes, Access.None, ({ backing }, from, limit) => {
      if (backing.kind !== 'anonymous') return;
      const { pageBytes } = backing;
      const start = alignDown(from, pageBytes);
      this.#tables.populate(start, alignUp(limit, pageBytes), pageBytes, this.#frames);
    });
  }

  /** Physical address behind `at`, or null for a hole and for a page not populated. */
  translate(at: UserAddr): PhysAddr | null {
    const area = this.#map.find(at);
    if (area === null) return null;
    return this.run(area, at, at + 1, this.#run) ? physAddr(this.#run.address) : null;
  }

  /** Finds the first run of an area's pages in [from, limit), which lies in the area. For pinning. */
  run(area: Area, from: number, limit: number, run: PageRun): boolean {
    const { backing } = area;
    if (backing.kind === 'anonymous') return this.#tables.next(from, limit, run);
    if (from >= limit || (backing.kind === 'peer' && backing.isGone)) return false;
    run.at = from;
    run.address = linearAddress(backing, from);
    run.sizeBytes = limit - from;
    return true;
  }

  /** Who counts the references to an area's pages, or null for device addresses. */
  keeperOf({ backing }: Area): PageKeeper | null {
    if (backing.kind === 'anonymous') return this.#frames;
    return backing.kind === 'peer' ? backing.pool : null;
  }

  /** Loads bytes of anonymous memory; pages never used read zero. @throws USAGE where the process would fault */
  read(at: UserAddr, into: Uint8Array): void {
    into.fill(0);
    this.#eachRun('read', at, into.length, Access.Read, (offset, address, sizeBytes) => {
      this.host.mm.memory.read(address, into.subarray(offset, offset + sizeBytes));
    });
  }

  /** Stores bytes to anonymous memory. @throws USAGE where the process would fault, NO_MEMORY */
  write(at: UserAddr, bytes: Uint8Array): void {
    this.#eachRun('write', at, bytes.length, Access.ReadWrite, (offset, address, sizeBytes) => {
      this.host.mm.memory.write(address, bytes.subarray(offset, offset + sizeBytes));
    });
  }

  /** Sets bytes of anonymous memory to one value. @throws USAGE where the process would fault, NO_MEMORY */
  fill(at: UserAddr, sizeBytes: number, byte: number): void {
    this.#eachRun('fill', at, sizeBytes, Access.ReadWrite, (_, address, size) => {
      this.host.mm.memory.fill(address, size, byte);
    });
  }

  /** Takes the areas of a pool that is going away out of the page tables. For the pool. */
  zap(pool: PeerPool): void {
    const gone = this.areas.filter((area) => isPeerArea(area, pool));
    for (const area of gone) this.#release(area);
    for (const { backing } of gone) if (backing.kind === 'peer') backing.isGone = true;
  }

  #add(
    sizeBytes: number,
    { at, access = Access.ReadWrite }: AreaOptions,
    pageBytes: PageBytes,
    backing: (start: number) => Backing,
  ): UserAddr {
    checkSize(sizeBytes);
    if (at !== undefined) checkAligned('at', at, pageBytes);
    const wholeBytes = alignUp(sizeBytes, pageBytes);
    const start = at ?? this.#map.place(wholeBytes, pageBytes);
    this.#map.add({ start, limit: start + wholeBytes, access, backing: backing(start) });
    return userAddr(start);
  }

  /** Pages of the pool, held once more than before. */
  #peerPages(pool: PeerPool, sizeBytes: number, address?: PhysAddr): PhysAddr | PeerRefusal {
    if (address === undefined) return pool.allocate(sizeBytes);
    checkAligned('peer memory', address, PAGE_SIZE);
    const refusal = pool.hold(address, sizeBytes);
    return refusal ?? address;
  }

  /** Drops the references of an area that is no longer mapped. */
  #release({ start, limit, backing }: Area): void {
    if (backing.kind === 'peer') this.#releasePeer(backing, start, limit);
    if (backing.kind !== 'anonymous') return;
    const run = this.#run;
    for (let at = start; this.#tables.next(at, limit, run); ) {
      at = run.at + run.sizeBytes;
      this.#frames.drop(run.address, run.sizeBytes);
    }
    this.#tables.clear(start, limit);
  }

  #releasePeer(backing: PeerBacking, start: number, limit: number): void {
    const { pool, isGone } = backing;
    if (!isGone) pool.drop(linearAddress(backing, start), limit - start);
    if (!this.areas.some((area) => isPeerArea(area, pool))) pool.detach(this);
  }

  #eachPiece(
    what: string,
    at: UserAddr,
    sizeBytes: number,
    access: Access,
    visit: (area: Area, from: number, limit: number) => void,
  ): void {
    const end = at + sizeBytes;
    for (let from: number = at; from < end; ) {
      const area = this.#map.find(from);
      if (area === null)
        throw usage(`${this.name}: ${what} at ${hex(from)}, where nothing is mapped`);
      if ((area.access & access) !== access) {
        throw usage(`${this.name}: ${what} at ${hex(from)}, where the user has no right to`);
      }
      const limit = Math.min(end, area.limit);
      visit(area, from, limit);
      from = limit;
    }
  }

  /** Visits the populated runs, populating first what is to be written. */
  #eachRun(
    what: string,
    at: UserAddr,
    sizeBytes: number,
    access: Access,
    visit: (offset: number, address: number, sizeBytes: number) => void,
  ): void {
    this.#eachPiece(what, at, sizeBytes, access, ({ backing }, from) => {
      if (backing.kind === 'anonymous') return;
      throw usage(
        `${this.name}: ${what} at ${hex(from)}, which is memory of a device: use the Cpu`,
      );
    });
    if (access === Access.ReadWrite && sizeBytes > 0) this.populate(at, sizeBytes);
    const run = this.#run;
    const end = at + sizeBytes;
    for (let from: number = at; this.#tables.next(from, end, run); ) {
      visit(run.at - at, run.address, run.sizeBytes);
      from = run.at + run.sizeBytes;
    }
  }
}

const isPeerArea = ({ backing }: Area, pool: PeerPool): boolean =>
  backing.kind === 'peer' && backing.pool === pool;

function checkSize(sizeBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0) return;
  throw usage(`size: expected a positive number of bytes, got ${sizeBytes}`);
}

function checkAligned(what: string, value: number, alignBytes: number): void {
  if (Number.isSafeInteger(value) && value >= 0 && value % alignBytes === 0) return;
  throw usage(`${what}: expected a multiple of ${hex(alignBytes)}, got ${value}`);
}

/** End of a range in whole pages. */
function checkRange(at: number, sizeBytes: number): number {
  checkAligned('address', at, PAGE_SIZE);
  checkSize(sizeBytes);
  return at + alignUp(sizeBytes, PAGE_SIZE);
}
