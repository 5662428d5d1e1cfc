/**
 * One machine's account of pins: what is pinned, by whom, and whether it is ended as it must be. A pin is ended whole,
 * once, and not while a device can reach its memory. [PHYR]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { hex } from '#emu/base/units.ts';
import type { ListHold } from '#emu/dma/lists/list-hold.ts';
import { PhyFlag, type PhyRangeList, phyCursor } from '#emu/dma/lists/phy-range-list.ts';
import { CallSite } from '#emu/host/call-site.ts';
import type { PageKeeper } from './page-counts.ts';
import type { UserAddr } from './user-address.ts';

/** Consecutive bytes of a list whose pages one keeper counts. */
export interface PinSegment {
  readonly keeper: PageKeeper;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** What was pinned. */
export interface PinRequest {
  /** Name of the address space. */
  readonly space: string;
  readonly address: UserAddr;
  readonly sizeBytes: number;
  readonly isWritable: boolean;
  readonly isLongterm: boolean;
}

/** One pin, from pinUserPages until the list is unpinned. */
export class PinRecord implements ListHold {
  readonly list: PhyRangeList;
  readonly request: PinRequest;
  readonly site: CallSite;
  /** A peer that leaves waits for the pins of its pages. */
  readonly endsStrictly: boolean;
  readonly #segments: readonly PinSegment[];
  readonly #ledger: PinLedger;
  readonly #count: number;
  #mappings = 0;
  #unpinned: CallSite | null = null;

  constructor(
    ledger: PinLedger,
    list: PhyRangeList,
    request: PinRequest,
    segments: readonly PinSegment[],
  ) {
    this.#ledger = ledger;
    this.list = list;
    this.request = request;
    this.#segments = segments;
    this.endsStrictly = segments.some(({ keeper }) => keeper.isRemovable);
    this.#count = list.count;
    this.site = ledger.callSite();
  }

  get mappings(): number {
    return this.#mappings;
  }
  /** Pinned memory is never taken back. */
  get isRevoked(): boolean {
    return false;
  }
  get isWritable(): boolean {
    return this.request.isWritable;
  }
  get isLive(): boolean {
    return this.#unpinned === null;
  }

  admit(): null {
    if (this.#unpinned === null) return null;
    throw this.#misuse(
      'map of a list that is not pinned any more',
      `unpinned at ${this.#unpinned}`,
    );
  }

  mapped(): void {
    this.#mappings++;
  }

  unmapped(): void {
    if (this.#mappings === 0) throw this.#misuse('unmap of a pinned list that is not mapped');
    this.#mappings--;
  }

  /** Counts one pin more on every page. */
  take(): void {
    for (const segment of this.#segments) {
      eachRun(this.list, segment, (address, size) => segment.keeper.pin(address, size));
    }
  }

  /** Ends it. @throws CHECKER */
  release(): void {
    if (this.#unpinned !== null) {
      throw this.#misuse('second unpin of a list', `unpinned first at ${this.#unpinned}`);
    }
    if (this.#mappings > 0) {
      throw this.#misuse(`unpin of a list with ${this.#mappings} mappings not yet unmapped`);
    }
    const { sizeBytes } = this.request;
    if (this.list.sizeBytes !== sizeBytes || this.list.count !== this.#count) {
      const now = `${this.list.count} ranges of ${this.list.sizeBytes} bytes`;
      throw this.#misuse(`unpin of a list changed from ${this.#count} of ${sizeBytes} to ${now}`);
    }
    this.#unpinned = this.#ledger.callSite();
    for (const segment of this.#segments) {
      eachRun(this.list, segment, (address, size) => segment.keeper.unpin(address, size));
    }
  }

  /** Whether its memory holds the byte at `address`. */
  covers(address: number): boolean {
    const cursor = phyCursor();
    this.list.open(cursor);
    while (cursor.next()) {
      if (address >= cursor.address && address < cursor.address + cursor.length) return true;
    }
    return false;
  }

  /** As reports show it. */
  toString(): string {
    const { space, address, sizeBytes } = this.request;
    return `${sizeBytes} bytes at ${hex(address)} of ${space}, pinned at ${this.site}`;
  }

  /** An error that names the place of the pin and that of the wrong call. */
  #misuse(what: string, before = ''): EmuError {
    return this.#ledger.misuse(what, this, before);
  }
}

export class PinLedger {
  readonly #recordsSites: boolean;
  readonly #live = new Set<PinRecord>();
  #pinnedBytes = 0;

  /** @param options `callSites`: whether to remember where each pin was made, for reports */
  constructor({ callSites = false }: { callSites?: boolean } = {}) {
    this.#recordsSites = callSites;
  }

  /** Pins not ended, oldest first. */
  get live(): readonly PinRecord[] {
    return [...this.#live];
  }
  /** Sum of the sizes of the pins not ended; memory pinned twice counts twice. */
  get pinnedBytes(): number {
    return this.#pinnedBytes;
  }

  /** Where the present call came from, if that is recorded. */
  callSite(): CallSite {
    return new CallSite(this.#recordsSites);
  }

  /** Enters a list and pins its pages. */
  open(list: PhyRangeList, request: PinRequest, segments: readonly PinSegment[]): PinRecord {
    const record = new PinRecord(this, list, request, segments);
    record.take();
    list.hold = record;
    this.#live.add(record);
    this.#pinnedBytes += request.sizeBytes;
    return record;
  }

  /** Ends the pin that made `list`. @throws CHECKER for wrong use, with nothing done */
  close(list: PhyRangeList): void {
    const record = list.hold;
    if (!(record instanceof PinRecord) || record.list !== list) throw this.#stranger(list);
    record.release();
    this.#live.delete(record);
    this.#pinnedBytes -= record.request.sizeBytes;
  }

  /** A report of wrong use that names the places of the pin and of the present call. */
  misuse(what: string, pin: PinRecord | null, before: string): EmuError {
    const here = this.callSite().toString();
    const history = [...(pin ? [pin.toString()] : []), ...(before ? [before] : [])];
    return new EmuError('CHECKER', [what, ...history, `wrong call at ${here}`].join('; '), {
      ...(pin ? { pinSite: pin.site.toString() } : {}),
      callSite: here,
    });
  }

  /** A list that no pin made: perhaps a part of one. */
  #stranger(list: PhyRangeList): EmuError {
    const isFlagged = list.count > 0 && (list.flags(0) & PhyFlag.Pinned) !== 0;
    const pin = isFlagged ? this.live.find((live) => live.covers(list.address(0))) : undefined;
    if (pin === undefined) return this.misuse('unpin of a list that was not pinned', null, '');
    const sizes = `${list.sizeBytes} of ${pin.request.sizeBytes} bytes`;
    return this.misuse(`unpin of a part of a pinned list, ${sizes}`, pin, '');
  }
}

/** Visits physically contiguous runs of part of a list, whatever ranges they are stored as. */
function eachRun(
  list: PhyRangeList,
  { offsetBytes, sizeBytes }: PinSegment,
  visit: (address: number, sizeBytes: number) => void,
): void {
  const cursor = phyCursor();
  list.open(cursor, offsetBytes, sizeBytes);
  let start = 0;
  let end = 0;
  while (cursor.next()) {
    if (cursor.address !== end) {
      if (end > start) visit(start, end - start);
      start = cursor.address;
    }
    end = cursor.address + cursor.length;
  }
  if (end > start) visit(start, end - start);
}
