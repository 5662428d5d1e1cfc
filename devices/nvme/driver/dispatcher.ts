/**
 * Spreads I/O commands over the queue pairs and lets those wait, in order, that find every slot taken.
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import type { CommandFields } from './command-fields.ts';
import { DataRanges, type RangeReader } from './data-ranges.ts';
import { type DescriptorPolicy, describe } from './descriptors.ts';
import type { CommandClient, QueuePair } from './queue-pair.ts';
import { TIMED_OUT } from './result.ts';

/** Something with commands to submit. */
export interface Issuer {
  /** Submits what it can; false when a slot was missing, and then it is asked again. */
  issue(): boolean;
  /** No slot will ever be free again. */
  abandon(code: number): void;
}

/** What became of a command. */
export const Submission = {
  Done: 0,
  /** Every slot is taken: nothing was read of its data's ranges. */
  NoRoom: 1,
  /** Nothing can describe its data: {@link Dispatcher.refusal}. */
  Refused: 2,
} as const;
export type Submission = (typeof Submission)[keyof typeof Submission];

/** Commands by how their data was described. */
export interface DescriptorCounts {
  prp: number;
  sgl: number;
}

export class Dispatcher {
  /** Why the latest refused command was. */
  refusal = '';
  readonly counts: DescriptorCounts = { prp: 0, sgl: 0 };
  readonly #pairs: readonly QueuePair[];
  readonly #policy: DescriptorPolicy;
  readonly #data = new DataRanges();
  readonly #waiting: Issuer[] = [];
  #next = 0;
  #pumping = false;

  constructor(pairs: readonly QueuePair[], policy: DescriptorPolicy) {
    this.#pairs = pairs;
    this.#policy = policy;
    for (const pair of pairs) pair.onRoom = () => this.#pump();
  }

  /** Commands outstanding. */
  get active(): number {
    return this.#pairs.reduce((sum, pair) => sum + pair.active, 0);
  }
  /** Nothing is outstanding or waits to be. */
  get idle(): boolean {
    return this.active === 0 && this.#waiting.length === 0;
  }

  /** Lets an issuer submit its commands, now or when its turn comes. */
  enqueue(issuer: Issuer): void {
    this.#waiting.push(issuer);
    this.#pump();
  }

  /** Submits a command without data, or for the next `sizeBytes` of `reader`, to the next pair with room. */
  submit(
    fields: CommandFields,
    reader: RangeReader | null,
    sizeBytes: number,
    client: CommandClient,
    arg: number,
  ): Submission {
    const pair = this.#choose();
    if (!pair) return Submission.NoRoom;
    const slot = pair.reserve();
    const refusal = reader ? this.#describe(pair, slot, fields, reader, sizeBytes) : null;
    if (refusal !== null) {
      pair.cancel(slot);
      this.refusal = refusal;
      return Submission.Refused;
    }
    pair.submit(slot, fields, client, arg);
    return Submission.Done;
  }

  #describe(
    pair: QueuePair,
    slot: number,
    fields: CommandFields,
    reader: RangeReader,
    sizeBytes: number,
  ): string | null {
    const data = this.#data;
    reader.take(data, sizeBytes);
    invariant(data.sizeBytes === sizeBytes, `${pair.path}: data was checked to be there`);
    const refusal = describe(data, this.#policy, pair.list(slot), fields);
    if (refusal === null) this.counts[fields.isSgl ? 'sgl' : 'prp']++;
    return refusal;
  }

  #choose(): QueuePair | null {
    const { length } = this.#pairs;
    for (let i = 0; i < length; i++) {
      const pair = this.#pairs[(this.#next + i) % length]!;
      if (!pair.hasRoom) continue;
      this.#next = (this.#next + i + 1) % length;
      return pair;
    }
    return null;
  }

  #pump(): void {
    // An issuer may end at once and bring new ones: they wait for this round.
    if (this.#pumping) return;
    this.#pumping = true;
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      if (!first.issue()) break;
      this.#waiting.shift();
    }
    this.#pumping = false;
    if (this.#waiting.length === 0 || this.active > 0) return;
    // Every slot is lost to a command that timed out.
    for (const issuer of this.#waiting.splice(0)) issuer.abandon(TIMED_OUT);
  }
}
