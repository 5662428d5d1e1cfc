/**
 * Values behind Get Features and Set Features, with the checks each feature has. Nothing is saved across
 * resets. [NVME] 5.15, 5.27
 * @module
 */
import {
  ErrorRecovery,
  Feature,
  FeatureCapability,
  FeatureSelect,
  GetFeaturesCdw10,
  InterruptVectorConfig,
  PowerManagement,
  QueueCounts,
  SetFeaturesCdw10,
  Status,
  TemperatureThreshold,
} from '#devices/nvme/spec.ts';
import { NSID_ALL } from '#devices/nvme/spec-identify.ts';
import type { Command } from './command.ts';
import { NSID } from './namespace.ts';

/** What features need to know of the controller. */
export interface FeatureHost {
  /** Pairs of I/O queues that can be had. */
  readonly ioQueues: number;
  readonly vectors: number;
}

/** Temperature that the drive reports as its over-temperature threshold, kelvins. */
const OVER_TEMPERATURE = 343;
const COMPOSITE_SENSOR = 0;
const ALL_SENSORS = 15;
/** Number of Queues: a count that asks for 65,536. [NVME] 5.27.1.5 */
const TOO_MANY_QUEUES = 0xffff;

/** A feature that is a value and little else. */
interface Plain {
  readonly initial: number;
  /** Bits that are kept. */
  readonly mask: number;
  readonly perNamespace?: boolean;
}

const PLAIN: ReadonlyMap<number, Plain> = new Map<number, Plain>([
  [Feature.Arbitration, { initial: 0, mask: 0xffff_ff07 }],
  [Feature.PowerManagement, { initial: 0, mask: 0xff }],
  [Feature.ErrorRecovery, { initial: 0, mask: ErrorRecovery.TLER.mask, perNamespace: true }],
  // Model: stored only. Every write reaches the store at once, so the cache has nothing to lose.
  [Feature.VolatileWriteCache, { initial: 1, mask: 1 }],
  // Model: stored only. Every completion raises its interrupt at once.
  [Feature.InterruptCoalescing, { initial: 0, mask: 0xffff }],
  [Feature.WriteAtomicityNormal, { initial: 0, mask: 1 }],
  [Feature.AsyncEventConfig, { initial: 0, mask: 0xffff_ffff }],
]);

/** Features with a value for each of something. */
const INDEXED: ReadonlySet<number> = new Set([
  Feature.TemperatureThreshold,
  Feature.NumberOfQueues,
  Feature.InterruptVectorConfig,
]);

/** Every feature there is, ascending. */
export const FEATURES: readonly number[] = [...PLAIN.keys(), ...INDEXED].sort((a, b) => a - b);
export const isPerNamespace = (feature: number): boolean =>
  PLAIN.get(feature)?.perNamespace === true;

export class Features {
  readonly #host: FeatureHost;
  readonly #plain = new Map<number, number>();
  /** Over- and under-temperature thresholds of the composite sensor. */
  readonly #thresholds = [OVER_TEMPERATURE, 0];
  /** Vectors that are never coalesced. */
  readonly #uncoalesced = new Set<number>();
  /** Pairs of I/O queues the host asked for; all of them until it asks. */
  #queues = 0;
  /** Whether an I/O queue was created since the last reset: then their number is settled. */
  queuesCreated = false;
  /** The value that {@link get} found, or dword 0 of what {@link set} answers. */
  value = 0;

  constructor(host: FeatureHost) {
    this.#host = host;
    this.reset();
  }

  /** I/O queues of each kind that may be created. */
  get allocatedQueues(): number {
    return this.#queues;
  }

  /** Back to the defaults, as any controller reset does. */
  reset(): void {
    for (const [feature, { initial }] of PLAIN) this.#plain.set(feature, initial);
    this.#thresholds[0] = OVER_TEMPERATURE;
    this.#thresholds[1] = 0;
    this.#uncoalesced.clear();
    this.#queues = this.#host.ioQueues;
    this.queuesCreated = false;
  }

  /** Executes Get Features; on success the value is in `value`. [NVME] 5.15 */
  get(command: Command): Status {
    const feature = GetFeaturesCdw10.FID.get(command.cdw10);
    const select = GetFeaturesCdw10.SEL.get(command.cdw10);
    const status = this.#check(feature, command.nsid);
    if (status !== Status.Success) return status;
    if (select > FeatureSelect.Capabilities) return Status.InvalidField;
    if (select === FeatureSelect.Capabilities) {
      const scope = isPerNamespace(feature) ? FeatureCapability.NamespaceSpecific : 0;
      this.value = FeatureCapability.Changeable | scope;
      return Status.Success;
    }
    // Nothing is saveable, so the saved value is the default one.
    return this.#read(feature, command.cdw11, select === FeatureSelect.Current);
  }

  /** Executes Set Features; `value` is what dword 0 of the completion says. [NVME] 5.27 */
  set(command: Command): Status {
    const feature = SetFeaturesCdw10.FID.get(command.cdw10);
    this.value = 0;
    if (!PLAIN.has(feature) && !INDEXED.has(feature)) return Status.InvalidField;
    if (SetFeaturesCdw10.SV.get(command.cdw10)) return Status.FeatureNotSaveable;
    const status = this.#check(feature, command.nsid);
    return status === Status.Success ? this.#write(feature, command.cdw11) : status;
  }

  #check(feature: number, nsid: number): Status {
    if (!PLAIN.has(feature) && !INDEXED.has(feature)) return Status.InvalidField;
    if (nsid === NSID_ALL) return Status.Success;
    if (isPerNamespace(feature)) {
      return nsid === NSID ? Status.Success : Status.InvalidNamespaceOrFormat;
    }
    return nsid === 0 ? Status.Success : Status.FeatureNotNamespaceSpecific;
  }

  #read(feature: number, cdw11: number, current: boolean): Status {
    const plain = PLAIN.get(feature);
    if (plain) {
      this.value = current ? (this.#plain.get(feature) ?? 0) : plain.initial;
      return Status.Success;
    }
    if (feature === Feature.TemperatureThreshold) return this.#readThreshold(cdw11, current);
    if (feature === Feature.NumberOfQueues) {
      this.value = this.#queueCounts(current ? this.#queues : this.#host.ioQueues);
      return Status.Success;
    }
    const vector = InterruptVectorConfig.IV.get(cdw11);
    if (vector >= this.#host.vectors) return Status.InvalidField;
    const disabled = current && this.#uncoalesced.has(vector) ? 1 : 0;
    this.value = InterruptVectorConfig.CD.put(vector, disabled);
    return Status.Success;
  }

  #write(feature: number, value: number): Status {
    const plain = PLAIN.get(feature);
    if (plain) {
      if (!allowed(feature, value)) return Status.InvalidField;
      this.#plain.set(feature, (value & plain.mask) >>> 0);
      return Status.Success;
    }
    if (feature === Feature.TemperatureThreshold) return this.#writeThreshold(value);
    if (feature === Feature.NumberOfQueues) return this.#writeQueues(value);
    const vector = InterruptVectorConfig.IV.get(value);
    if (vector >= this.#host.vectors) return Status.InvalidField;
    if (InterruptVectorConfig.CD.get(value)) this.#uncoalesced.add(vector);
    else this.#uncoalesced.delete(vector);
    return Status.Success;
  }

  #readThreshold(cdw11: number, current: boolean): Status {
    const which = TemperatureThreshold.THSEL.get(cdw11);
    if (TemperatureThreshold.TMPSEL.get(cdw11) !== COMPOSITE_SENSOR || which > 1) {
      return Status.InvalidField;
    }
    const initial = which === 0 ? OVER_TEMPERATURE : 0;
    this.value = current ? (this.#thresholds[which] ?? 0) : initial;
    return Status.Success;
  }

  #writeThreshold(value: number): Status {
    const which = TemperatureThreshold.THSEL.get(value);
    const sensor = TemperatureThreshold.TMPSEL.get(value);
    if ((sensor !== COMPOSITE_SENSOR && sensor !== ALL_SENSORS) || which > 1) {
      return Status.InvalidField;
    }
    this.#thresholds[which] = TemperatureThreshold.TMPTH.get(value);
    return Status.Success;
  }

  /** The higher of both counts is given for both, since queues come in pairs. [NVME] 5.27.1.5 */
  #writeQueues(value: number): Status {
    const submissions = QueueCounts.NSQ.get(value);
    const completions = QueueCounts.NCQ.get(value);
    if (submissions === TOO_MANY_QUEUES || completions === TOO_MANY_QUEUES) {
      return Status.InvalidField;
    }
    if (this.queuesCreated) return Status.CommandSequenceError;
    const wanted = Math.max(submissions, completions) + 1;
    this.#queues = Math.min(wanted, this.#host.ioQueues);
    this.value = this.#queueCounts(this.#queues);
    return Status.Success;
  }

  #queueCounts(queues: number): number {
    return (QueueCounts.NSQ.of(queues - 1) | QueueCounts.NCQ.of(queues - 1)) >>> 0;
  }
}

/** Checks of features that are otherwise plain values. */
function allowed(feature: number, value: number): boolean {
  // There is one power state, and no block is ever deallocated.
  if (feature === Feature.PowerManagement) return PowerManagement.PS.get(value) === 0;
  if (feature === Feature.ErrorRecovery) return ErrorRecovery.DULBE.get(value) === 0;
  return true;
}
