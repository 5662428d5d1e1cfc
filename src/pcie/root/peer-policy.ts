/**
 * What a root complex does with requests from one root port to another: forwarding between hierarchies is
 * optional, and real ones differ. Rules as data; RootComplex applies them. [PCIE] 1.3.1, [P2PDMA]
 * @module
 */
import { usage } from '#emu/base/errors.ts';

/** Treatment of the requests that enter by one root port and leave by another, or by the same. */
export interface PeerPolicy {
  /** False: all are answered Unsupported Request, posted ones dropped. Default true. */
  readonly allowed?: boolean;
  /**
   * Forwarded (default), answered Unsupported Request while writes pass, or swallowed: completed at once with
   * all ones, and no error anywhere.
   */
  readonly reads?: 'forward' | 'refuse' | 'all-ones';
  /**
   * The root complex takes reads over: it asks in its own name, by naturally aligned pieces of this many bytes (64
   * to 4096, a power of two), and answers in the requester's. Default: forwarded as they are.
   */
  readonly splitReadBytes?: number;
  /**
   * Most that these requests may write and ask for together; all pairs of one rule share it. No effect
   * without time.
   */
  readonly bytesPerSecond?: number;
}

/** What happens to a request, by pair; 0 is the common case. */
export const PeerTreatment = {
  Forward: 0,
  Refuse: 1,
  RefuseReads: 2,
  OnesForReads: 3,
  OwnReads: 4,
} as const;
export type PeerTreatment = (typeof PeerTreatment)[keyof typeof PeerTreatment];

const { Forward, Refuse, RefuseReads, OnesForReads, OwnReads } = PeerTreatment;

export class PeerRules {
  /** Whether any pair has a bandwidth limit. */
  isLimited = false;
  readonly #ports: number;
  readonly #treatments: Uint8Array;
  readonly #splitBytes: Int32Array;
  readonly #limits: (RateLimit | null)[];
  readonly #policies: PeerPolicy[];

  /** @param ports how many root ports there are; all pairs forward at first */
  constructor(ports: number) {
    const pairs = ports ** 2;
    this.#ports = ports;
    this.#treatments = new Uint8Array(pairs);
    this.#splitBytes = new Int32Array(pairs);
    this.#limits = new Array<RateLimit | null>(pairs).fill(null);
    this.#policies = new Array<PeerPolicy>(pairs).fill({});
  }

  /** Replaces the rule of each pair. @throws USAGE */
  set(from: readonly number[], to: readonly number[], policy: PeerPolicy): void {
    checkPeerPolicy(policy, 'peer policy');
    const { bytesPerSecond, splitReadBytes = 0 } = policy;
    const limit = bytesPerSecond === undefined ? null : new RateLimit(bytesPerSecond);
    for (const source of from) {
      for (const target of to) {
        const pair = this.#pair(source, target);
        this.#treatments[pair] = treatmentOf(policy);
        this.#splitBytes[pair] = splitReadBytes;
        this.#limits[pair] = limit;
        this.#policies[pair] = policy;
      }
    }
    this.isLimited = this.#limits.some((one) => one !== null);
  }

  policy(from: number, to: number): PeerPolicy {
    return this.#policies[this.#pair(from, to)] ?? {};
  }

  treatment(from: number, to: number): number {
    return this.#treatments[from * this.#ports + to]!;
  }

  splitBytes(from: number, to: number): number {
    return this.#splitBytes[from * this.#ports + to]!;
  }

  limit(from: number, to: number): RateLimit | null {
    return this.#limits[from * this.#ports + to] ?? null;
  }

  #pair(from: number, to: number): number {
    for (const port of [from, to]) {
      if (Number.isInteger(port) && port >= 0 && port < this.#ports) continue;
      throw usage(`peer policy: expected a root port, 0 to ${this.#ports - 1}, got ${port}`);
    }
    return from * this.#ports + to;
  }
}

/** Spaces requests out so that their bytes keep to a rate; an idle one delays nothing. */
export class RateLimit {
  readonly #psPerByte: number;
  #busyUntil = -0.5;

  constructor(bytesPerSecond: number) {
    this.#psPerByte = 1e12 / bytesPerSecond;
  }

  /** Time that a request of `sizeBytes` which is ready `afterPs` from now has to wait, ps. */
  waitPs(clock: Float64Array, afterPs: number, sizeBytes: number): number {
    const ready = clock[0]! + afterPs;
    const start = Math.max(this.#busyUntil, ready);
    this.#busyUntil = start + sizeBytes * this.#psPerByte;
    return Math.ceil(start - ready);
  }
}

function treatmentOf({ allowed = true, reads = 'forward', splitReadBytes }: PeerPolicy) {
  if (!allowed) return Refuse;
  if (reads === 'refuse') return RefuseReads;
  if (reads === 'all-ones') return OnesForReads;
  return splitReadBytes === undefined ? Forward : OwnReads;
}

const READS: readonly unknown[] = [undefined, 'forward', 'refuse', 'all-ones'];
const SPLITS: readonly unknown[] = [undefined, 64, 128, 256, 512, 1024, 2048, 4096];

/** @throws USAGE that names the field below `where` */
export function checkPeerPolicy(policy: PeerPolicy, where: string): void {
  const { allowed, reads, splitReadBytes: split, bytesPerSecond: rate } = policy;
  if (allowed !== undefined && typeof allowed !== 'boolean') {
    throw usage(`${where}.allowed: expected true or false, got ${allowed}`);
  }
  if (!READS.includes(reads)) {
    throw usage(`${where}.reads: expected 'forward', 'refuse' or 'all-ones', got ${reads}`);
  }
  if (!SPLITS.includes(split)) {
    throw usage(`${where}.splitReadBytes: expected a power of two, 64 to 4096, got ${split}`);
  }
  if (split !== undefined && (reads === 'refuse' || reads === 'all-ones')) {
    throw usage(`${where}.splitReadBytes: expected reads that are forwarded, got '${reads}'`);
  }
  if (rate !== undefined && !(rate >= 1 && rate <= 1e15)) {
    throw usage(`${where}.bytesPerSecond: expected a rate of 1 to 1e15, got ${rate}`);
  }
}
