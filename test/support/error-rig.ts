/**
 * A booted machine of one switch with two endpoints and a third behind a root port of its own, whose error
 * registers are read by configuration requests. Builds; asserts nothing.
 */
import { type Bdf, bdfFromId, type DmaAddr, dmaAddr } from '#emu/base/units.ts';
import type { ErrorSpec } from '#emu/host/checks/error-check.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import type { PciFunction } from '#emu/host/pci-function.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import {
  BridgeControl,
  CapabilityId,
  Command,
  ExtendedId,
  Header,
  Pcie,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import type { EndpointSpec } from '#emu/pcie/endpoint/endpoint.ts';
import { AerControl, AerRegister } from '#emu/pcie/errors/aer-registers.ts';
import type { FabricError } from '#emu/pcie/errors/fabric-error.ts';
import { type Injection, Injector } from '#emu/pcie/errors/injector.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { FunctionalPath } from '#emu/pcie/functional.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { delay, type Process } from '#emu/sim/process.ts';
import { plainDevice } from '#test/support/plain-device.ts';

/** No device, bridge or memory has this. */
export const NOWHERE: DmaAddr = dmaAddr(0x7_0000_0000_0000);
export const ENDPOINT = 'a';
export const SWITCH_UP = 'sw0';
export const DOWN = 'rc0.port0.sw0.down0';
export const DOWN_B = 'rc0.port0.sw0.down1';
export const ROOT_PORT = 'rc0.port0';

/** AER registers of one function as software reads them. */
export interface AerState {
  readonly uncorrectable: number;
  readonly correctable: number;
  readonly first: number;
  readonly header: readonly number[];
  readonly prefixes: readonly number[];
  readonly rootStatus: number;
  /** Sources of the first correctable and of the first uncorrectable message. */
  readonly sources: readonly [number, number];
}

export class ErrorRig {
  readonly built: Machine;
  readonly local = new SparseMemory(2 ** 20, 'local');
  readonly #injector: Injector;

  constructor(
    fidelity: Fidelity,
    errors: boolean | ErrorSpec,
    endpoint: Partial<EndpointSpec> = {},
    extra: Partial<MachineSpec> = {},
  ) {
    const device = (name: string) => plainDevice(name, undefined, endpoint);
    const ports = [{ device: device('a') }, { device: device('b') }];
    const spec = {
      errors,
      rootPorts: [{ device: pcieSwitch({ ports }) }, { device: device('c') }],
      ...extra,
    };
    this.built = machine(spec).build({ fidelity, seed: 7 });
    this.built.boot();
    this.built.kernel.run();
    for (const name of ['a', 'b', 'c']) this.run(this.fn(name).setBusMaster(true));
    this.#injector = new Injector(this.built.fabric);
  }

  fn(name: string): PciFunction {
    return this.built.function(name);
  }

  run<T>(process: Process<T>): T {
    const result = this.built.kernel.spawn('test', process);
    this.built.kernel.run();
    return result.value;
  }

  /** Port by the path of the function. */
  port(path: string): Port {
    const { root, switches, endpoints } = this.built;
    const ports = [
      ...root.ports,
      ...[...switches.values()].flatMap((one) => one.ports),
      ...[...endpoints.values()].map(({ port }) => port),
    ];
    const found = ports.find(
      ({ path: one }) => one === path || one.endsWith(`.${path}`) || one.endsWith(`.${path}.up`),
    );
    if (!found) throw new RangeError(`no port ${path}`);
    return found;
  }

  inject(injection: Injection): () => number {
    this.built.fabric.injector = this.#injector;
    return this.#injector.add(injection);
  }

  /** Lets an endpoint transfer 64 bytes; returns the status. */
  transfer(isWrite: boolean, address: DmaAddr = NOWHERE, name: string = ENDPOINT): number {
    return this.transferAll([isWrite], address, name)[0] ?? -1;
  }

  /** Lets an endpoint start several transfers at once; returns their statuses. */
  transferAll(
    kinds: readonly boolean[],
    address: DmaAddr = NOWHERE,
    name: string = ENDPOINT,
  ): number[] {
    const endpoint = this.built.endpoint(name);
    const statuses = kinds.map(() => -1);
    const client = {
      dmaDone: (status: number, arg: number): void => {
        statuses[arg] = status;
      },
    };
    for (const [i, isWrite] of kinds.entries()) {
      if (isWrite) endpoint.write(address, 64, this.local, 0, Purpose.Data, client, i);
      else endpoint.read(address, 64, this.local, 0, Purpose.Data, client, i);
    }
    this.built.kernel.run();
    return statuses;
  }

  /** Where endpoint `name` has its BAR on the bus. */
  bar(name: string): DmaAddr {
    return dmaAddr(this.built.pci.node(name).bars[0]?.busAddress ?? 0);
  }

  /** Makes an error without a TLP happen at a port or device. */
  fail(name: string, error: FabricError): void {
    this.built.fabric.fail(this.port(name).path, error);
    this.built.kernel.run();
  }

  /** Lets time pass. */
  *pause(ps: number): Process<void> {
    yield* delay(ps);
  }

  bdf(id: number): Bdf {
    return bdfFromId(id);
  }

  /** Clears Status, and Secondary Status of ports. */
  clearStatus(): void {
    for (const { path, name, isBridge, place } of this.built.pci.nodes) {
      if (!place || place.name === 'host') continue;
      const fn = this.fn(place.isPort ? path : name);
      this.run(fn.configWrite16(Header.Status, 0xf900));
      if (isBridge) this.run(fn.configWrite16(Type1.SecondaryStatus, 0xf900));
    }
  }

  /** A page of host memory that every device reaches. */
  get hostAddress(): DmaAddr {
    return dmaAddr(this.built.map.dram.base + 0x10_0000);
  }

  /** Clears the status registers of a function, as software does. */
  clear(name: string): void {
    this.write(name, AerRegister.UncorrectableStatus, 0xffff_ffff);
    this.write(name, AerRegister.CorrectableStatus, 0xffff_ffff);
  }

  aer(name: string): AerState {
    const words: number[] = [];
    for (let i = 0; i < AerRegister.SIZE; i += 4) words.push(this.read(name, i));
    const at = (register: number): number => words[register / 4] ?? 0;
    const sources = at(AerRegister.CorrectableSource);
    return {
      uncorrectable: at(AerRegister.UncorrectableStatus),
      correctable: at(AerRegister.CorrectableStatus),
      first: AerControl.FirstError.get(at(AerRegister.Control)),
      header: words.slice(AerRegister.HeaderLog / 4, AerRegister.RootCommand / 4),
      prefixes: words.slice(AerRegister.PrefixLog / 4),
      rootStatus: at(AerRegister.RootStatus) & 0x7f,
      sources: [sources & 0xffff, sources >>> 16],
    };
  }

  read(name: string, register: number): number {
    return this.run(this.fn(name).configRead32(this.#aerOf(name) + register));
  }

  write(name: string, register: number, value: number): void {
    this.run(this.fn(name).configWrite32(this.#aerOf(name) + register, value));
  }

  /** Device Status. */
  deviceStatus(name: string): number {
    const fn = this.fn(name);
    return this.run(fn.configRead16(fn.capability(CapabilityId.Pcie) + Pcie.DevSta));
  }

  /** Sets bits of Device Control. */
  setDeviceControl(name: string, value: number): void {
    const fn = this.fn(name);
    this.run(fn.configWrite16(fn.capability(CapabilityId.Pcie) + Pcie.DevCtl, value));
  }

  /** Sets Device Control 2. */
  setDeviceControl2(name: string, value: number): void {
    const fn = this.fn(name);
    this.run(fn.configWrite16(fn.capability(CapabilityId.Pcie) + Pcie.DevCtl2, value));
  }

  /** Sends a 4-byte write of endpoint a as no function would. @param flags `TlpFlag` bits */
  craft(flags: number, address: DmaAddr): void {
    const { fabric, kernel } = this.built;
    const { port, id } = this.built.endpoint(ENDPOINT);
    if (fabric.functional) {
      const path = new FunctionalPath(fabric);
      path.requestAs(flags, 0);
      path.write(port, id, address, 4, this.local, 0, Purpose.Data);
      return;
    }
    const tlp = fabric.tlps.take();
    tlp.kind = TlpKind.MWr;
    tlp.tag = 0;
    tlp.requester = id;
    tlp.address = address;
    tlp.sizeBytes = 4;
    tlp.flags = flags;
    tlp.seal();
    port.send(tlp);
    kernel.run();
  }

  status(name: string, register: number = Header.Status): number {
    return this.run(this.fn(name).configRead16(register)) & 0xf900;
  }

  dispose(): void {
    this.local.dispose();
    this.built.dispose();
  }

  #aerOf(name: string): number {
    return this.fn(name).extendedCapability(ExtendedId.Aer);
  }
}

/** Builds, runs `body`, takes apart. */
export function withErrors(
  fidelity: Fidelity,
  body: (rig: ErrorRig) => void,
  errors: boolean | ErrorSpec = false,
  endpoint?: Partial<EndpointSpec>,
  extra?: Partial<MachineSpec>,
): void {
  const rig = new ErrorRig(fidelity, errors, endpoint, extra);
  try {
    body(rig);
  } finally {
    rig.dispose();
  }
}

/** Device Control: every kind of error is reported. */
export const ALL_REPORTING = 0xf;

/** Root Error Status. [PCIE] 7.8.4.10 */
export const RootBits = {
  Correctable: 0x01,
  ManyCorrectable: 0x02,
  Uncorrectable: 0x04,
  ManyUncorrectable: 0x08,
  FirstFatal: 0x10,
  NonFatal: 0x20,
  Fatal: 0x40,
} as const;

/** Every function above endpoint a and it report everything, and every bridge passes it on. */
export function reportAll(rig: ErrorRig): void {
  for (const name of [ROOT_PORT, SWITCH_UP, DOWN, ENDPOINT]) {
    rig.setDeviceControl(name, ALL_REPORTING);
    if (name !== ENDPOINT) setBridge(rig, name, 1);
  }
}

/** System Error Enable of Bridge Control. */
export function setBridge(rig: ErrorRig, name: string, serr: 0 | 1): void {
  rig.run(rig.fn(name).configWrite16(Type1.BridgeControl, BridgeControl.SERR.of(serr)));
}

/** Bits of Command, added to those that a working function has. */
export function setCommand(rig: ErrorRig, name: string, bits: number): void {
  const command = (Command.MSE.mask | Command.BME.mask) + bits;
  rig.run(rig.fn(name).configWrite16(Header.Command, command));
}

export const idOf = (rig: ErrorRig, name: string): number => rig.fn(name).bdf;
export const bit = (n: number): number => 2 ** n;

/** A fatal error of endpoint a: its own hardware fails. */
export function failFatally(rig: ErrorRig): void {
  rig.write(ENDPOINT, AerRegister.UncorrectableMask, 0);
  rig.fail(ENDPOINT, 'internal-error');
}
