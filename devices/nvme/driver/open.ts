/**
 * Opens a drive: bring-up, Identify, queues, interrupts. [NVME] 3.5.1
 * @module
 */

import { CLASS_CODE, SglDescriptor } from '#devices/nvme/spec.ts';
import { Cns, IDENTIFY_SIZE, SglSupport } from '#devices/nvme/spec-identify.ts';
import { EmuError, usage } from '#emu/base/errors.ts';
import { alignUp } from '#emu/base/units.ts';
import type { Machine } from '#emu/host/machine.ts';
import type { PciFunction } from '#emu/host/pci-function.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import type { AdminQueue } from './admin-queue.ts';
import {
  askForQueues,
  type Capabilities,
  ControllerAccess,
  createQueues,
  deleteQueues,
  firstNamespace,
  makeAdminQueue,
} from './bring-up.ts';
import type { DescriptorPolicy } from './descriptors.ts';
import { NvmeDrive } from './drive.ts';
import { type DriverHost, shareMemory } from './host-access.ts';
import {
  type ControllerIdentity,
  controllerIdentity,
  type NamespaceIdentity,
  namespaceIdentity,
} from './identity.ts';
import { listPages } from './prps.ts';
import { MAX_DEPTH, QueuePair } from './queue-pair.ts';

export interface OpenOptions {
  /** Commands outstanding on each queue pair; default 64, as far as the controller's queues reach. */
  readonly queueDepth?: number;
  /** Pairs of I/O queues; default 1, as far as the controller has them. */
  readonly queues?: number;
  /** Largest command, if MDTS allows it; default 1 MiB. Memory for lists is set aside for each slot. */
  readonly maxTransferBytes?: number;
  /** After which a command is given up with status `timeout`, ps; default 30 s. */
  readonly timeoutPs?: number;
  /**
   * How commands describe their data: PRPs only, SGLs wherever possible, or what suits the data (default). SGLs
   * need a drive that takes them.
   */
  readonly descriptors?: 'auto' | 'prp' | 'sgl';
  /** With `auto`, average bytes of a range from which SGLs are used; 0 for never. Default 32 KiB, as Linux. */
  readonly sglThresholdBytes?: number;
}

const MIB = 2 ** 20;
const DEFAULT_TIMEOUT_PS = 30e12;
const LIST_PAGE = 4096;
const SGL_THRESHOLD = 32 * 1024;
/** Ranges of one command that an SGL has room for: one for every 512 bytes, but not more than this. */
const MAX_RANGES = 2048;
const SMALLEST_RANGE = 512;

/** Brings the drive `name` up. Fails with USAGE for a device that is none, SCENARIO when it does not come up. */
export function openNvme(
  machine: Machine,
  name: string,
  options: OpenOptions = {},
): Pending<NvmeDrive> {
  return machine.kernel.spawn(`${name} open`, new Opening(machine, name, options).run());
}

/** One bring-up, and what has to be taken down again. */
class Opening {
  readonly #name: string;
  readonly #function: PciFunction;
  readonly #host: DriverHost;
  readonly #access: ControllerAccess;
  readonly #options: Required<OpenOptions>;
  /** By number; the admin pair first. Interrupt handlers look them up here. */
  readonly #pairs: QueuePair[] = [];

  constructor(machine: Machine, name: string, options: OpenOptions) {
    this.#name = name;
    this.#options = filled(name, options);
    this.#function = machine.function(name);
    const bar = this.#function.bars.find(({ index }) => index === 0);
    if (this.#function.classCode !== CLASS_CODE || !bar) {
      throw usage(`${name}: expected an NVMe drive, got class ${this.#function.classCode}`);
    }
    this.#host = {
      kernel: machine.kernel,
      cpu: machine.cpu,
      mm: machine.mm,
      dma: this.#function.dma,
      registers: bar.address,
      path: `${name} driver`,
    };
    this.#access = new ControllerAccess(this.#host);
  }

  *run(): Process<NvmeDrive> {
    try {
      return yield* this.#bringUp();
    } catch (error) {
      yield* this.#takeDown();
      throw error;
    }
  }

  *#bringUp(): Process<NvmeDrive> {
    const capabilities = yield* this.#access.readCapabilities();
    yield* this.#access.disable(capabilities);
    yield* this.#function.setBusMaster(true);
    const admin = makeAdminQueue(this.#host, capabilities, this.#options.timeoutPs);
    this.#pairs.push(admin.pair);
    const vectors = yield* this.#enableInterrupts();
    yield* this.#access.enable(capabilities, admin.pair);
    const { controller, namespace } = yield* this.#identify(admin);
    const { maxTransferBytes: limit } = this.#options;
    const maxTransferBytes = Math.min(controller.maxTransferBytes, limit);
    const queueDepth = yield* this.#makePairs(admin, capabilities, vectors, maxTransferBytes);
    return new NvmeDrive({
      ...{ name: this.#name, host: this.#host, controller, namespace },
      ...{ maxTransferBytes, queueDepth, pairs: this.#pairs.slice(1) },
      descriptors: this.#descriptorPolicy(controller.sgl),
      shutDown: () => this.#shutDown(admin),
    });
  }

  #descriptorPolicy(sgl: SglSupport): DescriptorPolicy {
    const { descriptors, sglThresholdBytes } = this.#options;
    if (descriptors === 'sgl' && sgl === SglSupport.None) {
      throw usage(`${this.#name} descriptors: expected a drive that takes SGLs`);
    }
    return {
      sgl: descriptors === 'prp' ? SglSupport.None : sgl,
      preferSgl: descriptors === 'sgl',
      sglThresholdBytes: sglThresholdBytes || Number.POSITIVE_INFINITY,
    };
  }

  /** Turns MSI-X on and returns how many I/O queue pairs can have a vector of their own. */
  *#enableInterrupts(): Process<number> {
    const vectors = yield* this.#function.msixVectors();
    const count = Math.min(this.#options.queues + 1, vectors);
    const handlers = Array.from({ length: count }, (_, i) => () => this.#pairs[i]?.reap());
    if (count < 2) throw usage(`${this.#name}: expected 2 MSI-X vectors or more, got ${vectors}`);
    yield* this.#function.enableMsix(count, handlers);
    return count - 1;
  }

  *#identify(
    admin: AdminQueue,
  ): Process<{ controller: ControllerIdentity; namespace: NamespaceIdentity }> {
    const [shared] = shareMemory(this.#host, IDENTIFY_SIZE);
    const buffer = shared!;
    try {
      const { memory } = this.#host.mm;
      yield* admin.identify(Cns.Controller, 0, buffer);
      const controller = controllerIdentity(memory, buffer.address);
      const nsid = yield* firstNamespace(admin, this.#host, buffer);
      yield* admin.identify(Cns.Namespace, nsid, buffer);
      const namespace = namespaceIdentity(memory, buffer.address, nsid);
      return { controller, namespace };
    } finally {
      yield* wait(this.#host.dma.freeCoherent(buffer));
    }
  }

  /** Makes the I/O queue pairs and returns the depth of each. */
  *#makePairs(
    admin: AdminQueue,
    capabilities: Capabilities,
    wanted: number,
    maxTransferBytes: number,
  ): Process<number> {
    const { queueDepth, timeoutPs } = this.#options;
    const granted = yield* askForQueues(admin, wanted);
    const depth = Math.min(queueDepth, capabilities.maxQueueEntries - 1, MAX_DEPTH);
    const listBytes = listBytesFor(maxTransferBytes);
    for (let id = 1; id <= granted; id++) {
      const { doorbellStride } = capabilities;
      const sizes = { entries: depth + 1, depth, doorbellStride, listBytes, timeoutPs };
      const pair = new QueuePair(this.#host, { id, ...sizes });
      this.#pairs.push(pair);
      yield* createQueues(admin, pair);
    }
    return depth;
  }

  /** @throws SCENARIO when the controller does not complete its shutdown, after all memory is freed */
  *#shutDown(admin: AdminQueue): Process<void> {
    for (const pair of this.#pairs.slice(1).reverse()) {
      if (!(yield* deleteQueues(admin, pair))) break;
    }
    const complete = yield* this.#access.shutDown();
    yield* this.#takeDown();
    if (!complete) throw new EmuError('SCENARIO', `${this.#host.path}: shutdown did not complete`);
    this.#host.dma.unbind();
  }

  /** Stops the function from reaching memory, then frees it. */
  *#takeDown(): Process<void> {
    yield* this.#function.disableInterrupts();
    yield* this.#function.setBusMaster(false);
    const shared = this.#pairs.splice(0).flatMap((pair) => pair.memory);
    for (const memory of shared) yield* wait(this.#host.dma.freeCoherent(memory));
  }
}

/** Memory for one command's list, whichever kind it is. */
function listBytesFor(maxTransferBytes: number): number {
  const ranges = Math.min(maxTransferBytes / SMALLEST_RANGE, MAX_RANGES);
  const segment = alignUp(ranges * SglDescriptor.SIZE, LIST_PAGE);
  return Math.max(listPages(maxTransferBytes) * LIST_PAGE, segment);
}

/** Options with defaults. @throws USAGE */
function filled(name: string, options: OpenOptions): Required<OpenOptions> {
  const {
    queueDepth = 64,
    queues = 1,
    maxTransferBytes = MIB,
    timeoutPs = DEFAULT_TIMEOUT_PS,
    descriptors = 'auto',
    sglThresholdBytes = SGL_THRESHOLD,
  } = options;
  const counts = { queueDepth, queues, maxTransferBytes, timeoutPs };
  let key: keyof typeof counts;
  for (key in counts) {
    const value = counts[key];
    if (Number.isInteger(value) && value >= 1) continue;
    throw usage(`${name} ${key}: expected a positive integer, got ${value}`);
  }
  if (maxTransferBytes % LIST_PAGE !== 0) {
    throw usage(`${name} maxTransferBytes: expected a multiple of 4096, got ${maxTransferBytes}`);
  }
  if (!['auto', 'prp', 'sgl'].includes(descriptors)) {
    throw usage(`${name} descriptors: expected auto, prp or sgl, got '${descriptors}'`);
  }
  if (!(sglThresholdBytes >= 0)) {
    throw usage(`${name} sglThresholdBytes: expected 0 or more, got ${sglThresholdBytes}`);
  }
  return { ...counts, descriptors, sglThresholdBytes };
}
