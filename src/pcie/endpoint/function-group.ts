/**
 * Several functions behind one port: each request goes to the function that it names or whose BAR claims it.
 * A device of one function needs none. [PCIE] 2.2.4, 6.13, 9.2.1
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Component, Decision } from '#emu/pcie/component.ts';
import { addAri } from '#emu/pcie/config/ari.ts';
import { DeviceIntx } from '#emu/pcie/config/intx-wires.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { ENDPOINT_CREDITS } from '#emu/pcie/link/link.ts';
import { PayloadLimit } from '#emu/pcie/link/payload-limit.ts';
import { Port } from '#emu/pcie/link/port.ts';
import {
  type FlowClass,
  isCompletion,
  isConfigWrite,
  isIo,
  isMemory,
  isMessage,
  isType1Config,
  type Tlp,
} from '#emu/pcie/tlp/tlp.ts';
import type { Endpoint } from './endpoint.ts';

/** Functions without ARI, which all hosts can reach. */
const FUNCTIONS = 8;
const ARI_FUNCTIONS = 256;

export class FunctionGroup implements Component {
  readonly port: Port;
  /** Physical functions by number. */
  readonly functions: readonly Endpoint[];
  readonly #first: Endpoint;
  /** Physical and virtual ones that there may be. */
  readonly #all: readonly Endpoint[];
  /** Those present, by requester ID minus that of function 0. */
  #byOffset: (Endpoint | null)[] = [];
  /** Requester ID of function 0: device number 0 of the bus captured. [PCIE] 2.2.6.2 */
  #base = 0;
  /** Function of the last memory request. */
  #hit: Endpoint;
  /** Function of the last decision: whose path and number the group has. */
  #latest: Endpoint;
  /** Whose turn it is to use the port first. */
  #turn = 0;

  /** @throws USAGE for functions that no requester IDs are left for */
  constructor(fabric: Fabric, functions: readonly Endpoint[], ari: boolean) {
    const [first] = functions;
    const most = ari ? ARI_FUNCTIONS : FUNCTIONS;
    if (!first || functions.length > most) {
      throw usage(
        `functions: expected 1 to ${most}, got ${functions.length}${ari ? '' : ', and no ARI'}`,
      );
    }
    this.port = new Port(fabric, this, 0, first.path, { credits: ENDPOINT_CREDITS });
    this.functions = functions;
    this.#first = first;
    this.#hit = first;
    this.#latest = first;
    const virtual = functions.some(({ sriov }) => sriov !== null);
    const intx = new DeviceIntx(functions.length);
    for (const [i, one] of functions.entries()) {
      one.onIntx = (from, wire, asserted) => intx.set(i, from, wire, asserted);
      if (functions.length > 1) one.config.markMultiFunction();
      if (ari || virtual) addAri(one.config, i + 1 < functions.length ? i + 1 : 0);
      one.join(this.port, i);
    }
    new PayloadLimit(
      this.port,
      functions.map(({ config }) => config),
    );
    this.#all = functions.flatMap((one) => [one, ...this.#virtual(one)]);
    this.#checkIds();
    this.#route();
  }

  get path(): string {
    return this.#latest.path;
  }
  get index(): number {
    return this.#latest.index;
  }

  decide(ingress: Port, tlp: Tlp, out: Decision): void {
    const found = this.#find(tlp);
    this.#latest = found;
    found.decide(ingress, tlp, out);
  }

  receive(ingress: Port, tlp: Tlp): void {
    this.#find(tlp).receive(ingress, tlp);
  }

  /** Offers the port's room to the functions in turn, up to the first that takes it. */
  sent(port: Port, flowClass: FlowClass): void {
    const all = this.#all;
    const count = all.length;
    const queued = port.queued(flowClass);
    let at = this.#turn;
    for (let i = 0; i < count; i++) {
      all[at]!.sent(port, flowClass);
      at = at + 1 < count ? at + 1 : 0;
      if (port.queued(flowClass) > queued) break;
    }
    this.#turn = at;
  }

  linkChanged(port: Port, isUp: boolean): void {
    for (const one of this.#all) one.linkChanged(port, isUp);
  }

  store(tlp: Tlp, decision: Decision, from: SparseMemory, at: number): number {
    return this.#find(tlp).store(tlp, decision, from, at);
  }

  load(tlp: Tlp, decision: Decision, into: SparseMemory, at: number): number {
    return this.#find(tlp).load(tlp, decision, into, at);
  }

  configure(ingress: Port, tlp: Tlp, value: number): number {
    const target = this.#find(tlp);
    return target.configure(ingress, tlp, value);
  }

  message(ingress: Port, tlp: Tlp): void {
    this.#find(tlp).message(ingress, tlp);
  }

  /** The function concerned; function 0 answers for those that are not there. */
  #find(tlp: Tlp): Endpoint {
    if (isMemory(tlp)) return this.#claimant(tlp);
    if (isMessage(tlp)) return this.#byOffset[tlp.targetId - this.#base] ?? this.#first;
    if (isIo(tlp)) return this.#first;
    const isVirtual = isCompletion(tlp) || isType1Config(tlp);
    if (isConfigWrite(tlp) && !isVirtual) this.#base = tlp.targetId & 0xff00;
    const offset = isVirtual ? tlp.targetId - this.#base : tlp.targetId & 0xff;
    return this.#byOffset[offset] ?? this.#first;
  }

  #claimant(tlp: Tlp): Endpoint {
    if (this.#hit.claims(tlp)) return this.#hit;
    for (const one of this.#all) {
      if (!one.claims(tlp)) continue;
      this.#hit = one;
      return one;
    }
    return this.#first;
  }

  #virtual(physical: Endpoint): readonly Endpoint[] {
    const { sriov } = physical;
    if (sriov === null) return [];
    sriov.build();
    sriov.onChange = () => this.#route();
    for (const vf of sriov.vfs) vf.join(this.port, -1);
    return sriov.vfs;
  }

  /** No two functions may have one requester ID, whichever are enabled. */
  #checkIds(): void {
    const owners = new Map<number, string>(this.functions.map(({ path }, i) => [i, path]));
    for (const [number, { sriov }] of this.functions.entries()) {
      for (const [i, { path }] of sriov?.vfs.entries() ?? []) {
        const offset = number + (sriov?.firstOffset ?? 0) + i * (sriov?.stride ?? 0);
        const owner = owners.get(offset);
        if (owner !== undefined) {
          throw usage(
            `sriov: expected a requester ID of its own for ${path}, got that of ${owner}`,
          );
        }
        owners.set(offset, path);
      }
    }
  }

  #route(): void {
    const byOffset: (Endpoint | null)[] = [...this.functions];
    for (const [number, { sriov }] of this.functions.entries()) {
      if (sriov === null) continue;
      for (const [i, vf] of sriov.vfs.slice(0, sriov.enabled).entries()) {
        const offset = number + sriov.firstOffset + i * sriov.stride;
        while (byOffset.length < offset) byOffset.push(null);
        byOffset[offset] = vf;
      }
    }
    this.#byOffset = byOffset;
  }
}
