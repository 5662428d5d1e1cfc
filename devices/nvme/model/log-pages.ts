/**
 * Get Log Page: which pages there are, what they hold, and the checks of length and offset. [NVME] 5.16
 * @module
 */
import { IoOpcode, Status } from '#devices/nvme/spec.ts';
import { NSID_ALL } from '#devices/nvme/spec-identify.ts';
import {
  DATA_UNIT_SIZE,
  EffectsLog,
  FeatureEffectsLog,
  FirmwareLog,
  LogCdw10,
  LogCdw11,
  LogCdw14,
  LogPage,
  MANAGEMENT_EFFECTS_SIZE,
  SmartLog,
  SupportedPagesLog,
} from '#devices/nvme/spec-logs.ts';
import type { Command } from './command.ts';
import type { ErrorLog } from './error-log.ts';
import { FEATURES, isPerNamespace } from './features.ts';
import type { Namespace } from './namespace.ts';

/** What log pages tell of. */
export interface LogParts {
  readonly namespace: Namespace;
  readonly errors: ErrorLog;
  readonly firmware: string;
  readonly adminOpcodes: readonly number[];
  readonly ioOpcodes: readonly number[];
  readonly maxTransferBytes: number;
  /** Simulated time, ps. */
  readonly nowPs: () => number;
}

const DWORD = 4;
const PS_PER_HOUR = 3600e12;
/** Temperature of a drive at rest, kelvins. */
const TEMPERATURE = 310;
/** Percent. */
const SPARE = 100;
const SPARE_THRESHOLD = 10;

export class LogPages {
  readonly #parts: LogParts;
  readonly #pages: ReadonlyMap<number, () => Uint8Array>;

  constructor(parts: LogParts) {
    this.#parts = parts;
    this.#pages = new Map<number, () => Uint8Array>([
      [LogPage.SupportedPages, () => this.#supported()],
      [LogPage.Error, () => parts.errors.page()],
      [LogPage.Smart, () => this.#smart()],
      [LogPage.Firmware, () => this.#firmware()],
      [LogPage.Effects, () => this.#effects()],
      [LogPage.FeatureEffects, featureEffects],
      [LogPage.ManagementEffects, () => new Uint8Array(MANAGEMENT_EFFECTS_SIZE)],
    ]);
  }

  /** The bytes a command asks for, zeros beyond the page, or a status. */
  read(command: Command): Uint8Array | Status {
    const page = this.#pages.get(LogCdw10.LID.get(command.cdw10));
    if (!page) return Status.InvalidLogPage;
    const dwords = LogCdw11.NUMDU.get(command.cdw11) * 2 ** 16 + LogCdw10.NUMDL.get(command.cdw10);
    const size = (dwords + 1) * DWORD;
    if (size > this.#parts.maxTransferBytes) return Status.InvalidField;
    if (LogCdw14.OT.get(command.cdw14)) return Status.InvalidField;
    // Model: pages describe the controller, whichever namespace is named.
    if (command.nsid !== 0 && command.nsid !== NSID_ALL) return Status.InvalidField;
    return slice(page(), command.cdw12, command.cdw13, size);
  }

  #supported(): Uint8Array {
    const bytes = new Uint8Array(SupportedPagesLog.SIZE);
    for (const id of this.#pages.keys()) bytes[id * DWORD] = SupportedPagesLog.LSUPP;
    return bytes;
  }

  #smart(): Uint8Array {
    const bytes = new Uint8Array(SmartLog.SIZE);
    const view = new DataView(bytes.buffer);
    const { namespace, errors, nowPs } = this.#parts;
    SmartLog.temperature.set(view, 0, TEMPERATURE);
    SmartLog.availableSpare.set(view, 0, SPARE);
    SmartLog.spareThreshold.set(view, 0, SPARE_THRESHOLD);
    SmartLog.dataUnitsRead.set(view, 0, dataUnits(namespace.bytesRead));
    SmartLog.dataUnitsWritten.set(view, 0, dataUnits(namespace.bytesWritten));
    SmartLog.hostReads.set(view, 0, namespace.reads);
    SmartLog.hostWrites.set(view, 0, namespace.writes);
    SmartLog.powerOnHours.set(view, 0, Math.floor(nowPs() / PS_PER_HOUR));
    SmartLog.mediaErrors.set(view, 0, namespace.mediaErrors);
    SmartLog.errorLogEntries.set(view, 0, errors.count);
    return bytes;
  }

  #firmware(): Uint8Array {
    const bytes = new Uint8Array(FirmwareLog.SIZE);
    const { at, size } = FirmwareLog.FRS1;
    const revision = this.#parts.firmware.padEnd(size);
    bytes[FirmwareLog.AFI.at] = 1;
    for (let i = 0; i < size; i++) bytes[at + i] = revision.charCodeAt(i) & 0x7f;
    return bytes;
  }

  #effects(): Uint8Array {
    const bytes = new Uint8Array(EffectsLog.SIZE);
    const { adminOpcodes, ioOpcodes } = this.#parts;
    for (const code of adminOpcodes) bytes[EffectsLog.admin + code * DWORD] = EffectsLog.CSUPP;
    for (const code of ioOpcodes) {
      const changes = code === IoOpcode.Write ? EffectsLog.LBCC : 0;
      bytes[EffectsLog.io + code * DWORD] = EffectsLog.CSUPP | changes;
    }
    return bytes;
  }
}

function featureEffects(): Uint8Array {
  const bytes = new Uint8Array(FeatureEffectsLog.SIZE);
  const view = new DataView(bytes.buffer);
  const { FSUPP, NamespaceScope, ControllerScope } = FeatureEffectsLog;
  for (const feature of FEATURES) {
    const scope = isPerNamespace(feature) ? NamespaceScope : ControllerScope;
    view.setUint32(feature * DWORD, FSUPP | scope, true);
  }
  return bytes;
}

/** `size` bytes from a 64-bit offset given in halves, which must be a multiple of 4 and lie in the page. */
function slice(page: Uint8Array, lo: number, hi: number, size: number): Uint8Array | Status {
  if (hi !== 0 || lo % DWORD !== 0 || lo >= page.length) return Status.InvalidField;
  const bytes = new Uint8Array(size);
  bytes.set(page.subarray(lo, lo + size));
  return bytes;
}

/** Counted in thousands of blocks of 512 bytes, rounded up. [NVME] 5.16.1.3 */
const dataUnits = (bytes: number): number => Math.ceil(bytes / DATA_UNIT_SIZE);
