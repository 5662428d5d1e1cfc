/**
 * What a port's owner does with a TLP, in both fidelities, and the record its decision is written to.
 * [PCIE] 2.2.4
 * @module
 */
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import type { FlowClass, Tlp } from '#emu/pcie/tlp/tlp.ts';
import type { FabricError } from './fabric.ts';

/** Where a TLP goes from here. */
export const Verdict = {
  /** Out of `Decision.port`. */
  Forward: 0,
  /** It ends in this component. */
  Local: 1,
  /** Unsupported Request. */
  Unsupported: 2,
  /** ACS violation: Completer Abort for non-posted requests. */
  Violation: 3,
  /** Nobody waits for it. */
  Drop: 4,
  /** Taken without a trace: a message that software has told a bridge not to pass on. */
  Swallow: 5,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** Overwritten by each decision; one per component, so that none is allocated. */
export class Decision {
  verdict: Verdict = Verdict.Unsupported;
  port: Port | null = null;
  /** The address after translation, or the TLP's own. */
  address = 0.5;
  /** Time that the decision itself takes (translation), ps. */
  latencyPs = 0;
  error: FabricError = 'unsupported-request';
  /** Of a refusal: the port whose function reports it, or null for the one that the TLP came by. */
  site: Port | null = null;

  forward(port: Port): void {
    this.verdict = Verdict.Forward;
    this.port = port;
  }
  local(): void {
    this.verdict = Verdict.Local;
    this.port = null;
  }
  refuse(verdict: Verdict, error: FabricError, site: Port | null = null): void {
    this.verdict = verdict;
    this.port = null;
    this.error = error;
    this.site = site;
  }
}

/** Switch, root complex or endpoint: three classes, so that call sites on the hot path stay cheap. */
export interface Component {
  readonly path: string;
  /** Number in the digest. */
  readonly index: number;
  /** Routes a TLP that came in by `ingress`; pure but for error counters, the same in both fidelities. */
  decide(ingress: Port, tlp: Tlp, out: Decision): void;
  /** Timed: takes a TLP that has arrived and owns its record from now on. */
  receive(ingress: Port, tlp: Tlp): void;
  /** Timed: a TLP of `flowClass` has left `port`, so its owner may queue another. */
  sent(port: Port, flowClass: FlowClass): void;
  /** Functional: stores the bytes of a write that ends here; returns how many it took, at least 1. */
  store(tlp: Tlp, decision: Decision, from: SparseMemory, at: number): number;
  /**
   * Functional: gives the bytes of a read that ends here; returns how many, at least 1, or minus the status
   * with which what stands behind this component failed it.
   */
  load(tlp: Tlp, decision: Decision, into: SparseMemory, at: number): number;
  /** Executes a configuration request that ends here; returns the value read, or 0. */
  configure(ingress: Port, tlp: Tlp, value: number): number;
  /** Takes a message that ends here; its record stays the caller's. */
  message(ingress: Port, tlp: Tlp): void;
  /** The link of `port` is up, perhaps at another rate (see `Port.link`), or down: nothing can be sent then. */
  linkChanged(port: Port, isUp: boolean): void;
}
