/**
 * What the driver keeps of the Identify data structures. [NVME] 5.17.2.1, [NVMECS] 4.1.5.1
 * @module
 */
import { MIN_PAGE_SIZE } from '#devices/nvme/spec.ts';
import {
  IdController,
  IdNamespace,
  Lbaf,
  SglSupport,
  Sgls,
  Vwc,
} from '#devices/nvme/spec-identify.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';

export interface ControllerIdentity {
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
  readonly subsystem: string;
  /** As in VS: major (bits 31:16), minor (15:8), tertiary (7:0). */
  readonly version: number;
  readonly vendorId: number;
  /** Infinity when the controller states no limit. */
  readonly maxTransferBytes: number;
  readonly namespaces: number;
  readonly volatileWriteCache: boolean;
  readonly sgl: SglSupport;
}

export interface NamespaceIdentity {
  readonly nsid: number;
  readonly blockCount: number;
  readonly blockSizeBytes: number;
  readonly readOnly: boolean;
}

/** Decodes an Identify Controller structure; `minPageSize` is that of CAP.MPSMIN. */
export function controllerIdentity(
  memory: SparseMemory,
  at: number,
  minPageSize: number = MIN_PAGE_SIZE,
): ControllerIdentity {
  const bytes = new Uint8Array(IdController.SIZE);
  memory.read(at, bytes);
  const view = new DataView(bytes.buffer);
  const mdts = IdController.MDTS.get(view, 0);
  return {
    serial: text(bytes, IdController.SN),
    model: text(bytes, IdController.MN),
    firmware: text(bytes, IdController.FR),
    subsystem: text(bytes, IdController.SUBNQN),
    version: IdController.VER.get(view, 0),
    vendorId: IdController.VID.get(view, 0),
    maxTransferBytes: mdts === 0 ? Number.POSITIVE_INFINITY : minPageSize * 2 ** mdts,
    namespaces: IdController.NN.get(view, 0),
    volatileWriteCache: (IdController.VWC.get(view, 0) & Vwc.Present) !== 0,
    sgl: sglSupport(IdController.SGLS.get(view, 0)),
  };
}

function sglSupport(sgls: number): SglSupport {
  const { Byte, Dword, None } = SglSupport;
  const support = Sgls.SUPPORT.get(sgls);
  if (support === Byte) return Byte;
  return support === Dword ? Dword : None;
}

/** Decodes an Identify Namespace structure in its first LBA format. */
export function namespaceIdentity(
  memory: SparseMemory,
  at: number,
  nsid: number,
): NamespaceIdentity {
  const bytes = new Uint8Array(IdNamespace.SIZE);
  memory.read(at, bytes);
  const view = new DataView(bytes.buffer);
  const format = IdNamespace.FLBAS.get(view, 0) & 0xf;
  const lbaf = view.getUint32(IdNamespace.LBAF0.at + 4 * format, true);
  return {
    nsid,
    blockCount: IdNamespace.NSZE.get(view, 0),
    blockSizeBytes: 2 ** Lbaf.LBADS.get(lbaf),
    readOnly: (IdNamespace.NSATTR.get(view, 0) & 1) === 1,
  };
}

/** ASCII text without its padding. */
function text(bytes: Uint8Array, place: { readonly at: number; readonly size: number }): string {
  const codes = bytes.subarray(place.at, place.at + place.size);
  return String.fromCharCode(...codes).replace(/[ \0]+$/, '');
}
