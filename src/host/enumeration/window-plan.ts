/**
 * Gives addresses to BARs and windows to bridges, each as small as what lies in it allows. Pure computation
 * over what the scan found; window-program.ts writes it. [PCIE] 7.5.1.3.8
 * @module
 */
import { type EmuError, usage } from '#emu/base/errors.ts';
import { alignUp, type DmaAddr, dmaAddr, hex, offsetBy, physAddr } from '#emu/base/units.ts';
import { formatSize } from '#emu/host/checks/spec-fields.ts';
import type { BusSpan } from '#emu/host/machine-spec.ts';
import { WINDOW_GRANULE } from '#emu/pcie/config/config-registers.ts';
import type { NodeBar, PciNode } from './pci-node.ts';

/** Windows of a bridge: `low` holds 32-bit and non-prefetchable BARs, `high` 64-bit prefetchable ones. */
export type Pool = 'low' | 'high';

/** What to change where something does not fit. */
const ADVICE: Readonly<Record<Pool, string>> = {
  high: 'raise mmioWindowBytes',
  low: 'make it smaller, or 64 bits wide and prefetchable, which goes above 4 GiB',
};

/** Something to place: a BAR, or a bridge's window with what is in it. */
interface Item {
  readonly sizeBytes: number;
  readonly alignBytes: number;
  /** Its largest BAR, for messages. */
  readonly owner: PciNode;
  readonly bar: NodeBar;
  readonly label: string;
  /** Takes its address and passes it on to what lies inside; `busOffset` leads back to the CPU's. */
  put(base: DmaAddr, busOffset: number): void;
}

interface Placed {
  readonly item: Item;
  readonly offset: number;
}

/** Assigns the pool's addresses within `span`, on the bus; `change` is advice where that fails. @throws USAGE that names the BAR that does not fit */
export function assignWindows(
  roots: readonly PciNode[],
  pool: Pool,
  span: BusSpan,
  change: string = ADVICE[pool],
): void {
  const items = roots.flatMap((node) => itemsOf(node, pool));
  const { placed } = pack(items, span.busBase);
  for (const { item, offset } of placed) {
    if (offset + item.sizeBytes <= span.sizeBytes) continue;
    throw doesNotFit(item, pool, span, pack(items).sizeBytes, change);
  }
  const busOffset = span.busBase - span.base;
  for (const { item, offset } of placed) item.put(offsetBy(span.busBase, offset), busOffset);
}

const poolOf = (bar: NodeBar): Pool => (bar.width === 64 && bar.prefetchable ? 'high' : 'low');

/** What a function needs on the bus it stands on: its own BARs and its window. */
function itemsOf(node: PciNode, pool: Pool): Item[] {
  const items = node.apertures
    .filter((bar) => poolOf(bar) === pool)
    .map((bar) => new BarItem(node, bar));
  const window = node.isBridge ? windowOf(node, pool) : null;
  return window ? [...items, window] : items;
}

function windowOf(bridge: PciNode, pool: Pool): Item | null {
  const items = bridge.children.flatMap((child) => itemsOf(child, pool));
  const { placed, sizeBytes } = pack(items);
  const room = bridge.place?.room?.[pool] ?? 0;
  const largest = items.reduce<Item | null>(
    (most, item) => (most && most.bar.sizeBytes >= item.bar.sizeBytes ? most : item),
    room === 0 ? null : new RoomItem(bridge, room),
  );
  return largest && new WindowItem(bridge[pool], placed, Math.max(sizeBytes, room), largest);
}

/** Stands for devices that may come: a power of two, as aligned as the largest BAR that fits. */
class RoomItem implements Item {
  readonly owner: PciNode;
  readonly bar: NodeBar;
  readonly label: string;
  constructor(owner: PciNode, sizeBytes: number) {
    this.owner = owner;
    const nowhere = { address: physAddr(0), busAddress: dmaAddr(0) };
    const plain = { copies: 1, index: 0, width: 64, prefetchable: true } as const;
    this.label = `room of ${formatSize(sizeBytes)} for hot-plug`;
    this.bar = { ...plain, ...nowhere, sizeBytes };
  }
  get sizeBytes(): number {
    return this.bar.sizeBytes;
  }
  get alignBytes(): number {
    return this.bar.sizeBytes;
  }
  put(): void {
    // Nothing is there yet.
  }
}

class BarItem implements Item {
  readonly owner: PciNode;
  readonly bar: NodeBar;
  constructor(owner: PciNode, bar: NodeBar) {
    this.owner = owner;
    this.bar = bar;
  }
  get label(): string {
    return `BAR${this.bar.index} of ${formatSize(this.bar.sizeBytes)}`;
  }
  get sizeBytes(): number {
    return this.bar.sizeBytes * this.bar.copies;
  }
  get alignBytes(): number {
    return this.bar.sizeBytes;
  }
  put(base: DmaAddr, busOffset: number): void {
    this.bar.busAddress = base;
    this.bar.address = physAddr(base - busOffset);
  }
}

class WindowItem implements Item {
  readonly sizeBytes: number;
  readonly alignBytes: number;
  readonly owner: PciNode;
  readonly bar: NodeBar;
  readonly label: string;
  readonly #window: PciNode[Pool];
  readonly #content: readonly Placed[];

  constructor(window: PciNode[Pool], content: readonly Placed[], sizeBytes: number, largest: Item) {
    this.sizeBytes = alignUp(sizeBytes, WINDOW_GRANULE);
    const aligned = [largest, ...content.map(({ item }) => item)];
    this.alignBytes = Math.max(WINDOW_GRANULE, ...aligned.map(({ alignBytes }) => alignBytes));
    this.owner = largest.owner;
    this.bar = largest.bar;
    this.label = largest.label;
    this.#window = window;
    this.#content = content;
  }

  put(base: DmaAddr, busOffset: number): void {
    this.#window.base = base;
    this.#window.limit = offsetBy(base, this.sizeBytes);
    for (const { item, offset } of this.#content) item.put(offsetBy(base, offset), busOffset);
  }
}

/**
 * Places the most aligned first, each in the first gap that holds it. Offsets count from `base`, by default one
 * that is as aligned as anything inside.
 */
function pack(items: readonly Item[], base = 0): { placed: Placed[]; sizeBytes: number } {
  const order = [...items].sort((a, b) => b.alignBytes - a.alignBytes || b.sizeBytes - a.sizeBytes);
  const placed: Placed[] = [];
  const gaps = [{ from: base, limit: Number.POSITIVE_INFINITY }];
  let sizeBytes = 0;
  for (const item of order) {
    const offset = takeGap(gaps, item) - base;
    placed.push({ item, offset });
    sizeBytes = Math.max(sizeBytes, offset + item.sizeBytes);
  }
  return { placed, sizeBytes };
}

function takeGap(gaps: { from: number; limit: number }[], item: Item): number {
  for (const [i, gap] of gaps.entries()) {
    const offset = alignUp(gap.from, item.alignBytes);
    const end = offset + item.sizeBytes;
    if (end > gap.limit) continue;
    const rest = [
      { from: gap.from, limit: offset },
      { from: end, limit: gap.limit },
    ].filter(({ from, limit }) => from < limit);
    gaps.splice(i, 1, ...rest);
    return offset;
  }
  return Number.POSITIVE_INFINITY;
}

function doesNotFit(
  item: Item,
  pool: Pool,
  span: BusSpan,
  neededBytes: number,
  change: string,
): EmuError {
  const { owner, label } = item;
  const window = `${pool === 'high' ? '64-bit prefetchable' : '32-bit'} MMIO window`;
  const size = `${formatSize(span.sizeBytes)} at ${hex(span.base)}`;
  return usage(
    `${owner.path}: ${label} does not fit the ${window} of ${size}, ` +
      `which needs ${formatSize(neededBytes)} for all BARs: ${change}`,
  );
}
