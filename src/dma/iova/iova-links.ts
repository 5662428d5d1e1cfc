/**
 * What is linked to two-step addresses: the page-table entries and copies of each link, made whole or not at all, and the
 * end of both. Positions are in bytes from the first address. [DMAAPI]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { ADDR_LIMIT, alignUp, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { DmaAttr } from '#emu/dma/dma-attr.ts';
import { leafFlags } from '#emu/dma/iommu-driver/sv48-table.ts';
import { Direction, type MapRefusal } from '#emu/dma/mapping.ts';
import type { BouncedRanges } from '#emu/dma/providers/bounced-ranges.ts';
import { NO_ROOM } from '#emu/dma/providers/iommu-bouncer.ts';
import type { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { type Link, LinkedSpans, type Span } from './linked-spans.ts';

/** Part of a link: all of it as it is, or all of it by a copy. */
interface Part {
  readonly physical: PhysAddr;
  /** Of its first byte. */
  readonly at: number;
  readonly sizeBytes: number;
  readonly isCopied: boolean;
}

/** A part that has been entered. */
interface Entered {
  readonly from: number;
  readonly to: number;
  readonly copy: BouncedRanges | null;
}

export class IovaLinks {
  readonly spans = new LinkedSpans();
  readonly #domain: IommuDomain;

  constructor(domain: IommuDomain) {
    this.#domain = domain;
  }

  /**
   * Links memory at `at` of the addresses from `iova` on, where nothing is linked. Of memory that needs copies the first and
   * the last granule get one, unless the memory fills them; what is between is used as it is. [DMAAPI]
   */
  enter(
    iova: number,
    at: number,
    physical: PhysAddr,
    sizeBytes: number,
    rest: Omit<Link, 'left'>,
    isCopied: boolean,
  ): MapRefusal | null {
    const done: Entered[] = [];
    for (const part of this.#parts(at, physical, sizeBytes, isCopied)) {
      const entered = this.#enterPart(iova, part, rest.direction);
      if ('refused' in entered) {
        this.#undo(iova, done);
        return entered;
      }
      done.push(entered);
    }
    const bytes = done.reduce((sum, { from, to }) => sum + to - from, 0);
    const link: Link = { ...rest, left: bytes };
    for (const { from, to, copy } of done) this.spans.add(from, to, link, copy);
    link.source?.mapped();
    return null;
  }

  /** For spans that no device reaches any more: copies back, and tells whose the memory is. */
  end(taken: readonly Span[]): void {
    for (const { from, to, link, copy } of taken) {
      const isRead = link.direction === Direction.ToDevice;
      if (copy !== null) {
        if (!isRead && (link.attrs & DmaAttr.SkipCpuSync) === 0) copy.copyOut(0, ADDR_LIMIT);
        copy.release();
      }
      link.left -= to - from;
      if (link.left === 0) link.source?.unmapped();
    }
  }

  /** Whether the end of a span must be out of every cache: there are copies, or its owner waits. */
  static endsStrictly(taken: readonly Span[]): boolean {
    return taken.some(({ link, copy }) => copy !== null || link.source?.hold?.endsStrictly);
  }

  #parts(at: number, physical: PhysAddr, sizeBytes: number, isCopied: boolean): readonly Part[] {
    if (!isCopied) return [{ physical, at, sizeBytes, isCopied }];
    const granule = this.#domain.granuleBytes;
    const pad = physical % granule;
    const head = pad === 0 ? 0 : Math.min(sizeBytes, granule - pad);
    const tail = (sizeBytes - head) % granule;
    const sizes = [head, sizeBytes - head - tail, tail];
    let done = 0;
    return sizes.flatMap((size, i) => {
      const offset = done;
      done += size;
      if (size === 0) return [];
      const part = { physical: offsetBy(physical, offset), at: at + offset, sizeBytes: size };
      return [{ ...part, isCopied: i !== 1 }];
    });
  }

  #enterPart(iova: number, part: Part, direction: Direction): Entered | MapRefusal {
    const { table, granuleBytes } = this.#domain;
    const pad = part.physical % granuleBytes;
    const from = part.at - pad;
    const to = alignUp(part.at + part.sizeBytes, granuleBytes);
    let copy: BouncedRanges | null = null;
    let target = part.physical - pad;
    if (part.isCopied) {
      const bouncer = this.#domain.bouncer!;
      copy = bouncer.room();
      const placed = copy && bouncer.place(copy, part.at, part.physical, part.sizeBytes);
      if (copy === null || placed === null) return NO_ROOM;
      copy.copyIn(0, ADDR_LIMIT);
      target = placed - pad;
    }
    try {
      table.map(iova + from, target, to - from, leafFlags(direction));
    } catch (error) {
      if (!(error instanceof EmuError && error.code === 'NO_MEMORY')) throw error;
      this.#undo(iova, [{ from, to, copy }]);
      return { refused: 'ENOMEM', reason: 'no memory for page tables' };
    }
    return { from, to, copy };
  }

  /** Takes parts back that no device knows yet. */
  #undo(iova: number, parts: readonly Entered[]): void {
    for (const { from, to, copy } of parts) {
      this.#domain.discard(iova + from, to - from);
      copy?.release();
    }
  }
}
