/**
 * Packets as the driver writes them: one function a packet, each returning the bytes it wrote.
 * Decoding is the hardware's. [AMDGPU] sdma_v6_0_0_pkt_open.h
 * @module
 */
import { FillSize, Header, type SdmaGeneration } from '#devices/gpu/spec.ts';

/** A place in a zeroed buffer that a packet is written to. */
export interface PacketBuffer {
  readonly view: DataView;
  readonly at: number;
}

/** Zeroes the fixed part and sets the opcode. */
function begin({ view, at }: PacketBuffer, op: number, dwords: number): number {
  for (let i = 0; i < dwords; i++) view.setUint32(at + 4 * i, 0, true);
  Header.op.set(view, at, op);
  return 4 * dwords;
}

/** A NOP of `dwords` in all, 1 to 0x4000; what follows its header stays as it is. */
export function encodeNop(sdma: SdmaGeneration, to: PacketBuffer, dwords: number): number {
  begin(to, sdma.opcode.NOP, sdma.nop.dwords);
  sdma.nop.count.set(to.view, to.at, dwords - 1);
  return 4 * dwords;
}

/** Copies `sizeBytes`, 1 to the largest count of the generation. */
export function encodeCopy(
  sdma: SdmaGeneration,
  to: PacketBuffer,
  source: number,
  dest: number,
  sizeBytes: number,
): number {
  const layout = sdma.copyLinear;
  const size = begin(to, sdma.opcode.COPY, layout.dwords);
  layout.count.set(to.view, to.at, sizeBytes - 1);
  layout.source.set(to.view, to.at, source);
  layout.dest.set(to.view, to.at, dest);
  return size;
}

/** Fills `sizeBytes` with bytes, or with dwords when `unit` is 4: then a multiple of 4. */
export function encodeFill(
  sdma: SdmaGeneration,
  to: PacketBuffer,
  dest: number,
  sizeBytes: number,
  value: number,
  unit: 1 | 4,
): number {
  const layout = sdma.constFill;
  const size = begin(to, sdma.opcode.CONST_FILL, layout.dwords);
  layout.fillSize.set(to.view, to.at, unit === 4 ? FillSize.DWORD : FillSize.BYTE);
  layout.dest.set(to.view, to.at, dest);
  layout.data.set(to.view, to.at, value);
  layout.count.set(to.view, to.at, sizeBytes - 1);
  return size;
}

/** Stores `bytes`, a multiple of 4 of them, from the packet itself. */
export function encodeWrite(
  sdma: SdmaGeneration,
  to: PacketBuffer,
  dest: number,
  bytes: Uint8Array,
): number {
  const layout = sdma.writeLinear;
  const size = begin(to, sdma.opcode.WRITE, layout.dwords);
  layout.dest.set(to.view, to.at, dest);
  layout.count.set(to.view, to.at, bytes.length / 4 - 1);
  for (let i = 0; i < bytes.length; i++) to.view.setUint8(to.at + size + i, bytes[i] ?? 0);
  return size + bytes.length;
}

/** Stores 4 bytes once everything before has been done. */
export function encodeFence(
  sdma: SdmaGeneration,
  to: PacketBuffer,
  address: number,
  value: number,
): number {
  const layout = sdma.fence;
  const size = begin(to, sdma.opcode.FENCE, layout.dwords);
  layout.address.set(to.view, to.at, address);
  layout.data.set(to.view, to.at, value);
  return size;
}

/** Interrupts once everything before has been done. */
export function encodeTrap(sdma: SdmaGeneration, to: PacketBuffer, context: number): number {
  const size = begin(to, sdma.opcode.TRAP, sdma.trap.dwords);
  sdma.trap.context.set(to.view, to.at, context);
  return size;
}
