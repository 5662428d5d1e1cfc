/**
 * Notes where every request of a run was delivered and that every completion came once, from the fabric's probe.
 * Collects; asserts nothing. @module
 */
import type { Fabric, TlpProbe } from '#emu/pcie/fabric.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { isCompletion, isConfig, isMemory, type Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';

/** What arrived where. */
export interface Delivery {
  readonly path: string;
  readonly kind: number;
  readonly requester: number;
  /** Of a configuration request: its target. */
  readonly address: number;
  readonly sizeBytes: number;
}

export class DeliveryWatch implements TlpProbe {
  readonly deliveries: Delivery[] = [];
  /** What was wrong with completions. */
  readonly faults: string[] = [];
  /** Bytes that requests on their way still wait for, by requester and tag. */
  readonly #open = new Map<string, number>();
  /** Whether a request starts at a port; never in functional fidelity, which shows no sending. */
  readonly #starts: ((port: Port, tlp: Tlp) => boolean) | null;
  /** Requests with a completion that had no way home: they end by their timeout. */
  readonly #lost = new Set<string>();

  constructor(fabric: Fabric, starts: (port: Port, tlp: Tlp) => boolean) {
    this.#starts = fabric.functional ? null : starts;
    fabric.probe = this;
  }

  /** Requests that nobody has answered, but those whose answer had no way home. */
  get unanswered(): number {
    return this.#open.size;
  }

  sent(port: Port, tlp: Tlp): void {
    if (isCompletion(tlp) || tlp.kind === TlpKind.MWr || !this.#starts?.(port, tlp)) return;
    const key = `${tlp.requester}/${tlp.tag}`;
    if (this.#open.has(key)) this.faults.push(`${key} is used twice`);
    this.#lost.delete(key);
    this.#open.set(key, tlp.sizeBytes);
  }

  delivered(path: string, tlp: Tlp): void {
    const { kind, requester, sizeBytes } = tlp;
    if (isMemory(tlp) || isConfig(tlp)) {
      const address = isConfig(tlp) ? tlp.targetId : tlp.address;
      this.deliveries.push({ path, kind, requester, address, sizeBytes });
    } else if (isCompletion(tlp) && this.#starts !== null) this.#complete(path, tlp);
  }

  refused(path: string, error: string, tlp: Tlp): void {
    if (!isCompletion(tlp) || this.#starts === null) return;
    const key = `${tlp.targetId}/${tlp.tag}`;
    const isLost = this.#open.delete(key) || this.#lost.has(key);
    if (isLost) this.#lost.add(key);
    if (!isLost || error !== 'unexpected-completion') {
      this.faults.push(`${path} refused a completion of ${key}: ${error}`);
    }
  }

  #complete(path: string, tlp: Tlp): void {
    const key = `${tlp.targetId}/${tlp.tag}`;
    const left = this.#open.get(key);
    if (left === undefined) {
      this.faults.push(`${path} got a completion for ${key}, which waits for none`);
    } else if (tlp.kind === TlpKind.CplD && tlp.sizeBytes < left) {
      if (tlp.byteCount !== left)
        this.faults.push(`${key}: byte count ${tlp.byteCount} of ${left}`);
      this.#open.set(key, left - tlp.sizeBytes);
    } else this.#open.delete(key);
  }
}
