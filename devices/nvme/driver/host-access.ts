/**
 * What the driver uses of the machine it runs on: the clock, register accesses, memory and one function.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { isRefusal } from '#emu/dma/mapping.ts';
import type { CoherentMemory } from '#emu/dma/providers/coherent-memory.ts';
import type { Cpu } from '#emu/host/cpu.ts';
import type { HostMemory } from '#emu/host/memory/mm.ts';
import type { Kernel } from '#emu/sim/kernel.ts';

export interface DriverHost {
  readonly kernel: Kernel;
  readonly cpu: Cpu;
  readonly mm: HostMemory;
  /** Maps memory for the drive's function. */
  readonly dma: DmaDevice;
  /** BAR0 of the drive's function. */
  readonly registers: PhysAddr;
  /** Path of the driver in errors and events. */
  readonly path: string;
}

/** Memory that driver and drive share, one piece of each size or nothing. @throws NO_MEMORY */
export function shareMemory(
  { dma, path }: DriverHost,
  ...sizes: readonly number[]
): readonly CoherentMemory[] {
  const taken: CoherentMemory[] = [];
  for (const sizeBytes of sizes) {
    const memory = dma.allocateCoherent(sizeBytes);
    if (isRefusal(memory)) {
      for (const each of taken) void dma.freeCoherent(each);
      throw new EmuError('NO_MEMORY', `${path}: no ${sizeBytes} bytes to share: ${memory.reason}`);
    }
    taken.push(memory);
  }
  return taken;
}
