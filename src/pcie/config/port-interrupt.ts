/**
 * Interrupt messages of a switch's downstream port: memory writes that leave by the upstream port.
 * [PCIE] 6.1.4
 * @module
 */
import type { Bdf, DmaAddr } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import { FunctionalPath } from '#emu/pcie/functional.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { TlpKind } from '#emu/pcie/tlp/tlp.ts';
import type { Target } from '#emu/sim/kernel.ts';
import type { ConfigSpace } from './config-space.ts';
import type { MessageSink } from './msi.ts';

/** Negative: dispatched apart from the classes of the TLP path. */
const DELIVER = -1;
const SIZE_BYTES = 4;

interface Write {
  readonly address: DmaAddr;
  readonly data: number;
}

export class PortInterrupt implements MessageSink, Target {
  readonly path: string;
  readonly #upstream: Port;
  readonly #config: ConfigSpace;
  readonly #id: () => Bdf;
  readonly #functional: FunctionalPath | null;
  /** Functional fidelity: writes that wait for their event. */
  readonly #writes: Write[] = [];

  /** @param config of the downstream port, whose Bus Master Enable gates it */
  constructor(upstream: Port, config: ConfigSpace, id: () => Bdf) {
    const { fabric, path } = upstream;
    this.path = path;
    this.#upstream = upstream;
    this.#config = config;
    this.#id = id;
    this.#functional = fabric.functional ? new FunctionalPath(fabric) : null;
  }

  message(address: DmaAddr, data: number): void {
    const port = this.#upstream;
    const { kernel, tlps } = port.fabric;
    if (!this.#config.busMaster) return;
    if (this.#functional !== null) {
      this.#writes.push({ address, data });
      kernel.schedule(0, this, DELIVER, null);
      return;
    }
    const tlp = tlps.take();
    tlp.kind = TlpKind.MWr;
    tlp.tag = 0;
    tlp.requester = this.#id();
    tlp.address = address;
    tlp.sizeBytes = SIZE_BYTES;
    tlp.purpose = Purpose.Control;
    tlp.flags = 0;
    tlp.seal();
    arena.view.setUint32(tlp.payloadAt, data, true);
    port.send(tlp);
  }

  handle(): void {
    const write = this.#writes.shift();
    if (write === undefined || this.#functional === null) return;
    const { scratch } = this.#upstream.fabric;
    scratch.setU32(0, write.data);
    const id = this.#id();
    this.#functional.write(
      this.#upstream,
      id,
      write.address,
      SIZE_BYTES,
      scratch,
      0,
      Purpose.Control,
    );
  }
}
