/**
 * The data structures that Identify returns, built from what the drive is. [NVME] 5.17, [NVMECS] 4.1.5
 * @module
 */
import { Cqe, MIN_PAGE_SIZE, Sqe, Status, VERSION } from '#devices/nvme/spec.ts';
import {
  Cns,
  ControllerType,
  CSI_NVM,
  FRMW_ONE_READ_ONLY_SLOT,
  IDENTIFY_SIZE,
  IdController,
  IdDescriptor,
  IdDescriptorType,
  IdentifyCdw10,
  IdentifyCdw11,
  IdIndependentNamespace,
  IdNamespace,
  Lbaf,
  Lpa,
  NSATTR_WRITE_PROTECTED,
  NSID_ALL,
  NSTAT_NRDY,
  SglSupport,
  Sgls,
  Vwc,
} from '#devices/nvme/spec-identify.ts';
import type { Command } from './command.ts';
import { ERROR_LOG_ENTRIES } from './error-log.ts';
import { type Namespace, NSID } from './namespace.ts';
import { MAX_PARKED } from './staging.ts';

/** What a drive says about itself. */
export interface DriveIdentity {
  readonly vendorId: number;
  readonly subsystemVendorId: number;
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
  /** 16 bytes, unique in the world: NGUID and UUID; its last 8 are the EUI-64. */
  readonly uniqueId: Uint8Array;
}

/** What a drive can do that Identify tells. */
export interface DriveLimits {
  readonly maxTransferBytes: number;
  readonly sgl: SglSupport;
}

/** Aborts that may be outstanding at once, zero-based; each completes at once. */
const ABORT_LIMIT = 3;
/** Temperatures at which a host should worry, kelvins. */
const WARNING_TEMPERATURE = 343;
const CRITICAL_TEMPERATURE = 353;
/** Time to enter and leave Runtime D3, microseconds. */
const D3_LATENCY_US = 100_000;
/** Maximum power, in units of 10 mW. */
const POWER = 2500;

/** Builds a structure, or says why there is none. */
type Build = (command: Command) => Uint8Array | Status;

export class Identify {
  readonly #drive: DriveIdentity;
  readonly #namespace: Namespace;
  readonly #limits: DriveLimits;
  readonly #builders: ReadonlyMap<number, Build>;

  constructor(drive: DriveIdentity, namespace: Namespace, limits: DriveLimits) {
    this.#drive = drive;
    this.#namespace = namespace;
    this.#limits = limits;
    this.#builders = new Map<number, Build>([
      [Cns.Namespace, (command) => this.#ofNamespace(command, () => this.#idNamespace())],
      [Cns.Controller, () => this.#idController()],
      [Cns.ActiveNamespaces, (command) => activeNamespaces(command)],
      [
        Cns.NamespaceDescriptors,
        (command) => this.#ofNamespace(command, () => this.#descriptors()),
      ],
      [Cns.CommandSetNamespace, (command) => this.#ofNamespace(command, blank, true)],
      [Cns.CommandSetController, (command) => forNvm(command, blank)],
      [Cns.CommandSetActiveNamespaces, (command) => forNvm(command, activeNamespaces)],
      [
        Cns.IndependentNamespace,
        (command) => this.#ofNamespace(command, () => this.#independent()),
      ],
      [Cns.CommandSets, commandSets],
    ]);
  }

  /** The structure a command asks for, or a status. */
  build(command: Command): Uint8Array | Status {
    const builder = this.#builders.get(IdentifyCdw10.CNS.get(command.cdw10));
    return builder ? builder(command) : Status.InvalidField;
  }

  #ofNamespace(command: Command, build: () => Uint8Array, needsCsi = false): Uint8Array | Status {
    if (needsCsi && csiOf(command) !== CSI_NVM) return Status.InvalidField;
    return command.nsid === NSID ? build() : Status.InvalidNamespaceOrFormat;
  }

  #idController(): Uint8Array {
    const bytes = blank();
    const view = viewOf(bytes);
    const { vendorId, subsystemVendorId, serial, model, firmware } = this.#drive;
    IdController.VID.set(view, 0, vendorId);
    IdController.SSVID.set(view, 0, subsystemVendorId);
    putText(bytes, IdController.SN, serial, ' ');
    putText(bytes, IdController.MN, model, ' ');
    putText(bytes, IdController.FR, firmware, ' ');
    putText(bytes, IdController.SUBNQN, `nqn.2014-08.org.nvmexpress:uuid:${this.#uuid()}`, '\0');
    IdController.MDTS.set(view, 0, mdtsOf(this.#limits.maxTransferBytes));
    IdController.VER.set(view, 0, VERSION);
    IdController.RTD3R.set(view, 0, D3_LATENCY_US);
    IdController.RTD3E.set(view, 0, D3_LATENCY_US);
    IdController.CNTRLTYPE.set(view, 0, ControllerType.Io);
    IdController.ACL.set(view, 0, ABORT_LIMIT);
    IdController.AERL.set(view, 0, MAX_PARKED - 1);
    IdController.FRMW.set(view, 0, FRMW_ONE_READ_ONLY_SLOT);
    IdController.LPA.set(view, 0, Lpa.Effects | Lpa.ExtendedData | Lpa.SupportLogs);
    IdController.ELPE.set(view, 0, ERROR_LOG_ENTRIES - 1);
    IdController.WCTEMP.set(view, 0, WARNING_TEMPERATURE);
    IdController.CCTEMP.set(view, 0, CRITICAL_TEMPERATURE);
    IdController.TNVMCAP.set(view, 0, this.#capacity);
    IdController.SQES.set(view, 0, (Sqe.SHIFT << 4) | Sqe.SHIFT);
    IdController.CQES.set(view, 0, (Cqe.SHIFT << 4) | Cqe.SHIFT);
    IdController.NN.set(view, 0, NSID);
    IdController.MNAN.set(view, 0, NSID);
    IdController.VWC.set(view, 0, Vwc.Present | Vwc.FlushAll);
    IdController.SGLS.set(view, 0, sglsOf(this.#limits.sgl));
    IdController.PSD0_MP.set(view, 0, POWER);
    return bytes;
  }

  #idNamespace(): Uint8Array {
    const bytes = blank();
    const view = viewOf(bytes);
    const { blockCount, blockShift } = this.#namespace;
    IdNamespace.NSZE.set(view, 0, blockCount);
    IdNamespace.NCAP.set(view, 0, blockCount);
    IdNamespace.NUSE.set(view, 0, blockCount);
    IdNamespace.NVMCAP.set(view, 0, this.#capacity);
    IdNamespace.NSATTR.set(view, 0, this.#attributes);
    bytes.set(this.#drive.uniqueId, IdNamespace.NGUID.at);
    bytes.set(this.#eui64(), IdNamespace.EUI64.at);
    IdNamespace.LBAF0.set(view, 0, Lbaf.LBADS.of(blockShift));
    return bytes;
  }

  #independent(): Uint8Array {
    const bytes = blank();
    IdIndependentNamespace.NSATTR.set(viewOf(bytes), 0, this.#attributes);
    IdIndependentNamespace.NSTAT.set(viewOf(bytes), 0, NSTAT_NRDY);
    return bytes;
  }

  #descriptors(): Uint8Array {
    const bytes = blank();
    const { uniqueId } = this.#drive;
    let at = 0;
    const add = (type: number, id: Uint8Array): void => {
      IdDescriptor.type.set(viewOf(bytes), at, type);
      IdDescriptor.size.set(viewOf(bytes), at, id.length);
      bytes.set(id, at + IdDescriptor.HEADER);
      at += IdDescriptor.HEADER + id.length;
    };
    add(IdDescriptorType.EUI64, this.#eui64());
    add(IdDescriptorType.NGUID, uniqueId);
    add(IdDescriptorType.UUID, uniqueId);
    add(IdDescriptorType.CSI, Uint8Array.of(CSI_NVM));
    return bytes;
  }

  get #capacity(): number {
    return this.#namespace.blockCount * this.#namespace.blockSizeBytes;
  }
  get #attributes(): number {
    return this.#namespace.readOnly ? NSATTR_WRITE_PROTECTED : 0;
  }
  #eui64(): Uint8Array {
    return this.#drive.uniqueId.subarray(8);
  }
  #uuid(): string {
    const digits = [...this.#drive.uniqueId].map((byte) => byte.toString(16).padStart(2, '0'));
    const part = (from: number, to: number): string => digits.slice(from, to).join('');
    return [part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 16)].join('-');
  }
}

/** Log2 of the largest transfer in pages of CAP.MPSMIN; 0 would mean no limit. [NVME] 5.17.2.1 */
export const mdtsOf = (maxTransferBytes: number): number =>
  31 - Math.clz32(maxTransferBytes / MIN_PAGE_SIZE);

/** SGLs as long as the data and no longer, with bit buckets. [NVME] 5.17.2.1 */
const sglsOf = (support: SglSupport): number =>
  support === SglSupport.None ? 0 : Sgls.SUPPORT.of(support) | Sgls.BIT_BUCKET.of(1);

const blank = (): Uint8Array => new Uint8Array(IDENTIFY_SIZE);
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer);
const csiOf = (command: Command): number => IdentifyCdw11.CSI.get(command.cdw11);

const forNvm = (command: Command, build: Build): Uint8Array | Status =>
  csiOf(command) === CSI_NVM ? build(command) : Status.InvalidField;

/** Identifiers above the one given, ascending. [NVME] 5.17.2.2 */
function activeNamespaces(command: Command): Uint8Array | Status {
  if (command.nsid >= NSID_ALL - 1) return Status.InvalidNamespaceOrFormat;
  const bytes = blank();
  if (command.nsid < NSID) viewOf(bytes).setUint32(0, NSID, true);
  return bytes;
}

/** One combination of command sets: the NVM command set. [NVME] 5.17.2.21 */
function commandSets(): Uint8Array {
  const bytes = blank();
  bytes[0] = 1 << CSI_NVM;
  return bytes;
}

/** ASCII text padded on the right to a fixed size. */
function putText(
  bytes: Uint8Array,
  place: { readonly at: number; readonly size: number },
  text: string,
  pad: string,
): void {
  const padded = text.padEnd(place.size, pad);
  for (let i = 0; i < place.size; i++) bytes[place.at + i] = padded.charCodeAt(i) & 0x7f;
}
