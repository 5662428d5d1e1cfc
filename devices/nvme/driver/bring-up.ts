/**
 * Brings a controller up as the specification prescribes and takes it down again. [NVME] 3.5.1, 3.6.1
 * @module
 */

import {
  AdminOpcode,
  Aqa,
  CapCss,
  CapHi,
  CapLo,
  Cc,
  CcCss,
  Cqe,
  CreateCqCdw11,
  CreateSqCdw11,
  Csts,
  DOORBELL_SIZE,
  Feature,
  MIN_PAGE_SIZE,
  Property,
  QueueCdw10,
  QueueCounts,
  Shn,
  Shst,
  Sqe,
  TIMEOUT_UNIT_PS,
} from '#devices/nvme/spec.ts';
import { Cns } from '#devices/nvme/spec-identify.ts';
import { EmuError } from '#emu/base/errors.ts';
import { hex, hi32, lo32, type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { CoherentMemory } from '#emu/dma/providers/coherent-memory.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import { AdminQueue } from './admin-queue.ts';
import type { DriverHost } from './host-access.ts';
import { QueuePair } from './queue-pair.ts';
import { TIMED_OUT } from './result.ts';

/** Entries of the admin queues, as Linux has them. */
const ADMIN_ENTRIES = 32;
const ADMIN_DEPTH = 16;
const FIRST_POLL_PS = 1e6;
const LAST_POLL_PS = 10e9;
const GONE = 0xffff_ffff;
/** Most time that a shutdown may take, since RTD3E was not asked for. */
const SHUTDOWN_TIMEOUT_PS = 5e12;

/** CAP, decoded. [NVME] 3.1.3.1 */
export interface Capabilities {
  readonly maxQueueEntries: number;
  readonly timeoutPs: number;
  readonly doorbellStride: number;
  readonly minPageSize: number;
  /** Value for CC.CSS. */
  readonly commandSets: number;
}

export class ControllerAccess {
  readonly #host: DriverHost;
  capabilities: Capabilities | null = null;

  constructor(host: DriverHost) {
    this.#host = host;
  }

  *read(property: { readonly offset: number }): Process<number> {
    return yield* wait(this.#host.cpu.read32(this.#address(property)));
  }

  write(property: { readonly offset: number }, value: number): void {
    this.#host.cpu.write32(this.#address(property), value);
  }

  /** Reads CAP. @throws SCENARIO when no controller answers, or it needs larger pages */
  *readCapabilities(): Process<Capabilities> {
    if ((yield* this.read(Property.Csts)) === GONE) throw this.#failure('does not answer');
    const lo = yield* this.read(Property.CapLo);
    const hi = yield* this.read(Property.CapHi);
    if (CapHi.MPSMIN.get(hi) > 0) throw this.#failure('cannot use pages of 4 KiB');
    const sets = CapHi.CSS.get(hi) & CapCss.IoCommandSets;
    const capabilities = {
      maxQueueEntries: CapLo.MQES.get(lo) + 1,
      timeoutPs: Math.max(1, CapLo.TO.get(lo)) * TIMEOUT_UNIT_PS,
      doorbellStride: DOORBELL_SIZE * 2 ** CapHi.DSTRD.get(hi),
      minPageSize: MIN_PAGE_SIZE,
      commandSets: sets ? CcCss.AllSupported : CcCss.Nvm,
    };
    this.capabilities = capabilities;
    return capabilities;
  }

  /** CC.EN = 0 and waits until the controller is not ready any more. */
  *disable({ timeoutPs }: Capabilities): Process<void> {
    this.write(Property.Cc, 0);
    yield* this.#until(timeoutPs, 'stay ready', (csts) => Csts.RDY.get(csts) === 0);
  }

  /** Tells the controller of its admin queues, enables it and waits until it is ready. */
  *enable({ timeoutPs, commandSets }: Capabilities, admin: QueuePair): Process<void> {
    const entries = admin.entries - 1;
    this.write(Property.Aqa, Aqa.ASQS.of(entries) | Aqa.ACQS.of(entries));
    this.write(Property.AsqLo, lo32(admin.submissions.dma));
    this.write(Property.AsqHi, hi32(admin.submissions.dma));
    this.write(Property.AcqLo, lo32(admin.completions.dma));
    this.write(Property.AcqHi, hi32(admin.completions.dma));
    const cc = Cc.CSS.of(commandSets) | Cc.IOSQES.of(Sqe.SHIFT) | Cc.IOCQES.of(Cqe.SHIFT);
    this.write(Property.Cc, cc);
    this.write(Property.Cc, cc | Cc.EN.of(1));
    yield* this.#until(timeoutPs, 'did not become ready', (csts) => Csts.RDY.get(csts) === 1);
  }

  /** Normal shutdown; returns whether the controller said it is complete. [NVME] 3.6.1 */
  *shutDown(): Process<boolean> {
    const cc = yield* this.read(Property.Cc);
    this.write(Property.Cc, Cc.SHN.put(cc, Shn.Normal));
    const complete = (csts: number): boolean => Csts.SHST.get(csts) === Shst.Complete;
    return complete(yield* this.#poll(SHUTDOWN_TIMEOUT_PS, complete));
  }

  *#until(timeoutPs: number, what: string, done: (csts: number) => boolean): Process<void> {
    const csts = yield* this.#poll(timeoutPs, (value) => done(value) || Csts.CFS.get(value) === 1);
    if (!done(csts)) throw this.#failure(`${what} (CSTS ${hex(csts)})`);
  }

  /** Reads CSTS at growing intervals until `done` or the time is up; returns what it read last. */
  *#poll(timeoutPs: number, done: (csts: number) => boolean): Process<number> {
    let interval = FIRST_POLL_PS;
    let csts = yield* this.read(Property.Csts);
    for (let waited = 0; !done(csts) && csts !== GONE && waited < timeoutPs; waited += interval) {
      interval = Math.min(2 * interval, LAST_POLL_PS);
      yield interval;
      csts = yield* this.read(Property.Csts);
    }
    return csts;
  }

  #address({ offset }: { readonly offset: number }): PhysAddr {
    return physAddr(this.#host.registers + offset);
  }

  #failure(what: string): EmuError {
    return new EmuError('SCENARIO', `${this.#host.path}: the controller ${what}`);
  }
}

/** The admin queue pair and commands on it. @throws NO_MEMORY */
export function makeAdminQueue(
  host: DriverHost,
  capabilities: Capabilities,
  timeoutPs: number,
): AdminQueue {
  const { doorbellStride } = capabilities;
  const pair = new QueuePair(host, {
    ...{ id: 0, entries: ADMIN_ENTRIES, depth: ADMIN_DEPTH },
    ...{ doorbellStride, listBytes: MIN_PAGE_SIZE, timeoutPs },
  });
  return new AdminQueue(pair, host.kernel);
}

/** Asks for `wanted` pairs of I/O queues and returns how many there are. [NVME] 5.27.1.5 */
export function* askForQueues(admin: AdminQueue, wanted: number): Process<number> {
  const value = QueueCounts.NSQ.of(wanted - 1) | QueueCounts.NCQ.of(wanted - 1);
  const granted = yield* admin.setFeature(Feature.NumberOfQueues, value >>> 0);
  return Math.min(wanted, QueueCounts.NSQ.get(granted) + 1, QueueCounts.NCQ.get(granted) + 1);
}

/** First active namespace. @throws SCENARIO when there is none. [NVME] 5.17.2.2 */
export function* firstNamespace(
  admin: AdminQueue,
  host: DriverHost,
  buffer: CoherentMemory,
): Process<number> {
  yield* admin.identify(Cns.ActiveNamespaces, 0, buffer);
  const nsid = host.mm.memory.getU32(buffer.address);
  if (nsid === 0) throw new EmuError('SCENARIO', `${host.path}: there is no namespace`);
  return nsid;
}

/** Tells the controller of a queue pair; its interrupts come by the vector of the same number. */
export function* createQueues(admin: AdminQueue, pair: QueuePair): Process<void> {
  const size = QueueCdw10.QID.of(pair.id) | QueueCdw10.QSIZE.of(pair.entries - 1);
  const completions = admin.prepare(AdminOpcode.CreateCq);
  completions.pointTo(pair.completions.dma);
  completions.cdw10 = size >>> 0;
  completions.cdw11 =
    CreateCqCdw11.PC.of(1) | CreateCqCdw11.IEN.of(1) | CreateCqCdw11.IV.of(pair.id);
  yield* admin.expect(`Create I/O Completion Queue ${pair.id}`);
  const submissions = admin.prepare(AdminOpcode.CreateSq);
  submissions.pointTo(pair.submissions.dma);
  submissions.cdw10 = size >>> 0;
  submissions.cdw11 = CreateSqCdw11.PC.of(1) | CreateSqCdw11.CQID.of(pair.id);
  yield* admin.expect(`Create I/O Submission Queue ${pair.id}`);
}

/** Deletes a queue pair; false when the controller does not answer any more. [NVME] 5.6, 5.7 */
export function* deleteQueues(admin: AdminQueue, pair: QueuePair): Process<boolean> {
  admin.prepare(AdminOpcode.DeleteSq).cdw10 = QueueCdw10.QID.of(pair.id);
  if ((yield* admin.run()).code === TIMED_OUT) return false;
  admin.prepare(AdminOpcode.DeleteCq).cdw10 = QueueCdw10.QID.of(pair.id);
  return (yield* admin.run()).code !== TIMED_OUT;
}
