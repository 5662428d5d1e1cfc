/**
 * Brings a GPU up: interrupts, memory for ring and pointers, the queue's registers.
 * [AMDGPU] sdma_v6_0.c
 * @module
 */
import { Bar, FB_UNIT, Identity, Reg, SDMA_V6, SDMA0_DOORBELL } from '#devices/gpu/spec.ts';
import { usage } from '#emu/base/errors.ts';
import { hex, hi32, lo32, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
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

/** Pointers and fence, behind the ring: rptr, wptr, fence. */
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
  const memory = allocate(machine, pci, ringBytes);
  const doorbell = offsetBy(pci.bar(Bar.DOORBELLS).address, SDMA0_DOORBELL);
  const engine = new SdmaDriver({
    kernel,
    path: `${pci.path} driver`,
    sdma: SDMA_V6,
    memory: mm.memory,
    ring: new SdmaRing({
      sdma: SDMA_V6,
      memory: mm.memory,
      address: memory.address,
      sizeBytes: ringBytes,
      shadow: offsetBy(memory.pointers, POINTERS.WPTR),
      doorbell: (wptr) => cpu.write64(doorbell, lo32(wptr), hi32(wptr)),
    }),
    fence: offsetBy(memory.pointers, POINTERS.FENCE),
    fenceAddress: memory.places.rptrTo + POINTERS.FENCE,
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
    close: () => close(machine, pci, registers, memory),
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

/** Ring and pointers in host memory, as CPU and engine see them. */
interface QueueMemory {
  readonly address: PhysAddr;
  readonly pointers: PhysAddr;
  readonly sizeBytes: number;
  readonly mapping: DmaMapping;
  readonly places: QueuePlaces;
}

function allocate(machine: Machine, pci: PciFunction, ringBytes: number): QueueMemory {
  const sizeBytes = ringBytes + POINTERS.SIZE;
  const address = machine.mm.allocate(sizeBytes);
  const mapping = pci.dma.map(machine.mm.pin(address, sizeBytes), Direction.Bidirectional);
  if (isRefusal(mapping)) throw usage(`${pci.name}: its ring cannot be mapped: ${mapping.reason}`);
  if (mapping.ranges.count !== 1) {
    throw usage(`${pci.name}: expected a ring of one range, got ${mapping.ranges.count}`);
  }
  const ring = mapping.ranges.address(0);
  const rptrTo = ring + ringBytes + POINTERS.RPTR;
  const wptrFrom = ring + ringBytes + POINTERS.WPTR;
  const pointers = offsetBy(address, ringBytes);
  return {
    address,
    pointers,
    sizeBytes,
    mapping,
    places: { ring, ringBytes, rptrTo, wptrFrom },
  };
}

function* close(
  machine: Machine,
  pci: PciFunction,
  registers: GpuRegisters,
  memory: QueueMemory,
): Process<void> {
  yield* stopQueue(registers);
  yield* pci.disableInterrupts();
  yield* pci.setBusMaster(false);
  yield* wait(pci.dma.unmap(memory.mapping));
  machine.mm.free(memory.address, memory.sizeBytes);
}
