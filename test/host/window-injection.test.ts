/**
 * Why I/O virtual addresses keep clear of the windows of host bridges: where they do not, a switch takes a request for host
 * memory to the peer whose bus address it is. [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { physAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { pcieSwitch } from '#emu/host/machine-spec.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

const FIDELITIES = ['timed', 'functional'] as const;

/** A client and a peer with a 32-bit BAR below one switch that redirects nothing. */
function built(iommu: true | { reserveWindows: boolean }, fidelity: (typeof FIDELITIES)[number]) {
  const ports = [{ device: barMemory('client', MiB) }, { device: barMemory('peer', MiB, 32) }];
  const rootPorts = [{ device: pcieSwitch({ ports }) }];
  const rig = new BridgesRig({ iommu, acs: 'off', rootPorts }, fidelity);
  const client = rig.built.function('client');
  // All addresses that it makes are below the end of the 32-bit window.
  client.limitDma({ addressLimit: 2 * GiB });
  return { rig, client };
}

/** Memory that nobody uses and that takes as many addresses as the window has. */
const memoryOf = ({ map }: Machine): PhyRangeList =>
  PhyRangeList.of(physAddr((Math.ceil(map.dram.base / GiB) + 1) * GiB), map.low.sizeBytes);

for (const fidelity of FIDELITIES) {
  it(`with windows reserved there are no such addresses, ${fidelity}`, () => {
    for (const iommu of [true, { reserveWindows: true }] as const) {
      const { rig, client } = built(iommu, fidelity);
      const answer = client.dma.map(memoryOf(rig.built), Direction.FromDevice);
      assert.ok(isRefusal(answer) && answer.refused === 'ENOMEM');
      rig.dispose();
    }
  });

  it(`without, writes for host memory end up in the peer, ${fidelity}`, () => {
    const { rig, client } = built({ reserveWindows: false }, fidelity);
    const list = memoryOf(rig.built);
    const mapping = client.dma.map(list, Direction.FromDevice);
    assert.ok(!isRefusal(mapping));
    const bar = rig.built.function('peer').bar(0).address;
    const offset = bar - mapping.ranges.address(0);
    assert.ok(offset >= 0 && offset < list.sizeBytes, 'an address is both');
    const sent = mark(rig.memory('client').local, 0, 256, 3);
    assert.equal(rig.transfer('client', true, bar, 256), DmaStatus.Ok);
    assert.deepEqual(bytesAt(rig.memory('peer').shown, 0, 256), sent);
    const host = new Uint8Array(256);
    rig.built.mm.memory.read(list.address(0) + offset, host);
    assert.deepEqual(host, new Uint8Array(256), 'nothing arrived where it was mapped to');
    rig.unmap('client', mapping);
    rig.dispose();
  });
}

it('the switch is on or off', () => {
  const spec = {
    rootPorts: [{ device: barMemory('a', MiB) }],
    iommu: { reserveWindows: 1 as never },
  };
  assert.throws(() => machine(spec), /iommu\.reserveWindows: expected true or false, got 1/);
});
