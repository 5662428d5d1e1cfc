/**
 * Requests of the CPU: configuration and MMIO, to functions of the root complex itself or down as TLPs.
 * [PCIE] 2.2.6, 7.2
 * @module
 */

import { invariant } from '#emu/base/errors.ts';
import { type Bdf, bdfBus, hex, type PhysAddr } from '#emu/base/units.ts';
import { AddressMap } from '#emu/memory/address-map.ts';
import { arena } from '#emu/memory/arena.ts';
import { Type1 } from '#emu/pcie/config/config-registers.ts';
import { CONFIG_RETRY_PS, visibleRetry } from '#emu/pcie/config/config-retry.ts';
import { CONFIG_RETRY } from '#emu/pcie/config/readiness.ts';
import type { BarHandler } from '#emu/pcie/endpoint/bar-space.ts';
import { noteFailedRequest } from '#emu/pcie/errors/error-site.ts';
import type { FabricError } from '#emu/pcie/errors/fabric-error.ts';
import { FunctionalPath } from '#emu/pcie/functional.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { DAMAGED, damageOf } from '#emu/pcie/tlp/damage.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { type Tlp, TlpFlag, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { type Addressed, ROOT_BUS } from './host-bridge.ts';
import { RequestTimeouts } from './request-timeouts.ts';
import type { RootComplex } from './root-complex.ts';

const TAGS = 256;
/** Op of a configuration request to be repeated. */
const AGAIN = -1;
/** An access that stays inside the root complex, ps. */
const INTERNAL_PS = 20_000;
const ALL_ONES: Readonly<Record<number, number>> = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff };

/** A CPU request that waits for its answer. */
class CpuRequest {
  kind: TlpKind = TlpKind.MRd;
  target = 0;
  address = 0;
  size: 1 | 2 | 4 = 4;
  value = 0;
  port: Port | null = null;
  readonly pending: Pending<number>;
  constructor(pending: Pending<number>) {
    this.pending = pending;
  }
}

export class RootRequester implements Target {
  readonly path: string;
  readonly #root: RootComplex;
  readonly #internal = new AddressMap<BarHandler>();
  readonly #functional: FunctionalPath | null;
  readonly #outstanding: (CpuRequest | null)[] = new Array<CpuRequest | null>(TAGS).fill(null);
  /** Tags in the order in which they became free. */
  readonly #freeTags: number[] = Array.from({ length: TAGS }, (_, i) => i);
  readonly #waiting: CpuRequest[] = [];
  readonly #timeouts: RequestTimeouts;
  /** Address of the write being routed. */
  readonly #at: Addressed = { address: 0.5 };

  constructor(root: RootComplex) {
    this.#root = root;
    this.path = `${root.path}.cpu`;
    this.#timeouts = new RequestTimeouts(root.fabric.kernel, this.path, this, TAGS);
    this.#functional = root.fabric.functional ? new FunctionalPath(root.fabric) : null;
  }

  addInternal(base: PhysAddr, sizeBytes: number, handler: BarHandler): void {
    this.#internal.add(base, sizeBytes, handler);
  }

  configRead(target: Bdf, offset: number, size: 1 | 2 | 4): Pending<number> {
    return this.#config(TlpKind.CfgRd1, target, offset, size, 0).pending;
  }

  configWrite(target: Bdf, offset: number, size: 1 | 2 | 4, value: number): Pending<void> {
    const done = this.#root.fabric.kernel.pending<void>(`${this.path} config write`);
    const { pending } = this.#config(TlpKind.CfgWr1, target, offset, size, value);
    pending.onDone(() => done.complete());
    return done;
  }

  mmioRead(address: PhysAddr, size: 1 | 2 | 4): Pending<number> {
    const request = this.#request('MMIO read', TlpKind.MRd, address, size);
    const inside = this.#internal.entryAt(address);
    const port = inside ? undefined : this.#portFor(request);
    if (inside) {
      const at = this.#root.fabric.scratch.ensureFrame(0);
      inside.value.mmioRead(address - inside.base, size, arena.view, at);
      this.#answerLater(request, readValue(at, size), INTERNAL_PS);
    } else if (port === undefined) {
      this.#answerLater(request, ALL_ONES[size] ?? 0, INTERNAL_PS);
    } else {
      this.#dispatch(request, port);
    }
    return request.pending;
  }

  /** A read of I/O space; all ones where nothing answers, as below every endpoint here. [PCIE] 2.2.7 */
  ioRead(address: number, size: 1 | 2 | 4): Pending<number> {
    return this.#io(this.#request('I/O read', TlpKind.IORd, address, size)).pending;
  }

  /** A write to I/O space, which is not posted: done once it is answered. */
  ioWrite(address: number, size: 1 | 2 | 4, value: number): Pending<void> {
    const done = this.#root.fabric.kernel.pending<void>(`${this.path} I/O write`);
    const request = this.#request('I/O write', TlpKind.IOWr, address, size);
    request.value = value;
    this.#io(request).pending.onDone(() => done.complete());
    return done;
  }

  /** To the root port in whose I/O window it lies. It must not cross a DW. */
  #io(request: CpuRequest): CpuRequest {
    const { address, size } = request;
    invariant((address & 3) + size <= 4, `I/O access at ${hex(address)}/${size}`);
    const { bridges, ports } = this.#root;
    const index = bridges.findIndex(
      ({ ioEnable, ioBase, ioLimit }) => ioEnable && address >= ioBase && address <= ioLimit,
    );
    const port = ports[index];
    if (port?.peer) this.#dispatch(request, port);
    else this.#answerLater(request, ALL_ONES[size] ?? 0, INTERNAL_PS);
    return request;
  }

  mmioWrite(address: PhysAddr, size: 1 | 2 | 4 | 8, lo: number, hi: number): void {
    const { fabric } = this.#root;
    const inside = this.#internal.entryAt(address);
    if (inside) {
      const at = fabric.scratch.ensureFrame(0);
      writeValue(at, size, lo, hi);
      return inside.value.mmioWrite(address - inside.base, size, arena.view, at);
    }
    const target = this.#at;
    target.address = address;
    const port = this.#portFor(target);
    if (port === undefined) return;
    if (this.#functional !== null) {
      writeValue(fabric.scratch.ensureFrame(SECOND_PAGE), size, lo, hi);
      const { scratch } = fabric;
      const { Control } = Purpose;
      const id = this.#idOn(port);
      const bus = target.address;
      return this.#functional.write(port, id, bus, size, scratch, SECOND_PAGE, Control);
    }
    const tlp = fabric.tlps.take();
    tlp.kind = TlpKind.MWr;
    tlp.tag = 0;
    tlp.address = target.address;
    tlp.sizeBytes = size;
    this.#own(tlp, port);
    writeValue(tlp.payloadAt, size, lo, hi);
    port.send(tlp);
  }

  /** Takes the completion of a CPU request. */
  complete(tlp: Tlp): void {
    const request = this.#outstanding[tlp.tag] ?? null;
    if (request === null) {
      this.#root.fabric.refuse(this.path, 'unexpected-completion', tlp);
      return;
    }
    const damage = this.#damageOf(request, tlp);
    if (damage === 'ecrc-error') return;
    this.#outstanding[tlp.tag] = null;
    this.#timeouts.stop(tlp.tag);
    this.#freeTags.push(tlp.tag);
    const hasData = tlp.kind === TlpKind.CplD;
    const failed = tlp.status !== 0 || damage !== null;
    if (failed && request.port !== null) this.#noteFailure(request.port, tlp.status);
    const lane = request.kind === TlpKind.MRd ? 0 : request.address & 3;
    const value = hasData ? readValue(tlp.payloadAt + lane, request.size) : 0;
    const isConfig = request.kind >= TlpKind.CfgRd0;
    if (tlp.status === DmaStatus.RequestRetry && isConfig) this.#retry(request);
    else request.pending.complete(failed ? (ALL_ONES[request.size] ?? 0) : value);
    const next = this.#waiting.shift();
    if (next) this.#issue(next);
  }

  /** Reports a damaged completion: poisoned data read as all ones, a bad digest leaves it to the timeout. */
  #damageOf({ port }: CpuRequest, tlp: Tlp): FabricError | null {
    if ((tlp.flags & DAMAGED) === 0 || port === null) return null;
    const { fabric } = this.#root;
    const error = damageOf(fabric, port.path, tlp);
    if (error !== null) fabric.refuse(port.path, error, tlp);
    return error;
  }

  /** Answers what waits for an answer by `port`, whose link is down: all ones. [PCIE] 2.9.1 */
  linkDown(port: Port): void {
    for (const [tag, request] of this.#outstanding.entries()) {
      if (request?.port !== port) continue;
      this.#outstanding[tag] = null;
      this.#timeouts.stop(tag);
      this.#freeTags.push(tag);
      this.#answerLater(request, ALL_ONES[request.size] ?? 0, INTERNAL_PS);
    }
    for (const request of this.#waiting.splice(0)) {
      if (request.port !== port) this.#issue(request);
      else this.#answerLater(request, ALL_ONES[request.size] ?? 0, INTERNAL_PS);
    }
  }

  /** Nothing answered: all ones, and the root port tells. [PCIE] 2.8 */
  expired(tag: number): void {
    const request = this.#outstanding[tag] ?? null;
    if (request === null) return;
    this.#outstanding[tag] = null;
    if (request.port !== null) this.#root.fabric.fail(request.port.path, 'completion-timeout');
    request.pending.complete(ALL_ONES[request.size] ?? 0);
  }

  freed(tag: number): void {
    this.#freeTags.push(tag);
    const next = this.#waiting.shift();
    if (next) this.#issue(next);
  }

  handle(op: number, arg: EventArg): void {
    if (!(arg instanceof CpuRequest)) return;
    if (op === AGAIN && arg.port?.peer) this.#dispatch(arg, arg.port);
    else arg.pending.complete(arg.value);
  }

  /** The function is not ready for configuration requests. [PCIE] 2.3.2 */
  #retry(request: CpuRequest): void {
    const { kind, address, size } = request;
    const bridge = this.#root.bridges[request.port?.index ?? 0]!;
    const isRead = kind === TlpKind.CfgRd0 || kind === TlpKind.CfgRd1;
    const visible = visibleRetry(bridge, isRead, address, size);
    if (visible >= 0) return this.#answerLater(request, visible, 0);
    request.value = isRead ? (ALL_ONES[size] ?? 0) : request.value;
    this.#root.fabric.kernel.schedule(CONFIG_RETRY_PS, this, AGAIN, request);
  }

  #config(kind: TlpKind, target: Bdf, offset: number, size: 1 | 2 | 4, value: number): CpuRequest {
    invariant(
      offset % size === 0 && offset < 4096,
      `configuration access at ${hex(offset)}/${size}`,
    );
    const name = kind === TlpKind.CfgRd1 ? 'config read' : 'config write';
    const request = this.#request(name, kind, offset, size);
    request.target = target;
    request.value = value;
    const bus = bdfBus(target);
    const index = this.#root.hosts.findBus(bus);
    if (index === ROOT_BUS) {
      const answer = this.#configureInternal(request);
      this.#answerLater(request, answer, INTERNAL_PS);
      return request;
    }
    const port = this.#root.ports[index];
    const bridge = this.#root.bridges[index];
    const isDirect = bridge !== undefined && bridge.secondary === bus;
    const isAnotherDevice = isDirect && !bridge.ariForwarding && ((target >>> 3) & 31) !== 0;
    if (!port?.peer || isAnotherDevice) {
      this.#answerLater(request, ALL_ONES[size] ?? 0, INTERNAL_PS);
      return request;
    }
    if (isDirect) request.kind = kind === TlpKind.CfgRd1 ? TlpKind.CfgRd0 : TlpKind.CfgWr0;
    this.#dispatch(request, port);
    return request;
  }

  /** On a root bus: the host bridge and its root ports, without a TLP. */
  #configureInternal(request: CpuRequest): number {
    const { target } = request;
    const config = this.#root.hosts.ofBus(target >>> 8)?.function(target) ?? null;
    if (config === null) return ALL_ONES[request.size] ?? 0;
    if (request.kind === TlpKind.CfgRd1) return config.read(request.address, request.size);
    config.write(request.address, request.size, request.value);
    return 0;
  }

  #request(name: string, kind: TlpKind, address: number, size: 1 | 2 | 4): CpuRequest {
    const { kernel } = this.#root.fabric;
    const request = new CpuRequest(kernel.pending<number>(`${this.path} ${name}`));
    request.kind = kind;
    request.address = address;
    request.size = size;
    return request;
  }

  #dispatch(request: CpuRequest, port: Port): void {
    request.port = port;
    if (this.#functional === null) this.#issue(request);
    else {
      const value = this.#atOnce(this.#functional, request, port);
      if (value === CONFIG_RETRY) this.#retry(request);
      else this.#answerLater(request, value, 0);
    }
  }

  #atOnce(path: FunctionalPath, request: CpuRequest, port: Port): number {
    const { kind, target, address, size, value } = request;
    const ones = ALL_ONES[size] ?? 0;
    const id = this.#idOn(port);
    if (kind !== TlpKind.MRd) {
      const got = path.config(port, id, kind, target, address, size, value);
      if (got === CONFIG_RETRY) return got;
      if (got < 0) this.#noteFailure(port, -got);
      return got < 0 ? ones : got;
    }
    const { scratch } = this.#root.fabric;
    const status = path.read(port, id, address, size, scratch, SECOND_PAGE, Purpose.Control);
    if (status !== 0) this.#noteFailure(port, status);
    return status === 0 ? readValue(scratch.ensureFrame(SECOND_PAGE), size) : ones;
  }

  /** A root port asks for the CPU, so it notes failures. [PCIE] 7.5.1.3.7 */
  #noteFailure({ index }: Port, status: number): void {
    noteFailedRequest(this.#root.bridges[index]!, status, Type1.SecondaryStatus);
  }

  #issue(request: CpuRequest): void {
    const { port } = request;
    if (port === null) return;
    const tag = this.#freeTags.shift();
    if (tag === undefined) {
      this.#waiting.push(request);
      return;
    }
    this.#outstanding[tag] = request;
    this.#timeouts.start(tag, this.#root.bridges[port.index]!.completionTimeoutPs);
    const tlp = this.#root.fabric.tlps.take();
    tlp.kind = request.kind;
    tlp.tag = tag;
    tlp.targetId = request.target;
    tlp.address = request.address;
    tlp.sizeBytes = request.size;
    this.#own(tlp, port);
    if (tlp.payloadBytes > 0) writeValue(tlp.payloadAt, request.size, request.value, 0);
    port.send(tlp);
  }

  #own(tlp: Tlp, port: Port): void {
    tlp.requester = this.#idOn(port);
    tlp.purpose = Purpose.Control;
    const { aer } = this.#root.fabric.errorSites.get(port.path) ?? { aer: null };
    tlp.flags = aer?.ecrcGeneration ? TlpFlag.TD : 0;
    tlp.seal();
  }

  #answerLater(request: CpuRequest, value: number, delayPs: number): void {
    const { fabric } = this.#root;
    request.value = value;
    fabric.kernel.schedule(fabric.functional ? 0 : delayPs, this, 0, request);
  }

  /** Where a CPU address leads; it becomes the address on that port's bus. */
  #portFor(at: Addressed): Port | undefined {
    const port = this.#root.ports[this.#root.hosts.resolve(at)];
    return port?.peer ? port : undefined;
  }

  #idOn(port: Port): Bdf {
    return this.#root.hosts.ofPort(port.index).id;
  }
}

/** Where CPU data lies in the fabric's scratch memory: not where register accesses pass through. */
const SECOND_PAGE = 4096;

function readValue(at: number, size: number): number {
  const { view } = arena;
  if (size === 1) return view.getUint8(at);
  return size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function writeValue(at: number, size: number, lo: number, hi: number): void {
  const { view } = arena;
  if (size === 1) view.setUint8(at, lo);
  else if (size === 2) view.setUint16(at, lo, true);
  else view.setUint32(at, lo, true);
  if (size === 8) view.setUint32(at + 4, hi, true);
}
