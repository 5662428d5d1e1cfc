/**
 * Packets as the engine understands them: from dwords of a ring to one record in bytes and addresses.
 * Encoding is the driver's. [AMDGPU] sdma_v6_0_0_pkt_open.h
 * @module
 */
import { FillSize, Header, LONGEST_HEADER, type SdmaGeneration } from '#devices/gpu/spec.ts';

export const PacketKind = { Nop: 0, Copy: 1, Fill: 2, Write: 3, Fence: 4, Trap: 5 } as const;
export type PacketKind = (typeof PacketKind)[keyof typeof PacketKind];

/** A decoded packet, overwritten by the next. Addresses may be `TOO_LARGE`. */
export class SdmaPacket {
  kind: PacketKind = PacketKind.Nop;
  /** Dword 0. */
  header = 0;
  /** Bytes that follow in the ring: payload of a Write, or what a Nop skips. */
  trailingBytes = 0;
  source = 0;
  dest = 0;
  /** Bytes to move. */
  sizeBytes = 0;
  /** Fill pattern, fence value or trap context. */
  data = 0;
  /** Unit of the fill pattern: 1 or 4. */
  fillBytes = 1;
  /** Copy from the last byte to the first. */
  backwards = false;
  /** When it was decoded. */
  startedPs = 0;
}

/** Fills `packet` from a whole header; false for a field or flag without defined effect. */
type Decode = (view: DataView, packet: SdmaPacket) => boolean;
interface Format {
  readonly dwords: number;
  readonly decode: Decode;
}

export class PacketDecoder {
  /** Formats by opcode and sub-opcode as they stand in the header. */
  readonly #formats: ReadonlyMap<number, Format>;
  /** The header of the packet at hand; the caller fills it in. */
  readonly view: DataView = new DataView(new ArrayBuffer(4 * LONGEST_HEADER));

  constructor(generation: SdmaGeneration) {
    this.#formats = formatsOf(generation);
  }

  /** Bytes of the packet's fixed part by its first dword, or 0 for an unknown packet. */
  fixedBytes(header: number): number {
    const format = this.#formats.get(header & 0xffff);
    return format ? 4 * format.dwords : 0;
  }

  /** Decodes what is in {@link view}; false for a packet whose fields have no defined effect. */
  decode(packet: SdmaPacket): boolean {
    packet.header = this.view.getUint32(0, true);
    const format = this.#formats.get(packet.header & 0xffff);
    packet.trailingBytes = 0;
    return format?.decode(this.view, packet) ?? false;
  }
}

function formatsOf(generation: SdmaGeneration): Map<number, Format> {
  const { opcode, nop, copyLinear, constFill, writeLinear, fence, trap } = generation;
  const at = (op: number): number => Header.op.bits.of(op) | Header.subOp.bits.of(0);
  return new Map<number, Format>([
    [at(opcode.NOP), { dwords: nop.dwords, decode: decodeNop(generation) }],
    [at(opcode.COPY), { dwords: copyLinear.dwords, decode: decodeCopy(generation) }],
    [at(opcode.CONST_FILL), { dwords: constFill.dwords, decode: decodeFill(generation) }],
    [at(opcode.WRITE), { dwords: writeLinear.dwords, decode: decodeWrite(generation) }],
    [at(opcode.FENCE), { dwords: fence.dwords, decode: decodeFence(generation) }],
    [at(opcode.TRAP), { dwords: trap.dwords, decode: decodeTrap(generation) }],
  ]);
}

const decodeNop =
  ({ nop }: SdmaGeneration): Decode =>
  (view, packet) => {
    packet.kind = PacketKind.Nop;
    packet.trailingBytes = 4 * nop.count.get(view, 0);
    return true;
  };

const decodeCopy =
  ({ copyLinear }: SdmaGeneration): Decode =>
  (view, packet) => {
    packet.kind = PacketKind.Copy;
    packet.sizeBytes = copyLinear.count.get(view, 0) + 1;
    packet.source = copyLinear.source.get(view, 0);
    packet.dest = copyLinear.dest.get(view, 0);
    packet.backwards = copyLinear.backwards.get(view, 0) === 1;
    return copyLinear.reserved.every((flag) => flag.get(view, 0) === 0);
  };

const decodeFill =
  ({ constFill }: SdmaGeneration): Decode =>
  (view, packet) => {
    const unit = constFill.fillSize.get(view, 0);
    const count = constFill.count.get(view, 0);
    packet.kind = PacketKind.Fill;
    packet.dest = constFill.dest.get(view, 0);
    packet.data = constFill.data.get(view, 0);
    packet.fillBytes = unit === FillSize.BYTE ? 1 : 4;
    packet.sizeBytes = unit === FillSize.BYTE ? count + 1 : 4 * ((count >>> 2) + 1);
    return unit === FillSize.BYTE || unit === FillSize.DWORD;
  };

const decodeWrite =
  ({ writeLinear }: SdmaGeneration): Decode =>
  (view, packet) => {
    packet.kind = PacketKind.Write;
    packet.dest = writeLinear.dest.get(view, 0);
    packet.sizeBytes = 4 * (writeLinear.count.get(view, 0) + 1);
    packet.trailingBytes = packet.sizeBytes;
    return true;
  };

const decodeFence =
  ({ fence }: SdmaGeneration): Decode =>
  (view, packet) => {
    packet.kind = PacketKind.Fence;
    packet.dest = fence.address.get(view, 0);
    packet.sizeBytes = 4;
    packet.data = fence.data.get(view, 0);
    return true;
  };

const decodeTrap =
  ({ trap }: SdmaGeneration): Decode =>
  (view, packet) => {
    packet.kind = PacketKind.Trap;
    packet.sizeBytes = 0;
    packet.data = trap.context.get(view, 0);
    return true;
  };
