/**
 * What is seen on the wires of a fabric, in order: a probe that keeps the fields that routing tests look at.
 * Asserts nothing. @module
 */
import type { Fabric, FabricError, TlpProbe } from '#emu/pcie/fabric.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import type { Tlp } from '#emu/pcie/tlp/tlp.ts';

/** A TLP as it started on a link. */
export interface OnWire {
  /** Port that it left by. */
  readonly port: string;
  readonly kind: number;
  readonly requester: number;
  readonly tag: number;
  readonly address: number;
  readonly sizeBytes: number;
  readonly status: number;
}

export class Wire implements TlpProbe {
  readonly seen: OnWire[] = [];

  constructor(fabric: Fabric) {
    fabric.probe = this;
  }

  sent({ path }: Port, tlp: Tlp): void {
    const { kind, requester, tag, address, sizeBytes, status } = tlp;
    this.seen.push({ port: path, kind, requester, tag, address, sizeBytes, status });
  }
  delivered(_path: string, _tlp: Tlp): void {}
  refused(_path: string, _error: FabricError, _tlp: Tlp): void {}
}
