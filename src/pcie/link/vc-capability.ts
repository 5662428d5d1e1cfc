/**
 * The Virtual Channel Extended Capability of a port: what software reads and writes, and the channels, traffic
 * class map and arbitration that follow from it. [PCIE] 7.9.1
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { ExtendedId } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from '#emu/pcie/config/config-space.ts';
import type { LinkSpec, VcOptions } from './link.ts';
import type { Port } from './port.ts';

const VERSION = 1;
const RESOURCE_SIZE = 0x0c;
const FIRST_RESOURCE = 0x10;
/** The arbitration table's offset counts these. */
const TABLE_UNIT = 16;
/** WRR with 32 phases of 4 bits. */
const PHASES = 32;
const TABLE_BYTES = PHASES / 2;

/** Offsets in the capability; those of resources add {@link vcResource}. [PCIE] 7.9.1 */
export const Vc = {
  PortCap1: 0x04,
  PortCap2: 0x08,
  PortControl: 0x0c,
  PortStatus: 0x0e,
  ResourceCap: 0x00,
  ResourceControl: 0x04,
  ResourceStatus: 0x0a,
} as const;
export const PortVcCap1 = { ExtendedCount: new Bits(2, 0), LowPriority: new Bits(6, 4) } as const;
export const PortVcCap2 = { Arbitration: new Bits(7, 0), TableOffset: new Bits(31, 24) } as const;
export const PortVcControl = { LoadTable: new Bits(0), Select: new Bits(3, 1) } as const;
export const PortVcStatus = { Table: new Bits(0) } as const;
export const VcControl = {
  TcMap: new Bits(7, 0),
  Id: new Bits(26, 24),
  Enable: new Bits(31),
} as const;
export const VcStatus = { NegotiationPending: new Bits(1) } as const;
/** Values of the arbitration select field, and bits of what the port is capable of. [PCIE] 7.9.1.3 */
export const VcScheme = { RoundRobin: 0, Weighted32: 1 } as const;

/** Offset of the registers of resource `index` in the capability. */
export const vcResource = (index: number): number => FIRST_RESOURCE + index * RESOURCE_SIZE;

export class VcCapability implements ConfigWatcher {
  /** Of the capability in configuration space. */
  readonly offset: number;
  readonly #port: Port;
  readonly #config: ConfigSpace;
  readonly #options: VcOptions;
  readonly #tableAt: number;
  /** VC ID of each resource that is enabled; -1. */
  readonly #enabled: number[];
  #table: readonly number[] = new Array<number>(PHASES).fill(0);

  /** Appends the capability to the function of `port`. */
  constructor(port: Port, config: ConfigSpace, options: VcOptions) {
    this.#port = port;
    this.#config = config;
    this.#options = options;
    this.#enabled = new Array<number>(options.count).fill(-1);
    const tableOffset = Math.ceil(vcResource(options.count) / TABLE_UNIT);
    const size = tableOffset * TABLE_UNIT + TABLE_BYTES;
    this.offset = config.appendExtended(ExtendedId.Vc, VERSION, size);
    this.#tableAt = this.offset + tableOffset * TABLE_UNIT;
    for (const register of registers(options, tableOffset)) {
      config.define({ ...register, offset: this.offset + register.offset });
    }
    config.watch(this.offset, size, this);
    port.channels.onCredits = () => this.#showPending();
    this.#apply();
  }

  configWritten(): void {
    const at = this.offset + Vc.PortControl;
    const control = this.#config.read(at, 2);
    const table = this.#readTable();
    if (PortVcControl.LoadTable.get(control)) {
      // It reads as 0 whatever is written.
      this.#config.view.setUint16(at, PortVcControl.LoadTable.put(control, 0), true);
      this.#table = table;
    }
    const isNew = table.some((id, phase) => id !== this.#table[phase]);
    this.#config.view.setUint16(this.offset + Vc.PortStatus, PortVcStatus.Table.of(+isNew), true);
    this.#apply();
  }

  configReset(): void {
    this.#table = this.#readTable();
    this.#apply();
  }

  #apply(): void {
    const { channels } = this.#port;
    for (let i = 0; i < this.#options.count; i++) this.#applyResource(i);
    const select = PortVcControl.Select.get(this.#config.read(this.offset + Vc.PortControl, 2));
    channels.arbitrate({
      lowPriorityLast: this.#options.lowPriority ?? 0,
      table: select === VcScheme.Weighted32 ? this.#table : [],
    });
    this.#showPending();
  }

  #applyResource(index: number): void {
    const { channels } = this.#port;
    const control = this.#control(index);
    const id = VcControl.Enable.get(control) ? VcControl.Id.get(control) : -1;
    const before = this.#enabled[index] ?? -1;
    if (before > 0 && before !== id) {
      channels.map(before, 0);
      this.#port.closeChannel(before);
    }
    this.#enabled[index] = id;
    if (id > 0) this.#port.openChannel(id);
    if (id >= 0) channels.map(id, VcControl.TcMap.get(control));
  }

  #control(index: number): number {
    return this.#config.read(this.offset + vcResource(index) + Vc.ResourceControl, 4);
  }

  /** Negotiation lasts until the other end has the channel too. [PCIE] 7.9.1.10 */
  #showPending(): void {
    for (const [index, id] of this.#enabled.entries()) {
      const pending = id > 0 && this.#port.channels.get(id)?.isInitialised !== true;
      this.#config.view.setUint16(
        this.offset + vcResource(index) + Vc.ResourceStatus,
        VcStatus.NegotiationPending.of(+pending),
        true,
      );
    }
  }

  #readTable(): readonly number[] {
    return Array.from({ length: PHASES }, (_, phase) => {
      const byte = this.#config.read(this.#tableAt + (phase >> 1), 1);
      return (byte >> (4 * (phase & 1))) & 7;
    });
  }
}

/** Gives a function at one end of a link the channels that the link is specified with. */
export function addVirtualChannels(port: Port, config: ConfigSpace, link: LinkSpec): void {
  if (link.virtualChannels !== undefined) new VcCapability(port, config, link.virtualChannels);
}

function registers({ count, lowPriority = 0 }: VcOptions, tableOffset: number): RegisterSpec[] {
  const schemes = lowPriority > 0 ? (1 << VcScheme.RoundRobin) | (1 << VcScheme.Weighted32) : 0;
  return [
    {
      name: 'PortVcCap1',
      offset: Vc.PortCap1,
      width: 32,
      reset: PortVcCap1.ExtendedCount.of(count - 1) | PortVcCap1.LowPriority.of(lowPriority),
    },
    {
      name: 'PortVcCap2',
      offset: Vc.PortCap2,
      width: 32,
      reset: PortVcCap2.Arbitration.of(schemes) | PortVcCap2.TableOffset.of(tableOffset),
    },
    {
      name: 'PortVcControl',
      offset: Vc.PortControl,
      width: 16,
      writable: PortVcControl.LoadTable.mask | PortVcControl.Select.mask,
    },
    { name: 'PortVcStatus', offset: Vc.PortStatus, width: 16 },
    ...Array.from({ length: count }, (_, i) => resource(i)).flat(),
    ...Array.from({ length: TABLE_BYTES / 4 }, (_, i) => ({
      name: `VcArbitrationTable${i}`,
      offset: tableOffset * TABLE_UNIT + 4 * i,
      width: 32 as const,
      writable: 0x7777_7777,
    })),
  ];
}

/** TC0 stays on VC0, which is always enabled. [PCIE] 7.9.1.9 */
function resource(index: number): RegisterSpec[] {
  const at = vcResource(index);
  const isFirst = index === 0;
  const control = isFirst ? VcControl.TcMap.of(0xff) | VcControl.Enable.of(1) : 0;
  const own = isFirst ? 0 : VcControl.Id.mask | VcControl.Enable.mask;
  return [
    { name: `VcResourceCap${index}`, offset: at + Vc.ResourceCap, width: 32, reset: 1 },
    {
      name: `VcResourceControl${index}`,
      offset: at + Vc.ResourceControl,
      width: 32,
      reset: control >>> 0,
      writable: (VcControl.TcMap.of(0xfe) | own) >>> 0,
    },
    { name: `VcResourceStatus${index}`, offset: at + Vc.ResourceStatus, width: 16 },
  ];
}
