/**
 * The topology as host software last read it: host bridges, bridges, BARs, ACS control. An interface only; enumeration fills it
 * through configuration requests, so it can be stale. [PCIE] 6.12, [P2PDMA]
 * @module
 */
import type { Bdf, DmaAddr, PhysAddr } from '#emu/base/units.ts';
import type { Process } from '#emu/sim/process.ts';

/** Addresses that a host bridge forwards to devices, and what they are on the bus. */
export interface AddressWindow {
  readonly base: PhysAddr;
  /** The same place as devices address it; differs where the host bridge has an offset. */
  readonly busBase: DmaAddr;
  readonly sizeBytes: number;
}

/** An assigned memory BAR. */
export interface PciBarView extends AddressWindow {
  readonly index: number;
}

/**
 * A host bridge as software tells them apart: by the first function on its root bus, which must be device 0 or a
 * root port; else vendor and device are 0xffff. [P2PDMA]
 */
export interface HostBridgeView {
  readonly index: number;
  readonly bdf: Bdf;
  readonly vendorId: number;
  readonly deviceId: number;
}

export interface PciFunctionView {
  readonly bdf: Bdf;
  /** The bridge above, or null on a root bus. */
  readonly parent: Bdf | null;
  /** Position in {@link PciView.hostBridges} of the one it stands below. */
  readonly hostBridge: number;
  readonly isBridge: boolean;
  /** ACS Control as last read, or null without the capability. [PCIE] 7.7.11.3 */
  readonly acs: number | null;
  readonly bars: readonly PciBarView[];
}

export interface PciView {
  /** Grows whenever anything below has changed. */
  readonly generation: number;
  /** Every function, bridges included. */
  readonly functions: readonly PciFunctionView[];
  readonly hostBridges: readonly HostBridgeView[];
  /** MMIO windows of the host bridges: what is in none of them is host memory. */
  readonly windows: readonly AddressWindow[];
  /** The function with a BAR at `address`, or null. */
  functionAt(address: PhysAddr): PciFunctionView | null;
  /** Reads the topology again, through configuration requests. */
  refresh(): Process<void>;
}
