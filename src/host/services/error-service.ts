/**
 * Host software that has every function report its errors, and reads and clears them when a root port interrupts,
 * as Linux's AER and DPC services do. Everything is a configuration request. [PCIE] 6.2.6, 6.2.11
 * @module
 */
import { type Bdf, bdfFromId, type Picos } from '#emu/base/units.ts';
import { ConfigIo, type ConfigPort } from '#emu/host/enumeration/config-io.ts';
import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import { CapabilityId, Pcie, PortType } from '#emu/pcie/config/config-registers.ts';
import { AerControl, AerRegister, RootStatus } from '#emu/pcie/errors/aer-registers.ts';
import { DpcReason, DpcRegister, DpcStatus } from '#emu/pcie/errors/dpc-registers.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Process } from '#emu/sim/process.ts';
import {
  aerOf,
  type Containment,
  dpcOf,
  enableContainment,
  enableReporting,
} from './error-enable.ts';
import {
  correctedRecord,
  type ErrorRecord,
  type ErrorRegisters,
  uncorrectedRecord,
} from './error-record.ts';
import type { PortInterrupts } from './port-interrupts.ts';

/** A port that has cut off what is below it, as host software read it. */
export interface ContainmentRecord {
  readonly timePs: Picos;
  readonly path: string;
  /** {@link DpcReason} */
  readonly reason: number;
  /** Who sent the message that triggered it; 0 for an error of the port's own. */
  readonly source: Bdf;
}

/** Sees each record as it is made. */
export interface ErrorProbe {
  error(record: ErrorRecord): void;
}

export interface ErrorServiceHost {
  readonly root: ConfigPort;
  readonly kernel: Kernel;
  readonly name: string;
  readonly portInterrupts: PortInterrupts;
}

/** Records kept for reading. */
const KEPT = 256;
/** Errors of one function in one pass: as many as there can be bits. */
const MOST_ERRORS = 32;
const LOG_WORDS = 4;
const ROOT_STATUS_BITS = 0x7f;
const ROOT_COMMAND_BITS = 0x7;

/** What the interrupt of one port is served with: again as long as more comes meanwhile. */
interface Service {
  readonly node: PciNode;
  readonly serve: () => Process<void>;
  isRunning: boolean;
  isWanted: boolean;
}

export class ErrorService {
  /** Who sees records, or null. */
  probe: ErrorProbe | null = null;
  readonly #host: ErrorServiceHost;
  readonly #records: ErrorRecord[] = [];
  readonly #containments: ContainmentRecord[] = [];
  #count = 0;

  constructor(host: ErrorServiceHost) {
    this.#host = host;
  }

  /** The latest errors, oldest first. */
  get records(): readonly ErrorRecord[] {
    return this.#records;
  }
  /** Errors read since the start. */
  get count(): number {
    return this.#count;
  }
  /** The latest containments, oldest first. */
  get containments(): readonly ContainmentRecord[] {
    return this.#containments;
  }

  /** Has functions report; root ports, and with containment every port that has it, interrupt. */
  *start(nodes: readonly PciNode[], containment: Containment = 'off'): Process<void> {
    const { root } = this.#host;
    for (const node of nodes) yield* enableReporting(root, node);
    for (const node of nodes) {
      if (node.portType === PortType.RootPort && aerOf(node) !== 0) {
        yield* this.#attach(node, () => this.#serveRoot(node));
        yield* this.#io(node).write(aerOf(node) + AerRegister.RootStatus, 4, ROOT_STATUS_BITS);
        yield* this.#io(node).write(aerOf(node) + AerRegister.RootCommand, 4, ROOT_COMMAND_BITS);
      }
      if (containment === 'off' || dpcOf(node) === 0) continue;
      yield* this.#attach(node, () => this.#serveContainment(node));
      yield* enableContainment(root, node, containment);
    }
  }

  /** Lets the link below a contained port train again; what is there has been reset. [PCIE] 6.2.11 */
  *release(node: PciNode): Process<void> {
    const at = dpcOf(node) + DpcRegister.Status;
    yield* this.#io(node).write(at, 2, DpcStatus.Triggered.mask | DpcStatus.Interrupt.mask);
  }

  *#attach(node: PciNode, serve: () => Process<void>): Process<void> {
    const service: Service = { node, serve, isRunning: false, isWanted: false };
    yield* this.#host.portInterrupts.attach(node, () => this.#wake(service));
  }

  #wake(service: Service): void {
    service.isWanted = true;
    if (service.isRunning) return;
    service.isRunning = true;
    void this.#host.kernel.spawn(`${service.node.path} errors`, this.#run(service));
  }

  *#run(service: Service): Process<void> {
    while (service.isWanted) {
      service.isWanted = false;
      yield* service.serve();
    }
    service.isRunning = false;
  }

  /** Reads who has reported, and what. */
  *#serveRoot(root: PciNode): Process<void> {
    const io = this.#io(root);
    const at = aerOf(root);
    const status = (yield* io.read(at + AerRegister.RootStatus, 4)) & ROOT_STATUS_BITS;
    if (status === 0) return;
    const sources = yield* io.read(at + AerRegister.CorrectableSource, 4);
    yield* io.write(at + AerRegister.RootStatus, 4, status);
    const { Correctable, MultipleCorrectable, Uncorrectable, MultipleUncorrectable } = RootStatus;
    const isMany = MultipleCorrectable.get(status) | MultipleUncorrectable.get(status);
    const corrected = Correctable.get(status) ? sources & 0xffff : NOBODY;
    const uncorrected = Uncorrectable.get(status) ? sources >>> 16 : NOBODY;
    for (const node of root.subtree()) {
      const isNamed = node.bdf === corrected || node.bdf === uncorrected;
      if (isMany || isNamed) yield* this.#serveFunction(node, node.bdf === uncorrected);
    }
  }

  /** Reads and clears the errors of a function until there are none. */
  *#serveFunction(node: PciNode, isUncorrected: boolean): Process<void> {
    const at = aerOf(node);
    if (at === 0) return;
    const io = this.#io(node);
    for (let i = 0; i < MOST_ERRORS; i++) {
      const registers = yield* this.#registers(io, at);
      const { correctableStatus, uncorrectableStatus } = registers;
      yield* io.write(at + AerRegister.CorrectableStatus, 4, correctableStatus);
      yield* io.write(at + AerRegister.UncorrectableStatus, 4, uncorrectableStatus);
      const source = { timePs: this.#host.kernel.now, ...identityOf(node) };
      const corrected = correctedRecord(source, registers);
      const uncorrected = uncorrectedRecord(source, registers);
      // So it is when a function is gone, whose masks read as ones too.
      if (corrected === null && uncorrected === null) break;
      if (corrected !== null) this.#add(corrected);
      // What was reported as advisory is in the other record.
      const isAdvised = corrected !== null && corrected.advised.length > 0 && !isUncorrected;
      if (uncorrected !== null && !isAdvised) this.#add(uncorrected);
    }
    const pcie = node.capabilities.get(CapabilityId.Pcie);
    if (pcie === undefined) return;
    yield* io.write(pcie + Pcie.DevSta, 2, yield* io.read(pcie + Pcie.DevSta, 2));
  }

  *#registers(io: ConfigIo, at: number): Process<ErrorRegisters> {
    const uncorrectableStatus = yield* io.read(at + AerRegister.UncorrectableStatus, 4);
    return {
      uncorrectableStatus,
      uncorrectableMask: yield* io.read(at + AerRegister.UncorrectableMask, 4),
      uncorrectableSeverity: yield* io.read(at + AerRegister.UncorrectableSeverity, 4),
      correctableStatus: yield* io.read(at + AerRegister.CorrectableStatus, 4),
      correctableMask: yield* io.read(at + AerRegister.CorrectableMask, 4),
      firstError: AerControl.FirstError.get(yield* io.read(at + AerRegister.Control, 4)),
      header: yield* readWords(io, at + AerRegister.HeaderLog),
      prefixes: yield* readWords(io, at + AerRegister.PrefixLog),
    };
  }

  *#serveContainment(node: PciNode): Process<void> {
    const io = this.#io(node);
    const at = dpcOf(node);
    const status = yield* io.read(at + DpcRegister.Status, 2);
    if (!DpcStatus.Interrupt.get(status)) return;
    const source = yield* io.read(at + DpcRegister.Source, 2);
    // Only the interrupt: the port stays contained until it is released.
    yield* io.write(at + DpcRegister.Status, 2, DpcStatus.Interrupt.mask);
    keep(this.#containments, {
      timePs: this.#host.kernel.now,
      path: node.path,
      reason: DpcStatus.Reason.get(status),
      source: bdfFromId(source),
    });
    if (DpcStatus.Reason.get(status) === DpcReason.OwnError) yield* this.#serveFunction(node, true);
  }

  #add(record: ErrorRecord): void {
    this.#count++;
    keep(this.#records, record);
    this.probe?.error(record);
  }

  #io(node: PciNode): ConfigIo {
    return new ConfigIo(this.#host.root, node.bdf);
  }
}

/** Not the ID of any function here: device 31, function 7 of the last bus. */
const NOBODY = 0xffff;

const identityOf = ({ path, bdf, vendorId, deviceId }: PciNode) => ({
  path,
  bdf,
  vendorId,
  deviceId,
});

function* readWords(io: ConfigIo, at: number): Process<number[]> {
  const words: number[] = [];
  for (let i = 0; i < LOG_WORDS; i++) words.push(yield* io.read(at + 4 * i, 4));
  return words;
}

function keep<T>(list: T[], one: T): void {
  if (list.length === KEPT) list.shift();
  list.push(one);
}
