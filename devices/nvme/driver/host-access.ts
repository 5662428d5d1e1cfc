/**
 * What the driver uses of the machine it runs on: the clock, register accesses, memory and one function.
 * @module
 */
import type { PhysAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { Cpu } from '#emu/host/cpu.ts';
import type { HostMemory } from '#emu/host/mm.ts';
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
