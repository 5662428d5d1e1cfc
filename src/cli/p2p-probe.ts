/**
 * A few bytes really sent from one device into another's memory and read back, and what became of them: which links
 * carried them, who refused them, where they landed. Everything touched is put back. [P2PDMA], [PCIE] 2.2
 * @module
 */
import { type DmaAddr, dmaAddr, hex, offsetBy } from '#emu/base/units.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal, MapType } from '#emu/dma/mapping.ts';
import type { Machine } from '#emu/host/machine.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import { FabricWatch, type Refusal } from './fabric-watch.ts';

/** Memory behind a BAR, as much of it as a probe uses. */
export interface ProbePlace {
  readonly bar: number;
  /** Of the page in the BAR. */
  readonly offset: number;
  readonly memory: SparseMemory;
}

/** One transfer of a probe. */
export interface ProbeTransfer {
  /** Every byte was found where it belongs. */
  readonly arrived: boolean;
  /** Completion status by name; of a write only what the requester itself noticed. */
  readonly status: string;
  /** Links that carried data, `name↑` towards the root and `name↓` away from it, in order. */
  readonly links: readonly string[];
  /** Where it was refused and why, or null. */
  readonly refused: Refusal | null;
  /** Where else the bytes ended up, or null. */
  readonly landed: string | null;
}

/** One direction of the probe. */
export interface ProbeResult {
  readonly requester: string;
  readonly provider: string;
  readonly sent: boolean;
  /** Why nothing was sent, or null. */
  readonly statement: string | null;
  readonly mapType: MapType | null;
  readonly addressKind: AddressKind | null;
  /** What stood in the descriptor, and the CPU's address of the same byte. */
  readonly address: DmaAddr | null;
  readonly cpuAddress: number | null;
  /** The reason that the map was refused, or null. */
  readonly refusal: string | null;
  readonly write: ProbeTransfer | null;
  readonly read: ProbeTransfer | null;
  /** The request turned at the root complex. */
  readonly viaRoot: boolean;
  /** False when the route is not what the map type says. */
  readonly ok: boolean;
}

export type AddressKind = 'bus address' | 'IOVA' | 'CPU physical address';

const PAGE = 4096;
const PROBE_BYTES = 64;
const STATUS_NAMES = new Map<number, string>(
  Object.entries(DmaStatus).map(([name, value]) => [value, name]),
);
/** Longer than anything posted is on its way: 100 us. */
const ARRIVAL_PS = 100_000_000;

/** The largest BAR of a device with memory of at least a page behind it, or null. */
export function probePlace(machine: Machine, name: string): ProbePlace | null {
  const endpoint = machine.endpoint(name);
  const [best] = machine
    .function(name)
    .bars.flatMap(({ index, sizeBytes }) => {
      const memory = endpoint.barMemory(index);
      const isUsable = memory !== null && Math.min(sizeBytes, memory.sizeBytes) >= PAGE;
      return isUsable ? [{ bar: index, sizeBytes, memory }] : [];
    })
    .sort((a, b) => b.sizeBytes - a.sizeBytes);
  if (!best) return null;
  const { bar, memory, sizeBytes } = best;
  return { bar, memory, offset: Math.min(sizeBytes, memory.sizeBytes) - PAGE };
}

/** Address kind that a map type puts into descriptors. [P2PDMA] */
export function addressKindOf(type: MapType, hasIommu: boolean): AddressKind | null {
  if (type === MapType.BusAddress) return 'bus address';
  if (type === MapType.NotSupported) return null;
  return hasIommu ? 'IOVA' : 'CPU physical address';
}

/** Probes from `requester` to memory of `provider`, a booted machine's devices. */
export async function probe(
  machine: Machine,
  requester: string,
  provider: string,
): Promise<ProbeResult> {
  const place = probePlace(machine, provider);
  const pair = { requester, provider };
  if (place === null) return unsent(pair, `${provider} ${withoutMemory(machine, provider)}`);
  const one = new Probe(machine, requester, provider, place);
  return machine.kernel.spawn(`p2p probe ${requester} ${provider}`, one.run());
}

const UNSENT = {
  sent: false,
  mapType: null,
  addressKind: null,
  address: null,
  cpuAddress: null,
  refusal: null,
  write: null,
  read: null,
  viaRoot: false,
  ok: true,
} as const;

type Pair = Pick<ProbeResult, 'requester' | 'provider'>;

const unsent = (pair: Pair, statement: string, found: Partial<ProbeResult> = {}): ProbeResult => ({
  ...UNSENT,
  ...pair,
  ...found,
  statement,
});

/** What a device has in place of memory that a peer could use. */
function withoutMemory(machine: Machine, name: string): string {
  const bars = machine.function(name).bars.map(({ index }) => `BAR${index}`);
  if (bars.length === 0) return 'has no memory BAR';
  const what = bars.length === 1 ? 'which has registers' : 'which have registers';
  return `offers no memory of ${PAGE} bytes or more (only ${bars.join(', ')}, ${what})`;
}

/** What to send to, and how it came about. */
interface Target {
  readonly mapping: DmaMapping | null;
  readonly address: DmaAddr;
  readonly found: Partial<ProbeResult>;
}

class Probe {
  readonly #machine: Machine;
  readonly #pair: Pair;
  readonly #place: ProbePlace;
  readonly #cpuAddress: number;

  constructor(machine: Machine, requester: string, provider: string, place: ProbePlace) {
    this.#machine = machine;
    this.#pair = { requester, provider };
    this.#place = place;
    this.#cpuAddress = machine.function(provider).bar(place.bar).address + place.offset;
  }

  *run(): Process<ProbeResult> {
    const { requester } = this.#pair;
    const fn = this.#machine.function(requester);
    const { address, mapping, found } = this.#target();
    if (mapping === null && this.#machine.iommu !== null) {
      const statement = 'without a mapping the IOMMU gives no address to send to';
      return unsent(this.#pair, statement, found);
    }
    const couldSend = this.#machine.endpoint(requester).busMaster;
    yield* fn.setBusMaster(true);
    const saved = new Uint8Array(PROBE_BYTES);
    const { memory, offset } = this.#place;
    memory.read(offset, saved);
    const local = new SparseMemory(PAGE, 'p2p probe');
    const watch = new FabricWatch(this.#machine);
    const write = yield* this.#write(address, local, watch);
    const viaRoot = watch.reachedRoot;
    const read = yield* this.#read(address, local, watch);
    watch.close();
    local.dispose();
    memory.write(offset, saved);
    yield* fn.setBusMaster(couldSend);
    if (mapping !== null) yield* wait(fn.dma.unmap(mapping));
    const { provider } = this.#pair;
    const sent = { write, read, viaRoot };
    const ok = mapping === null || agrees(mapping.mapType, sent);
    return { ...UNSENT, requester, provider, ...found, ...sent, sent: true, statement: null, ok };
  }

  /** Maps the place; where software refuses, the bus address stands in for what it will not give. */
  #target(): Target {
    const { requester, provider } = this.#pair;
    const { bar, offset } = this.#place;
    const cpuAddress = this.#cpuAddress;
    const list = PhyRangeList.of(
      offsetBy(this.#machine.function(provider).bar(bar).address, offset),
      PAGE,
    );
    const mapping = this.#machine.function(requester).dma.map(list, Direction.Bidirectional);
    if (isRefusal(mapping)) {
      const bus = this.#machine.pci.node(provider).bars.find(({ index }) => index === bar);
      const found = { mapType: MapType.NotSupported, cpuAddress };
      return {
        mapping: null,
        address: dmaAddr((bus?.busAddress ?? 0) + offset),
        found: { ...found, refusal: `${mapping.refused}: ${mapping.reason}` },
      };
    }
    const address = mapping.ranges.address(0);
    const isBus = (mapping.ranges.flags(0) & DmaFlag.BusAddress) !== 0;
    const { mapType } = mapping;
    const kind = isBus ? 'bus address' : addressKindOf(mapType, this.#machine.iommu !== null);
    return { mapping, address, found: { mapType, addressKind: kind, address, cpuAddress } };
  }

  *#write(address: DmaAddr, local: SparseMemory, watch: FabricWatch): Process<ProbeTransfer> {
    const { memory, offset } = this.#place;
    const bytes = pattern(0xa5);
    local.write(0, bytes);
    memory.write(offset, pattern(0x11));
    const status = yield* this.#transfer(true, address, local, watch);
    const arrived = isAt(memory, offset, bytes);
    const { path } = this.#machine.endpoint(this.#pair.provider);
    const landed = watch.landings.find((one) => one.path !== path || !arrived);
    return {
      arrived: arrived && landed === undefined,
      status,
      links: watch.links(),
      refused: watch.refusal,
      landed: landed === undefined ? null : `${landed.path} at ${hex(landed.address)}`,
    };
  }

  *#read(address: DmaAddr, local: SparseMemory, watch: FabricWatch): Process<ProbeTransfer> {
    const { memory, offset } = this.#place;
    const bytes = pattern(0x3c);
    memory.write(offset, bytes);
    local.write(0, pattern(0x77));
    const status = yield* this.#transfer(false, address, local, watch);
    const isRight = isAt(local, 0, bytes);
    const got = new Uint8Array(4);
    local.read(0, got);
    const isOther = status === 'Ok' && !isRight;
    return {
      arrived: status === 'Ok' && isRight,
      status,
      links: watch.links(),
      refused: watch.refusal,
      landed: isOther ? `other bytes (${[...got].map((b) => hex(b, 2)).join(' ')} ...)` : null,
    };
  }

  /** The requester's own hardware transfers; then everything in flight comes to rest. */
  *#transfer(
    isWrite: boolean,
    address: DmaAddr,
    local: SparseMemory,
    watch: FabricWatch,
  ): Process<string> {
    const { kernel } = this.#machine;
    const endpoint = this.#machine.endpoint(this.#pair.requester);
    watch.open();
    const ended = kernel.pending<DmaStatus>('p2p probe transfer');
    const client = { dmaDone: (status: DmaStatus) => ended.complete(status) };
    if (isWrite) endpoint.write(address, PROBE_BYTES, local, 0, Purpose.Data, client, 0);
    else endpoint.read(address, PROBE_BYTES, local, 0, Purpose.Data, client, 0);
    const status = yield* wait(ended);
    yield ARRIVAL_PS;
    return STATUS_NAMES.get(status) ?? String(status);
  }
}

/** Bytes that differ from place to place and from `seed` to `seed`. */
const pattern = (seed: number): Uint8Array =>
  Uint8Array.from({ length: PROBE_BYTES }, (_, i) => (i * 29 + seed) & 0xff);

function isAt(memory: SparseMemory, at: number, bytes: Uint8Array): boolean {
  const found = new Uint8Array(bytes.length);
  memory.read(at, found);
  return found.every((byte, i) => byte === bytes[i]);
}

/** Whether a route is what its map type says. */
function agrees(
  type: MapType,
  { write, read, viaRoot }: Pick<Required<ProbeResult>, 'viaRoot'> & Transfers,
): boolean {
  return write.arrived && read.arrived && viaRoot === (type === MapType.ThruHostBridge);
}

interface Transfers {
  readonly write: ProbeTransfer;
  readonly read: ProbeTransfer;
}
