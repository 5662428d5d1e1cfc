/**
 * One memory BAR whose bytes peers may reach, and the leases given out on it. Without pages: a lease names ranges
 * of the BAR, and ends when its owner takes it back. [P2PDMA]
 * @module
 */
import {
  type Bdf,
  type DmaAddr,
  dmaAddr,
  hex,
  offsetBy,
  PAGE_SIZE,
  type PhysAddr,
} from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { PROVIDER_INDEX } from '#emu/dma/lists/range-layout.ts';
import type { PciBarView } from '#emu/dma/p2p/pci-view.ts';
import { CallSite } from '#emu/host/call-site.ts';
import type { Refusal } from '#emu/host/memory/refusal.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import { PeerLease } from './peer-lease.ts';

/** Part of a BAR, in bytes from its start. */
export interface BarRange {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** What an importer tells about itself. */
export interface LeaseRequest {
  /** For reports. */
  readonly importer: string;
  /** Whether it can deal with peer memory; if not, it is refused. */
  readonly peerMemory: boolean;
  /** Whether its devices may write. Default true. */
  readonly writable?: boolean;
  /** Called once when the memory is taken back: the importer stops its devices and unmaps. */
  readonly onRevoke: (lease: PeerLease) => void;
}

/**
 * No lease was given. EINVAL: no range, or one that is empty or not in whole pages. EOVERFLOW: beyond the BAR.
 * EOPNOTSUPP: the importer cannot deal with peer memory. ENODEV: the device is going away.
 */
export type LeaseRefusal = Refusal<'EINVAL' | 'EOVERFLOW' | 'EOPNOTSUPP' | 'ENODEV'>;

/** What a provider needs of the machine. */
export interface PeerHost {
  readonly kernel: Pick<Kernel, 'pending'>;
  /** Whether to remember where leases were made, for reports. */
  readonly callSites: boolean;
}

export class PeerProvider {
  /** Its number among the machine's, from 1 on: what PROVIDER_INDEX of the ranges of its memory says. */
  readonly index: number;
  readonly owner: Bdf;
  /** BAR number. */
  readonly bar: number;
  readonly base: PhysAddr;
  readonly sizeBytes: number;
  /** What to add to an address for the bus that its device is on. */
  readonly busOffset: number;
  readonly #host: PeerHost;
  readonly #onIdle: () => void;
  readonly #leases = new Set<PeerLease>();
  #isClosed = false;

  /** @param onIdle told whenever a lease has ended */
  constructor(index: number, owner: Bdf, view: PciBarView, host: PeerHost, onIdle: () => void) {
    this.index = index;
    this.owner = owner;
    this.bar = view.index;
    this.base = view.base;
    this.sizeBytes = view.sizeBytes;
    this.busOffset = view.busBase - view.base;
    this.#host = host;
    this.#onIdle = onIdle;
  }

  /** Leases not released, revoked ones with mappings among them. */
  get leases(): readonly PeerLease[] {
    return [...this.#leases];
  }

  holds(address: PhysAddr): boolean {
    return address >= this.base && address < this.base + this.sizeBytes;
  }

  /** What a peer below the same bridge uses for `address`. */
  busAddress(address: PhysAddr): DmaAddr {
    return dmaAddr(address + this.busOffset);
  }

  /** Lets an importer map ranges of the BAR until one of both sides ends it. */
  lease(ranges: readonly BarRange[], request: LeaseRequest): PeerLease | LeaseRefusal {
    const refusal = this.#refusal(ranges, request);
    if (refusal !== null) return refusal;
    const list = new PhyRangeList();
    const flags = PROVIDER_INDEX.of(this.index);
    for (const { offset, sizeBytes } of ranges) {
      list.append(offsetBy(this.base, offset), sizeBytes, flags);
    }
    const { importer, writable = true, onRevoke } = request;
    const lease = new PeerLease(list, {
      importer,
      provider: `BAR${this.bar} at ${hex(this.base)}`,
      isWritable: writable,
      kernel: this.#host.kernel,
      site: new CallSite(this.#host.callSites),
      recordsSites: this.#host.callSites,
      onRevoke,
      onEnd: (ended) => {
        this.#leases.delete(ended);
        this.#onIdle();
      },
    });
    this.#leases.add(lease);
    return lease;
  }

  /** Takes all leases back, and gives no more when the device goes away for good. */
  revokeAll(isFinal: boolean): void {
    this.#isClosed ||= isFinal;
    for (const lease of this.leases) if (!lease.isRevoked) lease.revoke();
  }

  #refusal(
    ranges: readonly BarRange[],
    { importer, peerMemory }: LeaseRequest,
  ): LeaseRefusal | null {
    const refuse = (refused: LeaseRefusal['refused'], reason: string) => ({ refused, reason });
    if (this.#isClosed) return refuse('ENODEV', 'the device is going away');
    if (!peerMemory) return refuse('EOPNOTSUPP', `${importer} cannot deal with peer memory`);
    if (ranges.length === 0) return refuse('EINVAL', 'no range is asked for');
    for (const { offset, sizeBytes } of ranges) {
      if (!(isPages(offset) && isPages(sizeBytes) && sizeBytes > 0)) {
        return refuse('EINVAL', `${sizeBytes} bytes at ${offset}: expected whole pages`);
      }
      if (offset + sizeBytes > this.sizeBytes) {
        return refuse('EOVERFLOW', `${hex(offset + sizeBytes)} is beyond BAR${this.bar}`);
      }
    }
    return null;
  }
}

/** Whether a number is a non-negative multiple of the page size. */
export const isPages = (n: number): boolean =>
  Number.isSafeInteger(n) && n >= 0 && n % PAGE_SIZE === 0;
