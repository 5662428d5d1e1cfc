/**
 * Host memory with address spaces, and a small topology whose functions offer peer memory, for tests. Builds;
 * asserts nothing.
 * @module
 */
import { type Bdf, bdf, dmaAddr, type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { mapType } from '#emu/dma/p2p/p2p.ts';
import type { PciFunctionView, PciView } from '#emu/dma/p2p/pci-view.ts';
import { AddressSpace, type SpaceOptions, type UserHost } from '#emu/host/memory/address-space.ts';
import { HostMemory } from '#emu/host/memory/mm.ts';
import { PinLedger } from '#emu/host/memory/pin-ledger.ts';
import { type PinFlags, pinUserPages } from '#emu/host/memory/pinning.ts';
import { type Refusal, wasRefused } from '#emu/host/memory/refusal.ts';
import { type UserAddr, userAddr } from '#emu/host/memory/user-address.ts';
import { PeerMemory } from '#emu/host/peer/peer-memory.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Kernel } from '#emu/sim/kernel.ts';

export const KiB: number = 2 ** 10;
export const MiB: number = 2 ** 20;
export const GiB: number = 2 ** 30;
export const PAGE = 4096;
export const DRAM: PhysAddr = physAddr(0x8000_0000);

/** A host with call sites recorded; addresses index its memory. */
export function userHost(dramBytes: number = 64 * MiB): UserHost & { memory: SparseMemory } {
  const memory = new SparseMemory(DRAM + dramBytes, 'host');
  const mm = new HostMemory(memory, { base: DRAM, sizeBytes: dramBytes });
  return { memory, mm, pins: new PinLedger({ callSites: true }) };
}

export function userSpace(dramBytes?: number, options?: SpaceOptions): AddressSpace {
  return new AddressSpace(userHost(dramBytes), options);
}

export const after = (address: UserAddr, bytes: number): UserAddr => userAddr(address + bytes);

const isGranted = <T>(result: T): result is Exclude<T, Refusal> => !wasRefused(result);

/** A result that must not be a refusal. */
export function granted<T>(result: T): Exclude<T, Refusal> {
  if (!isGranted(result)) throw new Error(`refused: ${JSON.stringify(result)}`);
  return result;
}

/** The code of a result that must be a refusal. */
export function refusedCode(result: object | number | null): string {
  if (typeof result !== 'object' || result === null) throw new Error(`granted: ${result}`);
  return 'refused' in result ? String(result.refused) : 'granted';
}

export const pinned = (
  space: AddressSpace,
  address: UserAddr,
  sizeBytes: number,
  flags?: PinFlags,
): PhyRangeList => granted(pinUserPages(space, address, sizeBytes, flags));

/** Ranges as plain pairs. */
export const rangesOf = (list: PhyRangeList): [address: number, length: number][] =>
  [...list].map(({ address, length }) => [address, length]);

/** Functions of {@link peerView}: three devices below one switch, one below the other root port. */
export const Device = {
  gpu: bdf(3, 0, 0),
  drive: bdf(4, 0, 0),
  nic: bdf(5, 0, 0),
  far: bdf(6, 0, 0),
} as const;
export const BUS_OFFSET = 0x10_0000_0000;
export const GPU_BAR: PhysAddr = physAddr(0x40_0000_0000);
export const DRIVE_BAR: PhysAddr = physAddr(GPU_BAR + 16 * MiB);

function fn(id: Bdf, parent: Bdf | null, bars: readonly [number, number, number][] = []) {
  const views = bars.map(([index, base, sizeBytes]) => {
    const busBase = dmaAddr(base + BUS_OFFSET);
    return { index, base: physAddr(base), busBase, sizeBytes };
  });
  return { bdf: id, parent, hostBridge: 0, isBridge: views.length === 0, acs: null, bars: views };
}

/** The BARs of gpu and drive are neighbours. */
export function peerView(): PciView {
  const [portA, portB, up] = [bdf(0, 1, 0), bdf(0, 2, 0), bdf(1, 0, 0)];
  const [down0, down1, down2] = [bdf(2, 0, 0), bdf(2, 1, 0), bdf(2, 2, 0)];
  const functions: PciFunctionView[] = [
    fn(portA, null),
    fn(portB, null),
    fn(up, portA),
    fn(down0, up),
    fn(down1, up),
    fn(down2, up),
    fn(Device.gpu, down0, [
      [0, GPU_BAR, 16 * MiB],
      [2, 0x4000_0000, 64 * KiB],
    ]),
    fn(Device.drive, down1, [[4, DRIVE_BAR, 2 * MiB]]),
    fn(Device.nic, down2, [[0, 0x4010_0000, 4 * KiB]]),
    fn(Device.far, portB, [[0, 0x50_0000_0000, 16 * MiB]]),
  ];
  return {
    generation: 1,
    functions,
    hostBridges: [],
    windows: [],
    functionAt: () => null,
    *refresh() {},
  };
}

export interface PeerRig {
  readonly kernel: Kernel;
  readonly peers: PeerMemory;
}

/** @param bridgeAllowed whether peer traffic may pass the host bridge */
export function peerRig(bridgeAllowed = false, seed = 1): PeerRig {
  const kernel = new Kernel({ seed });
  const view = peerView();
  const peers = new PeerMemory({
    kernel,
    view,
    route: (provider, client) => mapType(view, provider, client, bridgeAllowed),
    random: kernel.random('peer-memory'),
    callSites: true,
  });
  return { kernel, peers };
}
