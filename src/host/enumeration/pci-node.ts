/**
 * One function as host software found it: identity, BARs, capabilities, place in the tree. Filled by
 * bus-scan.ts and window-plan.ts; holds no hardware.
 * @module
 */
import { type Bdf, type DmaAddr, dmaAddr, formatBdf, type PhysAddr } from '#emu/base/units.ts';
import type { Place } from '#emu/host/place.ts';

/** A BAR as sized; its addresses are 0 until windows are assigned. */
export interface NodeBar {
  /** Functions that it decodes addresses for, one behind the other: 1, or for a VF BAR all virtual functions. */
  readonly copies: number;
  /** Of one function. */
  readonly index: number;
  sizeBytes: number;
  readonly width: 32 | 64;
  readonly prefetchable: boolean;
  /** As the CPU reaches it. */
  address: PhysAddr;
  /** What its register holds, and devices use; differs where the host bridge has an offset. */
  busAddress: DmaAddr;
}

/** Virtual functions behind a function, as its SR-IOV capability says. [PCIE] 9.3.3 */
export interface NodeSriov {
  /** Offset of the capability. */
  readonly at: number;
  readonly totalVfs: number;
  readonly vfDeviceId: number;
  readonly firstOffset: number;
  readonly stride: number;
  readonly bars: NodeBar[];
  /** Those enabled. */
  vfs: PciNode[];
}

/** A bridge window in bus addresses, `limit` exclusive; closed when the two are equal. */
export interface BridgeWindow {
  base: DmaAddr;
  limit: DmaAddr;
}

const closed = (): BridgeWindow => ({ base: dmaAddr(0), limit: dmaAddr(0) });

export class PciNode {
  readonly bdf: Bdf;
  readonly parent: PciNode | null;
  /** Where the board has this function; null for one that the specification does not name. */
  readonly place: Place | null;
  /** Index of the host bridge it stands below. */
  readonly hostBridge: number;
  readonly children: PciNode[] = [];
  readonly bars: NodeBar[] = [];
  /** Offset by capability ID. */
  readonly capabilities = new Map<number, number>();
  readonly extendedCapabilities = new Map<number, number>();
  sriov: NodeSriov | null = null;
  /** Of a virtual function: its physical one. */
  physical: PciNode | null = null;
  vendorId = 0;
  deviceId = 0;
  classCode = 0;
  revisionId = 0;
  isBridge = false;
  isMultiFunction = false;
  /** Device/Port Type, -1 without a PCI Express capability. [PCIE] 7.5.3.2 */
  portType = -1;
  secondary = 0;
  subordinate = 0;
  /** Bridges only: non-prefetchable below 4 GiB, and 64-bit prefetchable. */
  readonly low: BridgeWindow = closed();
  readonly high: BridgeWindow = closed();
  /** ACS Control as last read, null without the capability. */
  acs: number | null = null;

  constructor(id: Bdf, parent: PciNode | null, place: Place | null, hostBridge = 0) {
    this.bdf = id;
    this.parent = parent;
    this.place = place;
    this.hostBridge = hostBridge;
    parent?.children.push(this);
  }

  get name(): string {
    return this.place?.name ?? formatBdf(this.bdf);
  }
  get path(): string {
    return this.place?.path ?? formatBdf(this.bdf);
  }

  /** BARs that need addresses: its own and those of its virtual functions. */
  get apertures(): readonly NodeBar[] {
    return this.sriov === null ? this.bars : [...this.bars, ...this.sriov.bars];
  }

  /** This function and everything below it, parents first. */
  *subtree(): Generator<PciNode> {
    yield this;
    for (const child of this.children) yield* child.subtree();
  }
}
