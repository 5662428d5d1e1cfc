/**
 * A machine with a peer at every distance that maps differ by, and the way that transfers to an address take in it.
 * Asserts that all bytes arrive or none, by links that fit the way. [P2PDMA]
 * @module
 */
import assert from 'node:assert/strict';
import { offsetBy } from '#emu/base/units.ts';
import type { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { type AcsPolicy, type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { AcsBit } from '#emu/pcie/config/config-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';
import { drive, MiB, PAGE, rootRequests, TiB, translations } from '#test/support/requester-rig.ts';

export const SIZE: number = 3 * PAGE;
export const CLIENT = 'a';

/** How the machine translates: not at all, for every device, or for none although it could. */
const MODES = {
  off: {},
  on: { iommu: true },
  lazy: { iommu: { flush: 'lazy' } },
  passthrough: { iommu: true, dma: { provider: 'direct' } },
} as const satisfies Record<string, Partial<MachineSpec>>;
export type Mode = keyof typeof MODES;

interface Options {
  /** Of ports that say nothing; default off. */
  readonly acs?: AcsPolicy;
  /** Of the ports below the switch. */
  readonly downAcs?: number;
  /** Device ID of both host bridges, by Intel; default one that is trusted everywhere. */
  readonly hostBridge?: number;
}

/** The client `a` with b below one switch; c below the next root port; d below the other host bridge. */
export function build(mode: Mode, fidelity: Fidelity, options: Options = {}): BridgesRig {
  const { acs = 'off', downAcs, hostBridge } = options;
  const identity = hostBridge === undefined ? {} : { identity: identityOf(hostBridge) };
  const down = downAcs === undefined ? {} : { acs: downAcs };
  const ports = [CLIENT, 'b'].map((name) => ({ device: barMemory(name, MiB), ...down }));
  const near = [{ device: pcieSwitch({ ports }) }, { device: barMemory('c', MiB) }];
  const far = [{ device: barMemory('d', MiB) }];
  const hostBridges = [
    { ...identity, rootPorts: near, busOffset: { high: 2 * TiB } },
    { ...identity, rootPorts: far, busOffset: { high: 5 * TiB } },
  ];
  return new BridgesRig({ ...MODES[mode], acs, hostBridges }, fidelity);
}

const identityOf = (deviceId: number) => ({ vendorId: 0x8086, deviceId });

export type Owner = 'host' | 'b' | 'c' | 'd';
/** Which of its addresses a descriptor holds. */
export type AddressKind = 'cpu' | 'bus' | 'iova';

/** Memory of someone, for the client to reach. */
export class Target {
  readonly owner: Owner;
  readonly list: PhyRangeList;
  readonly #rig: BridgesRig;
  readonly #offset: number;

  /** @param offset in the BAR of a peer */
  constructor(rig: BridgesRig, owner: Owner, offset = 0) {
    const { mm } = rig.built;
    const base = owner === 'host' ? mm.allocate(SIZE) : rig.built.function(owner).bar(0).address;
    this.owner = owner;
    this.#rig = rig;
    this.#offset = owner === 'host' ? 0 : offset;
    this.list = PhyRangeList.of(offsetBy(base, this.#offset), SIZE);
  }

  get memory(): SparseMemory {
    return this.owner === 'host' ? this.#rig.built.mm.memory : this.#rig.memory(this.owner).shown;
  }
  /** Where it is in that. */
  get at(): number {
    return this.owner === 'host' ? this.list.address(0) : this.#offset;
  }
  get busAddress(): number {
    return this.#rig.built.pci.node(this.owner).bars[0]!.busAddress + this.#offset;
  }

  kindOf(address: number): AddressKind {
    if (address === this.list.address(0)) return 'cpu';
    return this.owner !== 'host' && address === this.busAddress ? 'bus' : 'iova';
  }
}

/** Below the switch, through the root complex, or not at all. */
export type Route = 'switch' | 'root' | 'root, translated' | 'fault' | 'unsupported';

/** So far: data on the link above the switch, both ways, requests at the root complex, and translations. */
export function sample(rig: BridgesRig): readonly number[] {
  const { up, down } = rig.built.links().find(({ path }) => path === 'rc0.port0.sw0')!;
  return [up.dataBytes, down.dataBytes, rootRequests(rig), translations(rig)];
}

/** What has come since. */
export const since = (rig: BridgesRig, before: readonly number[]): readonly number[] =>
  sample(rig).map((count, i) => count - before[i]!);

/** Whether the port above b sends completions up. */
const isCompletionRedirected = (rig: BridgesRig): boolean =>
  ((rig.built.pci.node('b').parent?.acs ?? 0) & AcsBit.CR) !== 0;

/** Data on the link above the switch for a transfer by way of the root. */
function dataBytes(rig: BridgesRig, owner: Owner, isWrite: boolean): [up: number, down: number] {
  if (owner !== 'b') return isWrite ? [SIZE, 0] : [0, SIZE];
  // It comes back by the same link; what it answers only where completions are redirected as well.
  return isWrite || isCompletionRedirected(rig) ? [SIZE, SIZE] : [0, 0];
}

/** The way that a write and a read of all bytes take, which must be the same. */
export function routeOf(rig: BridgesRig, target: Target, ranges: DmaRangeList): Route {
  const written = attempt(rig, target, ranges, true);
  assert.equal(attempt(rig, target, ranges, false), written);
  return written;
}

/** The bytes either arrive, all of them where they belong, or change nothing. */
function attempt(rig: BridgesRig, target: Target, ranges: DmaRangeList, isWrite: boolean): Route {
  const { local } = rig.memory(CLIENT);
  const [from, fromAt, to, toAt] = isWrite
    ? [local, 0, target.memory, target.at]
    : [target.memory, target.at, local, 0];
  const sent = mark(from, fromAt, SIZE, isWrite ? 3 : 4);
  to.fill(toAt, SIZE, 0x11);
  const before = sample(rig);
  const errors = new Map(rig.built.fabric.errors);
  const statuses = drive(rig, CLIENT, isWrite, ranges);
  const [up, down, requests, translated] = since(rig, before);
  const got = bytesAt(to, toAt, SIZE);
  if (got[0] === 0x11 && got.every((byte) => byte === 0x11)) {
    assert.deepEqual(statuses, [isWrite ? DmaStatus.Ok : DmaStatus.UnsupportedRequest]);
    const [reason] = [...rig.built.fabric.errors].find(([key, n]) => errors.get(key) !== n)!;
    return reason.endsWith('translation-fault') ? 'fault' : 'unsupported';
  }
  assert.deepEqual([statuses, got], [[DmaStatus.Ok], sent]);
  if (requests === 0) {
    assert.equal(translated, 0);
    assert.deepEqual([up, down], isWrite ? [0, 0] : dataBytes(rig, 'b', false));
    return 'switch';
  }
  assert.deepEqual([up, down], dataBytes(rig, target.owner, isWrite));
  return translated === 0 ? 'root' : 'root, translated';
}
