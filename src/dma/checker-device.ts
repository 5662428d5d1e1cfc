/**
 * The checker's view of one function: its mappings with their call sites, and a judgement of each access. [DMAAPI]
 * @module
 */
import type { DmaAddr } from '#emu/base/units.ts';
import { hex, PAGE_SIZE } from '#emu/base/units.ts';
import { type CheckedMapping, type CheckedRange, CheckedRanges } from './checked-ranges.ts';
import type { CheckerClass } from './checker.ts';
import { Direction, MapType } from './mapping.ts';
import { type MappingRecord, MappingState } from './mapping-record.ts';
import type { MappingWatch, WatchedState } from './mapping-watch.ts';

export interface DeviceCheckerOptions {
  readonly path: string;
  readonly here: () => object;
  readonly report: (kind: CheckerClass, message: string) => void;
}

/** Ended mappings that accesses are still held against. */
const ENDED = 1024;
const CACHE_LINE = 64;

export class DeviceChecker implements MappingWatch {
  readonly #options: DeviceCheckerOptions;
  readonly #ranges = new CheckedRanges();
  readonly #live = new Map<MappingRecord, CheckedMapping>();
  /** Live mappings by the cache lines at which their ranges start. */
  readonly #lines = new Map<number, CheckedMapping>();
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
    this.#checkOverlap(checked);
  }

  unmapping(mapping: MappingRecord): void {
    const checked = this.#live.get(mapping);
    if (!checked) return;
    checked.unmapSite = this.#options.here();
    this.#live.delete(mapping);
    this.#forgetLines(checked);
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

  sites(subject: object | null): string {
    const [made, ended] = (subject && this.#history.get(subject)) ?? [null, null];
    const parts = [
      ...(made === null ? [] : [`made at ${made}`]),
      ...(ended === null ? [] : [`ended at ${ended}`]),
      `wrong call at ${this.#options.here()}`,
    ];
    return `; ${this.#options.path}: ${parts.join(', ')}`;
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

  #judge(range: CheckedRange, at: number, length: number, isWrite: boolean): void {
    const { mapping } = range.checked;
    const offset = range.offset + at - range.start;
    const fault = faultOf(mapping, offset, length, isWrite);
    if (fault === null) return;
    const [kind, what] = fault;
    const access = accessText(at, length, isWrite);
    this.#options.report(kind, `${access}: ${what}; ${describe(range.checked)}`);
  }

  #judgeStates(address: number, sizeBytes: number, isWrite: boolean): void {
    for (const [state, site] of this.#states) {
      const offset = Math.max(0, address - state.address);
      const end = Math.min(address + sizeBytes - state.address, state.sizeBytes);
      const fault = offset < end ? state.fault(offset, end - offset) : null;
      if (fault === null) continue;
      const access = accessText(state.address + offset, end - offset, isWrite);
      this.#options.report('not-synced', `${access}: ${fault}; allocated at ${site}`);
    }
  }

  /**
   * As Linux does, compares the first cache lines of the ranges; peer memory has none.
   * Model: of one function only, since all are coherent and may share a buffer.
   */
  #checkOverlap(checked: CheckedMapping): void {
    const { mapping } = checked;
    if (mapping.mapType !== MapType.None) return;
    const lines = this.#lines;
    for (const { address } of mapping.source) {
      const line = Math.floor(address / CACHE_LINE);
      const other = lines.get(line);
      lines.set(line, checked);
      if (other?.mapping.state !== MappingState.Live) continue;
      if ((mapping.direction | other.mapping.direction) === Direction.ToDevice) continue;
      this.#options.report('overlap', `a mapping of what is mapped already; ${describe(other)}`);
    }
  }

  #forgetLines(checked: CheckedMapping): void {
    const lines = this.#lines;
    for (const { address } of checked.mapping.source) {
      const line = Math.floor(address / CACHE_LINE);
      if (lines.get(line) === checked) lines.delete(line);
    }
  }
}

/** What is wrong with an access to bytes of a mapping, or null. */
function faultOf(
  mapping: MappingRecord,
  offset: number,
  length: number,
  isWrite: boolean,
): readonly [kind: CheckerClass, what: string] | null {
  if (mapping.state === MappingState.Gone) return ['after-unmap', 'the mapping has ended'];
  if (mapping.state === MappingState.Unmapping) return ['after-unmap', 'the mapping is ending'];
  if (mapping.ended?.overlaps(offset, offset + length)) {
    return ['after-unmap', 'this part of the mapping has ended'];
  }
  if (mapping.source.hold?.isRevoked) return ['revoked', 'the owner took the memory back'];
  const refused = isWrite ? Direction.ToDevice : Direction.FromDevice;
  if (mapping.direction === refused) {
    return ['direction', `the mapping is for ${isWrite ? 'reading' : 'writing'} only`];
  }
  if (mapping.cpuBytes?.overlaps(offset, offset + length)) {
    return ['cpu-owned', 'it was synced for the CPU and not given back'];
  }
  return null;
}

function describe({ mapping, mapSite, unmapSite }: CheckedMapping): string {
  const { ranges } = mapping;
  const where = ranges.count > 0 ? ` from ${hex(ranges.address(0))} on` : '';
  const ended = unmapSite === null ? '' : `, unmapped at ${unmapSite}`;
  return `${ranges.sizeBytes} bytes in ${ranges.count} ranges${where}, mapped at ${mapSite}${ended}`;
}

const accessText = (address: number, sizeBytes: number, isWrite: boolean): string =>
  `${isWrite ? 'write' : 'read'} of ${sizeBytes} bytes at ${hex(address)}`;
