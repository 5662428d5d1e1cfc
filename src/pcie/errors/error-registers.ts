/**
 * Gives the functions of a component what they report errors with: Advanced Error Reporting, the root's
 * registers, containment, and the interrupt of a port. [PCIE] 6.2
 * @module
 */
import { type Bdf, bdf, bdfFromId } from '#emu/base/units.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { type MessageSink, Msi } from '#emu/pcie/config/msi.ts';
import { PortInterrupt } from '#emu/pcie/config/port-interrupt.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import type { RootComplex } from '#emu/pcie/root/root-complex.ts';
import { sendMessage } from '#emu/pcie/tlp/message.ts';
import { FlowClass } from '#emu/pcie/tlp/tlp.ts';
import { MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import { Aer } from './aer.ts';
import type { AerOptions } from './aer-registers.ts';
import { Dpc, type DpcOwner } from './dpc.ts';
import { ErrorMessage } from './error-message.ts';
import { ErrorSite, type ErrorUplink } from './error-site.ts';
import { RootErrors } from './root-errors.ts';

/** Which registers functions have. */
export interface ErrorOptions {
  /** Advanced Error Reporting; default true. */
  readonly aer?: boolean | AerOptions;
  /** Downstream Port Containment of root ports and downstream ports of switches; default true. */
  readonly dpc?: boolean;
}

/** Posted TLPs that wait at a port before an error message more is one with those that wait. */
const MESSAGES_AHEAD = 32;

/** Sends error messages up a link. `Model:` where many wait, more are dropped; registers keep what happened. */
class LinkUplink implements ErrorUplink {
  readonly #owner: { readonly port: Port };
  constructor(owner: { readonly port: Port }) {
    this.#owner = owner;
  }
  receive(message: ErrorMessage, source: Bdf): void {
    const { port } = this.#owner;
    if (port.queued(FlowClass.Posted) >= MESSAGES_AHEAD) return;
    sendMessage(port, message, MessageRouting.ToRoot, source);
  }
}

/** The capability as asked for, or null. */
function addAer(config: ConfigSpace, aer: boolean | AerOptions = true): Aer | null {
  if (aer === false) return null;
  return new Aer(config, aer === true ? {} : aer);
}

/** A function with a link above it: an endpoint's, or the upstream port of a switch. */
interface LinkedFunction {
  /** Where the fabric reports its errors. */
  readonly path: string;
  readonly port: Port;
  readonly config: ConfigSpace;
  /** Requester ID. */
  readonly id: number;
}

/** Makes a function report errors. @param aer default: as the fabric's other functions */
export function addErrorSite(
  fabric: Fabric,
  owner: LinkedFunction,
  aer: boolean | AerOptions | undefined = fabric.errorOptions.aer,
): ErrorSite {
  const { path, config } = owner;
  return new ErrorSite(fabric, {
    path,
    config,
    aer: addAer(config, aer),
    id: () => bdfFromId(owner.id),
    uplink: new LinkUplink(owner),
  });
}

/** A switch as far as its errors are concerned; the upstream port comes first in both. */
interface SwitchParts {
  readonly ports: readonly Port[];
  readonly bridges: readonly ConfigSpace[];
}

/** Makes every port of a switch report errors; those below have an interrupt and can be contained. */
export function addSwitchErrors(fabric: Fabric, { ports, bridges }: SwitchParts): void {
  const upstream = bridges[0]!;
  const above = addErrorSite(fabric, {
    path: ports[0]!.path,
    port: ports[0]!,
    config: upstream,
    get id() {
      return upstream.primary << 8;
    },
  });
  for (const [i, port] of ports.entries()) {
    if (i === 0) continue;
    const config = bridges[i]!;
    const id = (): Bdf => bdf(upstream.secondary, i - 1, 0);
    addPortErrors(port, config, id, above, new PortInterrupt(ports[0]!, config, id));
  }
}

/** Makes every root port report errors, and take those from below. */
export function addRootErrors(
  root: RootComplex,
  signal: (address: number, data: number) => void,
): void {
  const sites = root.ports.map((port, i) => {
    const config = root.bridges[i]!;
    const id = (): Bdf => root.hosts.portId(port);
    const errors = new RootUplink();
    const site = addPortErrors(port, config, id, errors, {
      message: (address, data) => {
        if (config.busMaster) signal(address, data);
      },
    });
    errors.registers = site.aer === null ? null : new RootErrors(config, site.aer);
    if (errors.registers) {
      errors.registers.onInterrupt = (vector) => port.interrupt?.raise(vector);
    }
    return site;
  });
  for (const code of Object.values(ErrorMessage)) {
    root.messages.on(code, ({ index }, { requester }) =>
      sites[index]?.receive(code, bdfFromId(requester)),
    );
  }
}

/** Where messages end: at the root port's registers, if it has any. */
class RootUplink implements ErrorUplink {
  registers: RootErrors | null = null;
  receive(message: ErrorMessage, source: Bdf): void {
    this.registers?.receive(message, source);
  }
}

/** A port with a link below it. */
function addPortErrors(
  port: Port,
  config: ConfigSpace,
  id: () => Bdf,
  uplink: ErrorUplink,
  sink: MessageSink,
): ErrorSite {
  const { fabric, path } = port;
  const { aer, dpc = true } = fabric.errorOptions;
  port.interrupt = new Msi(config, 1, sink);
  const site = new ErrorSite(fabric, { path, config, aer: addAer(config, aer), id, uplink });
  if (dpc) site.contain(new Dpc(config, new Containment(port, site)));
  return site;
}

/** What containment does to a port. */
class Containment implements DpcOwner {
  readonly #port: Port;
  readonly #site: ErrorSite;
  constructor(port: Port, site: ErrorSite) {
    this.#port = port;
    this.#site = site;
  }
  contain(): void {
    this.#port.linkDown();
  }
  release(): void {
    this.#port.linkUp();
  }
  dpcInterrupt(vector: number): void {
    this.#port.interrupt?.raise(vector);
  }
  dpcCorrectable(): void {
    this.#site.send(ErrorMessage.Correctable);
  }
}
