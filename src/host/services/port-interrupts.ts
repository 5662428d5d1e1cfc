/**
 * Interrupts of root ports and downstream ports: one MSI vector each, whose handlers are the services that
 * software runs on the port, as Linux's port driver has them. [PCIE] 6.1.4, 7.7.1
 * @module
 */
import { type DmaAddr, hi32, lo32, type PhysAddr } from '#emu/base/units.ts';
import { ConfigIo, type ConfigPort } from '#emu/host/enumeration/config-io.ts';
import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import { CapabilityId, Msi, MsiControl } from '#emu/pcie/config/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import type { Interrupts } from './interrupts.ts';

export interface PortInterruptHost {
  readonly root: ConfigPort;
  readonly interrupts: Interrupts;
  /** The address at which a port reaches the doorbell. */
  mapDoorbell(node: PciNode, address: PhysAddr): DmaAddr;
}

/** Turns MSI on with one vector that writes `data` to `address`. */
export function* enableOneMsi(
  io: ConfigIo,
  at: number,
  address: DmaAddr,
  data: number,
): Process<void> {
  yield* io.write(at + Msi.AddressLow, 4, lo32(address));
  yield* io.write(at + Msi.AddressHigh, 4, hi32(address));
  yield* io.write(at + Msi.Data, 2, data);
  yield* io.update16(at + Msi.Control, [MsiControl.Allocated, 0], [MsiControl.Enable, 1]);
}

export class PortInterrupts {
  readonly #host: PortInterruptHost;
  readonly #handlers = new Map<PciNode, (() => void)[]>();

  constructor(host: PortInterruptHost) {
    this.#host = host;
  }

  /** Adds a handler to a port's interrupt; false when the port has none. */
  *attach(node: PciNode, handler: () => void): Process<boolean> {
    const at = node.capabilities.get(CapabilityId.Msi);
    if (at === undefined) return false;
    const known = this.#handlers.get(node);
    if (known) {
      known.push(handler);
      return true;
    }
    const handlers = [handler];
    this.#handlers.set(node, handlers);
    const { root, interrupts } = this.#host;
    const run = (): void => {
      for (const one of handlers) one();
    };
    const { address, data } = interrupts.allocate(node.path, run);
    const target = this.#host.mapDoorbell(node, address);
    yield* enableOneMsi(new ConfigIo(root, node.bdf), at, target, data);
    return true;
  }
}
