/**
 * Brings a GPU up: interrupts, memory for ring and pointers, the queue's registers.
 * [AMDGPU] sdma_v6_0.c
 * @module
 */
import { Bar, FB_UNIT, Identity, Reg, SDMA_V6, SDMA0_DOORBELL } from '#devices/gpu/spec.ts';
import { EmuError, usage } from '#emu/base/errors.ts';
import { hex, hi32, lo32, offsetBy } from '#emu/base/units.ts';
import { isRefusal } from '#emu/dma/mapping.ts';
import type { CoherentMemory } from '#emu/dma/providers/coherent-memory.ts';
import type { Machine } from '#emu/host/machine.ts';
import type { PciFunction } from '#emu/host/pci-function.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import { GpuDevice } from './gpu-device.ts';
import { GpuRegisters } from './gpu-registers.ts';
import { GpuVram } from './gpu-vram.ts';
import type { EngineSpace } from './location-cursor.ts';
import { type QueuePlaces, readFault, startQueue, stopQueue } from './queue-setup.ts';
import { MIN_RING_BYTES, SdmaDriver } from './sdma-driver.ts';
import { SdmaRing } from './sdma-ring.ts';

export interface GpuOpenOptions {
  /** Size of the packet ring, a power of two from 16 KiB. Default 64 KiB. */
  readonly ringBytes?: number;
  /** Longest silence of the engine while it has work, simulated time. Default 10 s. */
  readonly timeoutPs?: number;
}

/** What the page beside the ring holds, and where. */
const POINTERS = { RPTR: 0, WPTR: 8, FENCE: 64, SIZE: 4096 } as const;
const MIB: number = 2 ** 20;
const DEFAULT_TIMEOUT_PS = 10e12;
const DEFAULT_RING_BYTES = 65_536;
const MAX_RING_BYTES: number = 2 ** 30;

/** Opens the GPU of that name; the machine must have booted. Fails with USAGE for another device. */
export function openGpu(
  machine: Machine,
  name: string,
  options: GpuOpenOptions = {},
): Pending<GpuDevice> {
  return machine.kernel.spawn(`${name} open`, open(machine, name, options));
}

function* open(machine: Machine, name: string, options: GpuOpenOptions): Process<GpuDevice> {
  const { ringBytes = DEFAULT_RING_BYTES, timeoutPs = DEFAULT_TIMEOUT_PS } = options;
  checkRing(ringBytes);
  const { kernel, cpu, mm } = machine;
  const pci = checked(machine.function(name));
  const registers = new GpuRegisters(cpu, pci.bar(Bar.REGISTERS).address);
  yield* pci.setBusMaster(true);
  const { space, vram } = yield* findVram(pci, registers);
  const memory = allocate(pci, ringBytes);
  const doorbell = offsetBy(pci.bar(Bar.DOORBELLS).address, SDMA0_DOORBELL);
  const engine = new SdmaDriver({
    kernel,
    path: `${pci.path} driver`,
    sdma: SDMA_V6,
    memory: mm.memory,
    ring: new SdmaRing({
      sdma: SDMA_V6,
      memory: mm.memory,
      address: memory.ring.address,
      sizeBytes: ringBytes,
      shadow: offsetBy(memory.pointers.address, POINTERS.WPTR),
      doorbell: (wptr) => cpu.write64(doorbell, lo32(wptr), hi32(wptr)),
    }),
    fence: offsetBy(memory.pointers.address, POINTERS.FENCE),
    fenceAddress: memory.pointers.dma + POINTERS.FENCE,
    timeoutPs,
    onUnexplained: () => device.diagnose(),
  });
  const device: GpuDevice = new GpuDevice(name, {
    kernel,
    function: pci,
    sdma: SDMA_V6,
    engine,
    space,
    vram,
    readFault: () => readFault(registers),
    restart: () => startQueue(registers, memory.places),
    close: () => close(pci, registers, memory),
  });
  yield* pci.enableMsi(() => engine.interrupt());
  yield* startQueue(registers, memory.places);
  return device;
}

function checkRing(ringBytes: number): void {
  for (let size = MIN_RING_BYTES; size <= MAX_RING_BYTES; size *= 2) if (size === ringBytes) return;
  throw usage(`ringBytes: expected a power of two from ${MIN_RING_BYTES}, got ${ringBytes}`);
}

function checked(pci: PciFunction): PciFunction {
  const { vendorId, deviceId } = Identity;
  if (pci.vendorId === vendorId && pci.deviceId === deviceId) return pci;
  const found = `${hex(pci.vendorId, 4)}:${hex(pci.deviceId, 4)}`;
  throw usage(
    `${pci.name}: expected a GPU ${hex(vendorId, 4)}:${hex(deviceId, 4)}, found ${found}`,
  );
}

/** Asks the hardware how large VRAM is and where its engines see it. */
function* findVram(
  pci: PciFunction,
  registers: GpuRegisters,
): Process<{ space: EngineSpace; vram: GpuVram }> {
  const vramBytes = (yield* registers.read(Reg.RCC_CONFIG_MEMSIZE)) * MIB;
  const base = (yield* registers.read(Reg.MMMC_VM_FB_LOCATION_BASE)) * FB_UNIT;
  const top = yield* registers.read(Reg.MMMC_VM_FB_LOCATION_TOP);
  const space = { vramBase: base, vramBytes, vramLimit: (top + 1) * FB_UNIT };
  return { space, vram: new GpuVram(pci.bar(Bar.VRAM).address, vramBytes) };
}

/** Ring and pointers, which CPU and engine share. */
interface QueueMemory {
  readonly ring: CoherentMemory;
  readonly pointers: CoherentMemory;
  readonly places: QueuePlaces;
}

function allocate(pci: PciFunction, ringBytes: number): QueueMemory {
  const ring = share(pci, ringBytes);
  const pointers = share(pci, POINTERS.SIZE, ring);
  const rptrTo = pointers.dma + POINTERS.RPTR;
  const wptrFrom = pointers.dma + POINTERS.WPTR;
  return { ring, pointers, places: { ring: ring.dma, ringBytes, rptrTo, wptrFrom } };
}

/** @throws NO_MEMORY, and gives back what was `taken` before */
function share(pci: PciFunction, sizeBytes: number, taken?: CoherentMemory): CoherentMemory {
  const memory = pci.dma.allocateCoherent(sizeBytes);
  if (!isRefusal(memory)) return memory;
  if (taken) void pci.dma.freeCoherent(taken);
  throw new EmuError('NO_MEMORY', `${pci.name}: no ${sizeBytes} bytes to share: ${memory.reason}`);
}

function* close(
  pci: PciFunction,
  registers: GpuRegisters,
  { ring, pointers }: QueueMemory,
): Process<void> {
  yield* stopQueue(registers);
  yield* pci.disableInterrupts();
  yield* pci.setBusMaster(false);
  yield* wait(pci.dma.freeCoherent(ring));
  yield* wait(pci.dma.freeCoherent(pointers));
  pci.dma.unbind();
}
