/**
 * The hold model: take the first event, put it back some time later. On the bare wheel it is the yardstick that
 * other benchmarks are measured in; on the kernel, with four kinds of target, it shows what dispatch adds.
 * @module
 */
import { type EventArg, Kernel, type Target } from '#emu/sim/kernel.ts';
import { Random } from '#emu/sim/random.ts';
import { Wheel } from '#emu/sim/wheel.ts';

/** Delays as a fabric has them: 45 % 4-8 ns, 35 % 105-121 ns, 20 % 0.4-1 us, in ps. */
function fabricDelays(): Int32Array {
  const random = new Random(1, 'bench.delays');
  return new Int32Array(DELAYS).map(() => {
    const kind = random.below(100);
    if (kind < 45) return 4_000 + random.below(4_000);
    return kind < 80 ? 105_000 + random.below(16_000) : 400_000 + random.below(600_000);
  });
}

const DELAYS = 65_536;
const delays = fabricDelays();

/** A wheel with `pending` slots queued. */
export class HoldLoop {
  readonly #wheel: Wheel;
  #next = 0;

  constructor(pending: number) {
    this.#wheel = new Wheel({ capacity: pending });
    for (let slot = 0; slot < pending; slot++) {
      this.#wheel.times[slot] = delays[slot % DELAYS]!;
      this.#wheel.push(slot);
    }
  }

  /** Does `holds` holds and returns their number. */
  run(holds: number): number {
    const wheel = this.#wheel;
    const { times } = wheel;
    let next = this.#next;
    for (let i = 0; i < holds; i++) {
      const slot = wheel.popUntil();
      times[slot]! += delays[next]!;
      next = (next + 1) & (DELAYS - 1);
      wheel.push(slot);
    }
    this.#next = next;
    return holds;
  }
}

/** What the targets of a dispatch loop share. */
class Feed {
  readonly kernel = new Kernel();
  next = 0;
  readonly targets: Target[] = [];

  again(from: number): void {
    const delay = delays[this.next]!;
    this.next = (this.next + 1) & (DELAYS - 1);
    const target = this.targets[(from + delay) & 3]!;
    this.kernel.schedule(delay, target, from, null);
  }
}

/** Four classes on purpose: a call site of the fabric sees as many. */
class Port implements Target {
  readonly path = 'port';
  readonly #feed: Feed;
  constructor(feed: Feed) {
    this.#feed = feed;
  }
  handle(op: number, _arg: EventArg): void {
    this.#feed.again(op);
  }
}
class Device implements Target {
  readonly path = 'device';
  readonly #feed: Feed;
  constructor(feed: Feed) {
    this.#feed = feed;
  }
  handle(op: number, _arg: EventArg): void {
    this.#feed.again(op + 1);
  }
}
class Bridge implements Target {
  readonly path = 'bridge';
  readonly #feed: Feed;
  constructor(feed: Feed) {
    this.#feed = feed;
  }
  handle(op: number, _arg: EventArg): void {
    this.#feed.again(op + 2);
  }
}
class Root implements Target {
  readonly path = 'root';
  readonly #feed: Feed;
  constructor(feed: Feed) {
    this.#feed = feed;
  }
  handle(op: number, _arg: EventArg): void {
    this.#feed.again(op & 0xffff);
  }
}

/** A kernel with `pending` events, each of which schedules the next at one of four kinds of target. */
export class DispatchLoop {
  readonly #feed = new Feed();

  constructor(pending: number) {
    const feed = this.#feed;
    feed.targets.push(new Port(feed), new Device(feed), new Bridge(feed), new Root(feed));
    for (let i = 0; i < pending; i++) feed.again(i & 3);
  }

  /** Handles `events` events and returns their number. */
  run(events: number): number {
    this.#feed.kernel.runSlice(events);
    return events;
  }
}
