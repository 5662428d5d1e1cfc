/**
 * Spreads I/O commands over the queue pairs and lets those wait, in order, that find every slot taken.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { CommandFields } from './command-fields.ts';
import type { PageCursor } from './page-cursor.ts';
import { PrpBuilder } from './prp-builder.ts';
import type { CommandClient, QueuePair } from './queue-pair.ts';
import { TIMED_OUT } from './result.ts';

/** Something with commands to submit. */
export interface Issuer {
  /** Submits what it can; false when a slot was missing, and then it is asked again. */
  issue(): boolean;
  /** No slot will ever be free again. */
  abandon(code: number): void;
}

export class Dispatcher {
  readonly #pairs: readonly QueuePair[];
  readonly #prps: PrpBuilder;
  readonly #waiting: Issuer[] = [];
  #next = 0;
  #pumping = false;

  constructor(pairs: readonly QueuePair[], memory: SparseMemory) {
    this.#pairs = pairs;
    this.#prps = new PrpBuilder(memory);
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

  /**
   * Submits a command without data, or for the next `sizeBytes` of `cursor`, to the next pair with room.
   * False when there is none. @throws USAGE for data that PRPs cannot describe
   */
  submit(
    fields: CommandFields,
    cursor: PageCursor | null,
    sizeBytes: number,
    client: CommandClient,
    arg: number,
  ): boolean {
    const pair = this.#choose();
    if (!pair) return false;
    const slot = pair.reserve();
    if (cursor) this.#describe(pair, slot, fields, cursor, sizeBytes);
    pair.submit(slot, fields, client, arg);
    return true;
  }

  #describe(
    pair: QueuePair,
    slot: number,
    fields: CommandFields,
    cursor: PageCursor,
    sizeBytes: number,
  ): void {
    if (!this.#prps.build(cursor, sizeBytes, pair.list(slot), pair.listDma(slot))) {
      pair.cancel(slot);
      throw new EmuError(
        'USAGE',
        `${pair.path}: expected data in whole pages between its ends and a start that is a multiple of 4, as PRPs describe it`,
      );
    }
    fields.prp1 = this.#prps.prp1;
    fields.prp2 = this.#prps.prp2;
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
