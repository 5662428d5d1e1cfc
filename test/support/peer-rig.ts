/**
 * The small fabric with a policy from its first root port to its second, and transfers that have to leave
 * nothing behind. @module
 */
import assert from 'node:assert/strict';
import { dmaAddr } from '#emu/base/units.ts';
import type { PeerPolicy } from '#emu/pcie/root/peer-policy.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import {
  Outcomes,
  type SmallFabric,
  type SmallFabricOptions,
  smallFabric,
} from '#test/support/small-fabric.ts';

/** Root ports of the small fabric: one above the switch, one above the far endpoint. */
export const NEAR = 0;
export const FAR = 1;

export const policed = (
  policy: PeerPolicy | boolean,
  options: SmallFabricOptions = {},
): SmallFabric => {
  const one = smallFabric(options);
  one.root.setPeerForwarding(NEAR, FAR, policy);
  return one;
};

/** An endpoint, by default the first, reads or writes; its status, once everything has come to rest. */
export function transfer(
  one: SmallFabric,
  isWrite: boolean,
  address: number,
  sizeBytes: number,
  at = 0,
  from = 0,
): number | undefined {
  const { endpoint, memory } = one.endpoints[from]!;
  const client = new Outcomes();
  const target = dmaAddr(address);
  if (isWrite) endpoint.write(target, sizeBytes, memory, at, Purpose.Data, client, 0);
  else endpoint.read(target, sizeBytes, memory, at, Purpose.Data, client, 0);
  one.kernel.run();
  assert.equal(one.fabric.tlps.inUse, 0, 'TLP records left over');
  assert.equal(one.root.peerReadsInUse, 0, 'reads left over');
  return client.ended.at(-1)?.status;
}

export const errorsOf = ({ fabric }: SmallFabric): string[] => [...fabric.errors.keys()];
