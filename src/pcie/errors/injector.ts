/**
 * Faults on purpose: chosen TLPs are poisoned, damaged, lost, doubled or held up where a port sends them.
 * Set as `Fabric.injector`; null costs one comparison. [PCIE] 2.7, 2.8, 6.2
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { arena } from '#emu/memory/arena.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { TLP_NAMES, Tlp, TlpFlag } from '#emu/pcie/tlp/tlp.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';

/** What happens to a chosen TLP. */
export const Effect = {
  /** EP is set: the data is known to be bad. [PCIE] 2.7.2 */
  Poison: 'poison',
  /** Its next receiver finds it malformed. */
  Malform: 'malform',
  /**
   * Damaged inside of a component, where no LCRC looks: the digest no longer fits, and the first byte of payload is
   * another. Without digest nobody notices. Model: functional fidelity leaves the payload as it is.
   */
  Corrupt: 'corrupt',
  /** Lost in the port. */
  Drop: 'drop',
  /** Sent twice. Model: once in functional fidelity, which has no time between the two. */
  Duplicate: 'duplicate',
  /** Sent later. Model: at once in functional fidelity. */
  Delay: 'delay',
} as const;
export type Effect = (typeof Effect)[keyof typeof Effect];

/** One fault: of the TLPs that match, the `nth` and those after it, `count` in all. */
export interface Injection {
  readonly effect: Effect;
  /** Path of the port that sends it; any port without. */
  readonly port?: string;
  /** `MRd`, `MWr`, ..., `CplD`; any without. */
  readonly kind?: string;
  /** Must not keep or change the record. */
  readonly where?: (tlp: Tlp) => boolean;
  /** From 1. Default 1. */
  readonly nth?: number;
  /** Default 1; `Infinity` for all from the `nth` on. */
  readonly count?: number;
  /** Of a delay, ps. */
  readonly delayPs?: number;
}

interface Armed {
  readonly injection: Injection;
  readonly first: number;
  readonly last: number;
  seen: number;
  applied: number;
}

/** Negative: dispatched apart from the classes of the TLP path. */
const RESEND = -5;
const FLAGS: Readonly<Partial<Record<Effect, number>>> = {
  [Effect.Poison]: TlpFlag.EP,
  [Effect.Malform]: TlpFlag.Malformed,
  [Effect.Corrupt]: TlpFlag.BadDigest,
};

export class Injector implements Target {
  readonly path = 'injector';
  readonly #fabric: Fabric;
  readonly #armed: Armed[] = [];
  /** A TLP that was held up or doubled: it is sent on without being looked at. */
  #own: Tlp | null = null;

  constructor(fabric: Fabric) {
    this.#fabric = fabric;
  }

  /** Arms a fault; of several that match the first decides. Returns how often it has happened. @throws USAGE */
  add(injection: Injection): () => number {
    const { nth = 1, count = 1, kind, effect, delayPs = 0 } = injection;
    this.#check(injection);
    if (!(nth >= 1)) throw usage(`injection.nth: expected 1 or more, got ${nth}`);
    if (!(count >= 1)) throw usage(`injection.count: expected 1 or more, got ${count}`);
    if (kind !== undefined && !TLP_NAMES.includes(kind)) {
      throw usage(`injection.kind: expected one of ${TLP_NAMES.join(', ')}, got ${kind}`);
    }
    if ((effect === Effect.Delay) !== delayPs > 0) {
      throw usage(`injection.delayPs: expected more than 0 for a delay only, got ${delayPs}`);
    }
    const armed: Armed = { injection, first: nth, last: nth + count - 1, seen: 0, applied: 0 };
    this.#armed.push(armed);
    return () => armed.applied;
  }

  #check({ effect, port }: Injection): void {
    const effects: readonly unknown[] = Object.values(Effect);
    if (!effects.includes(effect)) {
      throw usage(`injection.effect: expected one of ${effects.join(', ')}, got ${String(effect)}`);
    }
    const { errorSites } = this.#fabric;
    if (port !== undefined && errorSites.size > 0 && !errorSites.has(port)) {
      throw usage(`injection.port: expected the path of a port, got '${port}'`);
    }
  }

  /** Forgets all faults that have not happened. */
  clear(): void {
    this.#armed.length = 0;
  }

  /**
   * Asked by `port` about each TLP that it is given to send. False when the port has nothing more to do with it:
   * the record is gone, but in functional fidelity, where it stays the caller's.
   */
  passes(port: Port, tlp: Tlp): boolean {
    if (tlp === this.#own) return true;
    const found = this.#find(port, tlp);
    return found === null || this.#apply(found, port, tlp);
  }

  handle(_op: number, arg: EventArg): void {
    if (!(arg instanceof Tlp)) return;
    const { egress } = arg;
    this.#own = arg;
    if (egress !== null) egress.send(arg);
    this.#own = null;
  }

  #find(port: Port, tlp: Tlp): Injection | null {
    let found: Injection | null = null;
    for (const armed of this.#armed) {
      const { injection } = armed;
      if (injection.port !== undefined && injection.port !== port.path) continue;
      if (injection.kind !== undefined && injection.kind !== TLP_NAMES[tlp.kind]) continue;
      if (injection.where !== undefined && !injection.where(tlp)) continue;
      armed.seen++;
      if (found !== null || armed.seen < armed.first || armed.seen > armed.last) continue;
      armed.applied++;
      found = injection;
    }
    return found;
  }

  #apply({ effect, delayPs = 0 }: Injection, port: Port, tlp: Tlp): boolean {
    const { functional, tlps } = this.#fabric;
    tlp.flags |= FLAGS[effect] ?? 0;
    if (functional) return effect !== Effect.Drop;
    if (effect === Effect.Corrupt && tlp.payloadBytes > 0) {
      const { view } = arena;
      view.setUint8(tlp.payloadAt, view.getUint8(tlp.payloadAt) ^ 1);
    }
    if (effect === Effect.Duplicate) this.#later(copyOf(tlp, tlps.take()), port, 0);
    if (effect !== Effect.Drop && effect !== Effect.Delay) return true;
    // It leaves the receive buffer that it came by.
    tlp.ingress?.release(tlp);
    if (effect === Effect.Drop) tlps.give(tlp);
    else this.#later(tlp, port, delayPs);
    return false;
  }

  #later(tlp: Tlp, port: Port, delayPs: number): void {
    const { kernel } = this.#fabric;
    tlp.egress = port;
    if (delayPs < NEAR_PS) kernel.schedule(delayPs, this, RESEND, tlp);
    else kernel.scheduleFar(delayPs, this, RESEND, tlp);
  }
}
const NEAR_PS = 2 ** 31;

/** Everything on the wire; the copy takes no receive buffer. */
function copyOf(from: Tlp, to: Tlp): Tlp {
  const { payloadAt } = to;
  arena.u8.copyWithin(payloadAt, from.payloadAt, from.payloadAt + from.payloadBytes);
  return Object.assign(to, from, { payloadAt, ingress: null, egress: null });
}
