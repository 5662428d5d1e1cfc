/**
 * What all components of one machine share: kernel, fidelity, TLP pool, digest, counters and the probe.
 * @module
 */

import { PAGE_SIZE } from '#emu/base/units.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { DmaWatch } from '#emu/pcie/endpoint/dma-watch.ts';
import type { ErrorOptions } from '#emu/pcie/errors/error-registers.ts';
import type { ErrorSite } from '#emu/pcie/errors/error-site.ts';
import type { FabricError } from '#emu/pcie/errors/fabric-error.ts';
import type { Injector } from '#emu/pcie/errors/injector.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { type Tlp, TlpPool } from '#emu/pcie/tlp/tlp.ts';
import { TraceHash } from '#emu/pcie/tlp/trace-hash.ts';
import type { Kernel } from '#emu/sim/kernel.ts';

export type { FabricError } from '#emu/pcie/errors/fabric-error.ts';

export type Fidelity = 'timed' | 'functional';

/** Observation points of the fabric; null when nobody looks. An observer must not touch what it is shown. */
export interface TlpProbe {
  /** A TLP starts on the wire of `port`'s link. Timed fidelity only. */
  sent(port: Port, tlp: Tlp): void;
  /** A TLP, or in functional fidelity a decided piece, reached the component at `path`. */
  delivered(path: string, tlp: Tlp): void;
  /** A component refused a TLP, or missed the completion of its own. */
  refused(path: string, error: FabricError, tlp: Tlp): void;
}

const SCRATCH_BYTES = 3 * PAGE_SIZE;
const DIGEST_PAGE = 2 * PAGE_SIZE;

export class Fabric {
  readonly kernel: Kernel;
  readonly fidelity: Fidelity;
  readonly tlps: TlpPool;
  /** Two pages for accesses that pass through registers, contents good until the next; one for the digest. */
  readonly scratch = new SparseMemory(SCRATCH_BYTES, 'fabric scratch');
  readonly traceHash: TraceHash;
  probe: TlpProbe | null = null;
  dmaWatch: DmaWatch | null = null;
  /** Faults on purpose; null when there are none. */
  injector: Injector | null = null;
  /** Which registers the functions built from now on have to report errors with. */
  errorOptions: ErrorOptions = {};
  /** Functions that report errors, by the path of their port. */
  readonly errorSites = new Map<string, ErrorSite>();
  /** TLPs that reached their target. */
  delivered = 0;
  /** Link crossings. */
  hops = 0;
  #components = 0;
  readonly #errors = new Map<string, number>();

  /** @param maxPayloadBytes the largest payload that any function supports */
  constructor(kernel: Kernel, fidelity: Fidelity, maxPayloadBytes = 512) {
    this.kernel = kernel;
    this.fidelity = fidelity;
    this.traceHash = new TraceHash(kernel.clock, this.scratch.ensureFrame(DIGEST_PAGE));
    this.tlps = new TlpPool(maxPayloadBytes);
  }

  get functional(): boolean {
    return this.fidelity === 'functional';
  }

  /** Number of the next component, for the digest. */
  nextIndex(): number {
    return this.#components++;
  }

  /** Notes a TLP at its target. */
  arrived(path: string, component: number, tlp: Tlp): void {
    this.delivered++;
    const hash = this.traceHash;
    hash.deliver(component, tlp);
    if (tlp.payloadBytes > 0) hash.payload(tlp.payloadAt, tlp.payloadBytes);
    if (this.probe !== null) this.probe.delivered(path, tlp);
  }

  /**
   * Counts and shows a refusal, and reports it in the function that stands at `path`. Whoever answers the TLP with
   * an error does so afterwards.
   */
  refuse(path: string, error: FabricError, tlp: Tlp): void {
    this.#count(path, error);
    if (this.probe !== null) this.probe.refused(path, error, tlp);
    const site = this.errorSites.get(path) ?? this.errorSites.get(tlp.ingress?.path ?? path);
    if (site !== undefined) site.refused(error, tlp);
  }

  /** Reports a poisoned TLP that goes on from `path`. */
  forwardsPoison(path: string, tlp: Tlp): void {
    this.errorSites.get(path)?.forwardsPoison(tlp);
  }

  /** Counts and reports an error of a link or of a function that no TLP came with. */
  fail(path: string, error: FabricError): void {
    this.#count(path, error);
    const site = this.errorSites.get(path);
    if (site !== undefined) site.refused(error, null);
  }

  #count(path: string, error: FabricError): void {
    const key = `${path} ${error}`;
    this.#errors.set(key, (this.#errors.get(key) ?? 0) + 1);
  }

  /** Refusals and failures so far, by `path error`. */
  get errors(): ReadonlyMap<string, number> {
    return this.#errors;
  }

  dispose(): void {
    this.traceHash.seal();
    this.tlps.dispose();
    this.scratch.dispose();
  }
}
