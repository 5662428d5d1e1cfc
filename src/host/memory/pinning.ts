/**
 * Pins user memory for DMA: a user address and a size become a list of physical ranges that stay where they are until
 * the whole list is unpinned. What cannot be pinned is refused as the system call would. [PHYR], [P2PDMA]
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { hex, physAddr } from '#emu/base/units.ts';
import { PhyFlag, PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { PROVIDER_INDEX } from '#emu/dma/lists/range-layout.ts';
import type { AddressSpace } from './address-space.ts';
import { Access, type Area } from './area-map.ts';
import { PageRun } from './page-tables.ts';
import type { PinSegment } from './pin-ledger.ts';
import { type Refusal, wasRefused } from './refusal.ts';
import { type UserAddr, userAddr } from './user-address.ts';

/** How the memory will be used. All default to false. */
export interface PinFlags {
  /** Devices will write to it. */
  readonly write?: boolean;
  /** It stays pinned for an unlimited time. */
  readonly longterm?: boolean;
  /** The caller can deal with peer memory. */
  readonly peerMemory?: boolean;
}

/** Nothing was pinned. */
export interface PinRefusal
  extends Refusal<
    /**
     * EFAULT: a hole, access that the process does not have, device addresses without a provider, or peer
     * memory whose device is gone. EREMOTEIO: peer memory, and the caller did not ask for it. EINVAL: long-term
     * pins and peer memory exclude each other, since its device may leave at any time. ENOMEM: no page left.
     */
    'EFAULT' | 'EREMOTEIO' | 'EINVAL' | 'ENOMEM'
  > {
  /** First user address that cannot be pinned. */
  readonly address: UserAddr;
}

/**
 * Pins `sizeBytes` from `address` on, populating what was never used. The list has the bytes in order, contiguous
 * memory joined, and {@link PhyFlag.Pinned} on every range; memory of different providers stays apart. A refusal
 * leaves nothing pinned. @throws USAGE for a size or an address that is no integer
 */
export function pinUserPages(
  space: AddressSpace,
  address: UserAddr,
  sizeBytes: number,
  flags: PinFlags = {},
): PhyRangeList | PinRefusal {
  checkArguments(address, sizeBytes);
  const areas = admittedAreas(space, address, sizeBytes, flags);
  if (wasRefused(areas)) return areas;
  const refusal = populate(space, address, sizeBytes);
  if (refusal !== null) return refusal;
  const builder = new PinnedListBuilder(space);
  const limit = address + sizeBytes;
  for (const area of areas) {
    builder.add(area, Math.max(address, area.start), Math.min(limit, area.limit));
  }
  const { write = false, longterm = false } = flags;
  const request = {
    space: space.name,
    address,
    sizeBytes,
    isWritable: write,
    isLongterm: longterm,
  };
  space.host.pins.open(builder.list, request, builder.segments);
  return builder.list;
}

/**
 * Ends the pin that made `list`, whole. Pages that nobody maps any more are free then.
 * @throws CHECKER, with nothing done, for a list not pinned or not any more, a part or a changed one, and for one
 * still mapped for a device
 */
export function unpinUserPages(space: AddressSpace, list: PhyRangeList): void {
  PhyRangeList.check(list, 'unpin');
  space.host.pins.close(list);
}

function checkArguments(address: number, sizeBytes: number): void {
  if (!(Number.isSafeInteger(address) && address >= 0)) {
    throw usage(`pin: expected a user address, got ${address}`);
  }
  if (!(Number.isSafeInteger(sizeBytes) && sizeBytes > 0)) {
    throw usage(`pin: expected a positive number of bytes, got ${sizeBytes}`);
  }
}

/** The areas that the range lies in, all of which can be pinned; nothing is populated. */
function admittedAreas(
  space: AddressSpace,
  address: UserAddr,
  sizeBytes: number,
  flags: PinFlags,
): Area[] | PinRefusal {
  if (flags.longterm && flags.peerMemory) {
    return refuse('EINVAL', 'long-term pins of peer memory are not possible', address);
  }
  const areas: Area[] = [];
  const limit = address + sizeBytes;
  for (let at: number = address; at < limit; ) {
    const area = space.areaAt(userAddr(at));
    if (area === null) return refuse('EFAULT', 'nothing is mapped', at);
    const refusal = areaRefusal(area, at, flags);
    if (refusal !== null) return refusal;
    areas.push(area);
    at = area.limit;
  }
  return areas;
}

/** Why pages of an area cannot be pinned, in the order in which the system finds out. */
function areaRefusal({ access, backing }: Area, at: number, flags: PinFlags): PinRefusal | null {
  if (backing.kind === 'device') {
    return refuse('EFAULT', 'device memory without a provider has no pages', at);
  }
  const needed = flags.write ? Access.ReadWrite : Access.Read;
  if ((access & needed) !== needed) {
    return refuse('EFAULT', `the user may not ${flags.write ? 'write' : 'read'}`, at);
  }
  if (backing.kind !== 'peer') return null;
  if (backing.isGone) return refuse('EFAULT', 'the device behind it is gone', at);
  if (flags.peerMemory) return null;
  return refuse('EREMOTEIO', 'it is peer memory, and the pin did not ask for it', at);
}

/** Takes the pages that are missing; those taken before memory ran out stay. */
function populate(space: AddressSpace, address: UserAddr, sizeBytes: number): PinRefusal | null {
  try {
    space.populate(address, sizeBytes);
    return null;
  } catch (error) {
    if (!(error instanceof EmuError && error.code === 'NO_MEMORY')) throw error;
    return refuse('ENOMEM', error.message, firstMissing(space, address, sizeBytes));
  }
}

/** First address of the range without a page. */
function firstMissing(space: AddressSpace, address: number, sizeBytes: number): number {
  const run = new PageRun();
  const limit = address + sizeBytes;
  let at = address;
  while (at < limit) {
    const area = space.areaAt(userAddr(at))!;
    const isFound = space.run(area, at, Math.min(limit, area.limit), run);
    if (!isFound || run.at > at) break;
    at += run.sizeBytes;
  }
  return at;
}

const refuse = (refused: PinRefusal['refused'], what: string, address: number): PinRefusal => ({
  refused,
  reason: `${hex(address)}: ${what}`,
  address: userAddr(address),
});

/** Gathers pages into ranges, and remembers whose they are. */
class PinnedListBuilder {
  readonly list = new PhyRangeList();
  readonly segments: PinSegment[] = [];
  readonly #space: AddressSpace;
  readonly #run = new PageRun();
  /** What the last range belongs to: ranges of different owners stay apart. */
  #owner: object | null = null;

  constructor(space: AddressSpace) {
    this.#space = space;
  }

  /** Adds the pages of part of an area, all of which are there. */
  add(area: Area, from: number, limit: number): void {
    const offsetBytes = this.list.sizeBytes;
    const run = this.#run;
    for (let at = from; this.#space.run(area, at, limit, run); at += run.sizeBytes) {
      this.#append(area, run);
    }
    const keeper = this.#space.keeperOf(area)!;
    this.segments.push({ keeper, offsetBytes, sizeBytes: limit - from });
  }

  #append({ backing }: Area, run: PageRun): void {
    const address = physAddr(run.address);
    const provider = backing.kind === 'peer' ? backing.pool.providerAt(address) : null;
    const owner = provider ?? this.#space;
    const flags = PhyFlag.Pinned | PROVIDER_INDEX.of(provider?.index ?? 0);
    const isJoined = owner === this.#owner;
    this.#owner = owner;
    if (isJoined) this.list.append(address, run.sizeBytes, flags);
    else this.list.appendApart(address, run.sizeBytes, flags);
  }
}
