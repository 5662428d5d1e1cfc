/**
 * The checker's view of one function: its mappings with their call sites, and a judgement of each access. [DMAAPI]
 * @module
 */
import { type DmaAddr, hex, PAGE_SIZE } from '#emu/base/units.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { CacheLines } from './cache-lines.ts';
import { type CheckedMapping, type CheckedRange, CheckedRanges } from './checked-ranges.ts';
import type { CheckerClass } from './checker-class.ts';
import {
  accessFault,
  areaFault,
  type Fault,
  type MemorySpan,
  segmentFault,
} from './checker-faults.ts';
import type { MappingWatch, WatchedState } from './mapping-watch.ts';

export interface DeviceCheckerOptions {
  readonly path: string;
  readonly here: () => object;
  readonly report: (kind: CheckerClass, message: string) => void;
  /** As report, for what its finder throws. */
  readonly record: (kind: CheckerClass, message: string) => void;
  /** What the driver declared. */
  readonly limits: Partial<DmaLimits>;
  /** Where host memory is, or null where that is not known. */
  readonly memory: MemorySpan | null;
  readonly segments: SegmentCursor | undefined;
}

/** Ended mappings that accesses are still held against. */
const ENDED = 1024;

export class DeviceChecker implements MappingWatch {
  readonly #options: DeviceCheckerOptions;
  readonly #ranges = new CheckedRanges();
  readonly #live = new Map<MappingRecord, CheckedMapping>();
  readonly #lines = new CacheLines();
  readonly #ended: CheckedMapping[] = [];
  readonly #states = new Map<WatchedState, object>();
  /** Where mappings and states were made and ended, for as long as somebody has them. */
  readonly #history = new WeakMap<object, readonly [made: object, ended: object | null]>();

  constructor(options: DeviceCheckerOptions) {
    this.#options = options;
  }

  mapped(mapping: MappingRecord): void {
    const checked = { mapping, mapSite: this.#options.here(), unmapSite: null };
    this.#live.set(mapping, checked);
    this.#history.set(mapping, [checked.mapSite, null]);
    this.#ranges.add(checked);
    const { limits, memory, segments } = this.#options;
    this.#reportMade(checked, memory && areaFault(mapping, segments, memory));
    this.#reportMade(checked, segmentFault(mapping, limits));
    const conflict = this.#lines.add(checked);
    if (conflict === null) return;
    const { kind, other } = conflict;
    const what = `a mapping of what is mapped already; ${describe(other)}`;
    this.#options.report(kind, `${what}; mapped again at ${checked.mapSite}`);
  }

  unmapping(mapping: MappingRecord): void {
    const checked = this.#live.get(mapping);
    if (!checked) return;
    checked.unmapSite = this.#options.here();
    this.#live.delete(mapping);
    this.#lines.remove(checked);
    this.#history.set(mapping, [checked.mapSite, checked.unmapSite]);
    this.#ended.push(checked);
    if (this.#ended.length < 2 * ENDED) return;
    for (const old of this.#ended.splice(0, ENDED)) this.#ranges.remove(old);
  }

  stateAllocated(state: WatchedState): void {
    const site = this.#options.here();
    this.#states.set(state, site);
    this.#history.set(state, [site, null]);
  }

  stateReleased(state: WatchedState): void {
    const site = this.#states.get(state) ?? null;
    this.#states.delete(state);
    if (site !== null) this.#history.set(state, [site, this.#options.here()]);
  }

  unbound(): void {
    const left = this.live();
    if (left.length === 0) return;
    const what = left.length === 1 ? 'a mapping' : `${left.length} mappings`;
    const gone = `unbound at ${this.#options.here()}`;
    this.#options.report('leak', `driver gone with ${what} left, such as ${left[0]}; ${gone}`);
  }

  misused(kind: CheckerClass, what: string, subject: object | null): string {
    const sites = this.sites(subject);
    this.#options.record(kind, `${what}${sites}`);
    return sites;
  }

  sites(subject: object | null): string {
    const [made, ended] = (subject && this.#history.get(subject)) ?? [null, null];
    const parts = [
      ...(made === null ? [] : [`made at ${made}`]),
      ...(ended === null ? [] : [`ended at ${ended}`]),
      `wrong call at ${this.#options.here()}`,
    ];
    return `; ${this.#options.path}: ${parts.join(', ')}`;
  }

  at(address: DmaAddr): { readonly subject: object; readonly isLive: boolean } | null {
    const found = this.#ranges.find(address)?.checked.mapping ?? null;
    if (found !== null && this.#live.has(found)) return { subject: found, isLive: true };
    for (const state of this.#states.keys()) {
      const offset = address - state.address;
      if (offset >= 0 && offset < state.sizeBytes) return { subject: state, isLive: true };
    }
    return found && { subject: found, isLive: false };
  }

  /** Live mappings, a line each. */
  live(): readonly string[] {
    const lines = [...this.#live.values()].map((checked) => describe(checked));
    for (const [state, site] of this.#states) {
      lines.push(`${state.sizeBytes} bytes at ${hex(state.address)}, allocated at ${site}`);
    }
    return lines;
  }

  /** Judges an access, piece by piece; what belongs to no mapping is not the checker's business. */
  accessed(address: DmaAddr, sizeBytes: number, isWrite: boolean): void {
    const end = address + sizeBytes;
    for (let at: number = address; at < end; ) {
      const range = this.#ranges.find(at);
      const next = range === null ? at + PAGE_SIZE - (at % PAGE_SIZE) : range.end;
      const length = Math.min(next, end) - at;
      if (range !== null) this.#judge(range, at, length, isWrite);
      at += length;
    }
    if (this.#states.size > 0) this.#judgeStates(address, sizeBytes, isWrite);
  }

  #reportMade(checked: CheckedMapping, fault: Fault | null): void {
    if (fault === null) return;
    this.#options.report(fault[0], `a mapping with ${fault[1]}; ${describe(checked)}`);
  }

  #judge(range: CheckedRange, at: number, length: number, isWrite: boolean): void {
    const { mapping } = range.checked;
    const offset = range.offset + at - range.start;
    const fault = accessFault(mapping, offset, length, isWrite);
    if (fault === null) return;
    const [kind, what] = fault;
    const access = accessText(at, length, isWrite);
    this.#options.report(kind, `${access}: ${what}; ${describe(range.checked)}`);
  }

  #judgeStates(address: number, sizeBytes: number, isWrite: boolean): void {
    for (const [state, site] of this.#states) {
      const offset = Math.max(0, address - state.address);
      const end = Math.min(address + sizeBytes - state.address, state.sizeBytes);
      const fault = offset < end ? state.fault(offset, end - offset, isWrite) : null;
      if (fault === null) continue;
      const access = accessText(state.address + offset, end - offset, isWrite);
      this.#options.report(fault[0], `${access}: ${fault[1]}; allocated at ${site}`);
    }
  }
}

function describe({ mapping, mapSite, unmapSite }: CheckedMapping): string {
  const { ranges, isCoherent } = mapping;
  const where = ranges.count > 0 ? ` from ${hex(ranges.address(0))} on` : '';
  const ended = unmapSite === null ? '' : `, unmapped at ${unmapSite}`;
  const what = isCoherent ? 'of coherent memory' : `in ${ranges.count} ranges`;
  return `${ranges.sizeBytes} bytes ${what}${where}, mapped at ${mapSite}${ended}`;
}

const accessText = (address: number, sizeBytes: number, isWrite: boolean): string =>
  `${isWrite ? 'write' : 'read'} of ${sizeBytes} bytes at ${hex(address)}`;
