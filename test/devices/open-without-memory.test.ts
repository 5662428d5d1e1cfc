/**
 * Drivers that find memory for some of what they share with their device and not for the rest: they refuse to open, and what
 * they had is given back. [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpu, openGpu } from '#devices/gpu/index.ts';
import { nvme, openNvme } from '#devices/nvme/index.ts';
import { EmuError } from '#emu/base/errors.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';

/** Opens a device; tells when it is open. */
type Open = (host: Machine, opened: () => void) => void;
const DRIVERS: readonly (readonly [string, Open])[] = [
  ['gpu0', (host, opened) => openGpu(host, 'gpu0').onDone(opened, () => {})],
  ['nvme0', (host, opened) => openNvme(host, 'nvme0').onDone(opened, () => {})],
];

/** Opens with room for so many pieces of shared memory; whether it did. */
function opens(name: string, open: Open, room: number): boolean {
  const rootPorts = [
    { device: gpu() },
    { device: nvme({ store: new MemoryStore({ blockCount: 4096, blockSizeBytes: 512 }) }) },
  ];
  const host = machine({ rootPorts }).build({ fidelity: 'functional' });
  host.boot();
  host.kernel.run();
  const { dma } = host.function(name);
  let left = room;
  dma.pages = {
    allocate(sizeBytes, alignBytes, limit) {
      if (left-- <= 0) throw new EmuError('NO_MEMORY', 'no room');
      return host.mm.allocate(sizeBytes, alignBytes, limit);
    },
    free: (address, sizeBytes) => host.mm.free(address, sizeBytes),
  };
  const used = host.mm.usedBytes;
  let isOpen = false;
  open(host, () => {
    isOpen = true;
  });
  host.kernel.run();
  if (!isOpen) assert.deepEqual([dma.liveMappings, host.mm.usedBytes], [0, used], `room ${room}`);
  host.dispose();
  return isOpen;
}

for (const [name, open] of DRIVERS) {
  test(`${name} gives back what it had when there is no more`, () => {
    let room = 0;
    while (room < 20 && !opens(name, open, room)) room++;
    assert.ok(room >= 2 && room < 20, `opens with room for ${room}`);
  });
}
