/**
 * What observers are handed: plain copies, so that nothing they do with one reaches the simulation.
 * @module
 */
import { type Bdf, bdfFromId, type Picos } from '#emu/base/units.ts';
import type { ErrorRecord } from '#emu/host/services/error-record.ts';
import type { FabricError } from '#emu/pcie/fabric.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { hasAddress, isCompletion, TLP_NAMES, type Tlp } from '#emu/pcie/tlp/tlp.ts';

/** A TLP at one moment of its way. [PCIE] 2.2 */
export interface TlpRecord {
  readonly timePs: Picos;
  /** It starts on a link (timed fidelity only), it reached its target, or a component refused it. */
  readonly event: 'sent' | 'delivered' | 'refused';
  /** Path of the port that sends it, or of the component. */
  readonly path: string;
  /** `MRd`, `MWr`, `FetchAdd`, ..., `CplD`. */
  readonly type: string;
  readonly requester: Bdf;
  readonly tag: number;
  /** First byte of a request, register of a configuration request; null for the others. */
  readonly address: number | null;
  /** Bytes asked for or carried. */
  readonly sizeBytes: number;
  /** Of completions. [PCIE] 2.2.9 */
  readonly status: number;
  /** User data, or bytes of a protocol: queue entries, lists, doorbells, interrupts. */
  readonly purpose: 'data' | 'control';
  /** Why it was refused. */
  readonly reason: FabricError | null;
}

/** A command that a device is about to complete. */
export interface CommandRecord {
  readonly timePs: Picos;
  readonly path: string;
  readonly opcode: number;
  /** As the driver numbers it. */
  readonly id: number;
  /** 0 for success, else in the device's own terms. */
  readonly status: number;
  /** Bytes of data that it asked for. */
  readonly sizeBytes: number;
  /** When the device had it, ps. */
  readonly startedPs: Picos;
}

/** An interrupt whose handler is about to run. */
export interface InterruptRecord {
  readonly timePs: Picos;
  /** Whose handler. */
  readonly path: string;
  /** Interrupt number. */
  readonly data: number;
}

/** Something that hardware refused. */
export interface FaultRecord {
  readonly timePs: Picos;
  /** Path of the component of the fabric, or `iommu`. */
  readonly path: string;
  /** A fabric error by name, or an IOMMU cause. [RVIOMMU] 4.2 */
  readonly cause: FabricError | number;
  readonly requester: Bdf;
  readonly address: number | null;
  readonly write: boolean;
}

/** Events of an observer with what their listeners are handed. */
export interface ObservedEvents {
  tlp: [record: TlpRecord];
  command: [record: CommandRecord];
  interrupt: [record: InterruptRecord];
  fault: [record: FaultRecord];
  error: [record: ErrorRecord];
}

/** Copies a TLP. */
export function tlpRecord(
  timePs: Picos,
  event: TlpRecord['event'],
  path: string,
  tlp: Tlp,
  reason: FabricError | null = null,
): TlpRecord {
  return {
    timePs,
    event,
    path,
    type: TLP_NAMES[tlp.kind] ?? '?',
    requester: bdfFromId(tlp.requester),
    tag: tlp.tag,
    address: hasAddress(tlp) ? tlp.address : null,
    sizeBytes: tlp.sizeBytes,
    status: isCompletion(tlp) ? tlp.status : 0,
    purpose: tlp.purpose === Purpose.Data ? 'data' : 'control',
    reason,
  };
}
