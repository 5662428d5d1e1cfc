/**
 * A device that does with a mapping what descriptors tell real ones: it walks the list and moves each range to or from
 * its own memory; and pages worth looking at in long lists. Builds; asserts nothing.
 * @module
 */
import { alignUp } from '#emu/base/units.ts';
import { type DmaRangeList, dmaCursor } from '#emu/dma/lists/dma-range-list.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { IommuCounter } from '#emu/iommu/translation-unit.ts';
import { isMemory } from '#emu/pcie/tlp/tlp.ts';
import { type BridgesRig, mark } from '#test/support/bridges-rig.ts';

export const PAGE = 4096;
export const MiB: number = 2 ** 20;
export const GiB: number = 2 ** 30;
export const TiB: number = 2 ** 40;
const EDGE: number = 4 * GiB;

/** Part of a list, in bytes of it. */
export interface Part {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/**
 * Moves bytes of a list, by default all: byte `n` of the list is byte `n` of the device's local memory. Returns the
 * different statuses of the transfers, one for each range.
 */
export function drive(
  rig: BridgesRig,
  name: string,
  isWrite: boolean,
  ranges: DmaRangeList,
  part: Part = { offsetBytes: 0, sizeBytes: ranges.sizeBytes },
): readonly number[] {
  const cursor = dmaCursor();
  const statuses = new Set<number>();
  let at = part.offsetBytes;
  for (ranges.open(cursor, at, part.sizeBytes); cursor.next(); at += cursor.length) {
    statuses.add(rig.transfer(name, isWrite, cursor.address, cursor.length, at) ?? -1);
  }
  return [...statuses];
}

/** Something that has bytes at an address. */
interface Span {
  readonly address: number;
  readonly length: number;
}

/**
 * Offsets of the pages before and behind every edge of a list of `sizeBytes`: its ends, every 4 GiB of it, every
 * 4 GiB of the addresses that any of `lists` has for it, and where their ranges meet. Ascending.
 */
export function edgePages(sizeBytes: number, ...lists: readonly Iterable<Span>[]): number[] {
  const edges = new Set<number>();
  for (let edge = 0; edge <= sizeBytes; edge += EDGE) edges.add(edge);
  edges.add(sizeBytes);
  for (const list of lists) {
    let position = 0;
    for (const { address, length } of list) {
      edges.add(position);
      for (let edge = alignUp(address, EDGE); edge < address + length; edge += EDGE) {
        edges.add(position + edge - address);
      }
      position += length;
    }
  }
  const pages = [...edges].flatMap((edge) => [edge - PAGE, edge]);
  const inside = pages.filter((page) => page >= 0 && page < sizeBytes);
  return [...new Set(inside)].sort((a, b) => a - b);
}

/** Pages together with up to `marginBytes` around each, cut to the list and joined where they touch. */
export function windowsAround(
  pages: readonly number[],
  sizeBytes: number,
  marginBytes: number,
): Part[] {
  const parts: { offsetBytes: number; sizeBytes: number }[] = [];
  for (const page of pages) {
    const start = Math.max(0, page - marginBytes);
    const end = Math.min(sizeBytes, page + PAGE + marginBytes);
    const last = parts.at(-1);
    if (last && start <= last.offsetBytes + last.sizeBytes) last.sizeBytes = end - last.offsetBytes;
    else parts.push({ offsetBytes: start, sizeBytes: end - start });
  }
  return parts;
}

/** Gives each page of the device's local memory bytes of its own; returns them by offset. */
export function markPages(
  rig: BridgesRig,
  name: string,
  pages: readonly number[],
): ReadonlyMap<number, Uint8Array> {
  const { local } = rig.memory(name);
  return new Map(pages.map((page, i) => [page, mark(local, page, PAGE, i + 1)]));
}

/** A function's domain. @throws where it has none */
export function domainOf(rig: BridgesRig, name: string): IommuDomain {
  const { domain } = rig.built.function(name).dma;
  if (domain instanceof IommuDomain) return domain;
  throw new Error(`${name} has no IOMMU domain`);
}

/** Requests that the IOMMU has translated so far, or refused to; 0 without one. */
export function translations(rig: BridgesRig): number {
  const counters = rig.built.iommu?.counters;
  return (counters?.[IommuCounter.hits] ?? 0) + (counters?.[IommuCounter.misses] ?? 0);
}

const watched = new WeakMap<BridgesRig, { requests: number }>();

/** Memory requests of devices that the root complex has decided on since the first call, in either fidelity. */
export function rootRequests(rig: BridgesRig): number {
  const known = watched.get(rig);
  if (known) return known.requests;
  const { root } = rig.built;
  const counts = { requests: 0 };
  const decide = root.decide.bind(root);
  root.decide = (ingress, tlp, out) => {
    if (isMemory(tlp)) counts.requests++;
    decide(ingress, tlp, out);
  };
  watched.set(rig, counts);
  return 0;
}
