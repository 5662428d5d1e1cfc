/**
 * An exerciser: memory behind a BAR, memory of its own, and an engine that sends what its console asks for, at any
 * address. It has no registers: it is told what to do as laboratory equipment is, not by the host. [PCIE] 2.2, 2.3
 * @module
 */
import { DEFAULT_MEMORY_BYTES, IDENTITY, MEMORY_BAR } from '#devices/exerciser/spec.ts';
import type { DmaAddr } from '#emu/base/units.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Endpoint, type EndpointSpec } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { type DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { RequestAttributes } from '#emu/pcie/tlp/request-attributes.ts';
import type { Pending } from '#emu/sim/pending.ts';

/** What may differ from one exerciser to another, besides what any endpoint may. */
export type ExerciserOptions = Partial<
  Pick<
    EndpointSpec,
    'maxPayloadBytes' | 'tags' | 'tagQuarantine' | 'completerLatencyPs' | 'tenBitCompleter'
  >
> & {
  readonly name?: string;
  /** Behind BAR 0, and as much of its own: a power of two from 4 KiB. Default 1 MiB. */
  readonly memoryBytes?: number;
};

export class ExerciserModel {
  readonly endpoint: Endpoint;
  /** Behind BAR 0, for its peers and the CPU. */
  readonly shown: SparseMemory;
  /** Where its own transfers start and end. */
  readonly local: SparseMemory;
  readonly #fabric: Fabric;

  constructor(fabric: Fabric, path: string, { memoryBytes, ...spec }: ExerciserOptions) {
    const sizeBytes = memoryBytes ?? DEFAULT_MEMORY_BYTES;
    this.#fabric = fabric;
    this.shown = new SparseMemory(sizeBytes, `${path} BAR`);
    this.local = new SparseMemory(sizeBytes, `${path} local`);
    const bar = { index: MEMORY_BAR, sizeBytes, width: 64, prefetchable: true } as const;
    this.endpoint = new Endpoint(fabric, path, {
      ...spec,
      identity: IDENTITY,
      bars: [{ ...bar, target: this.shown }],
      msi: { vectors: 1 },
    });
    this.endpoint.model = this;
    this.endpoint.onDispose = () => {
      this.shown.dispose();
      this.local.dispose();
    };
  }

  /** Reads into its own memory at `at`; completes with what hardware said. A reset of the device loses it. */
  read(from: DmaAddr, sizeBytes: number, at: number): Pending<DmaStatus> {
    const done = this.#fabric.kernel.pending<DmaStatus>(`${this.endpoint.path} read`);
    const client = { dmaDone: (status: DmaStatus) => done.complete(status) };
    this.endpoint.read(from, sizeBytes, this.local, at, Purpose.Data, client, 0);
    return done;
  }

  /** Writes from its own memory at `at`; completes once the bytes are on their way, which says nothing of their arrival. */
  write(to: DmaAddr, sizeBytes: number, at: number): Pending<DmaStatus> {
    const done = this.#fabric.kernel.pending<DmaStatus>(`${this.endpoint.path} write`);
    const client = { dmaDone: (status: DmaStatus) => done.complete(status) };
    this.endpoint.write(to, sizeBytes, this.local, at, Purpose.Data, client, 0);
    return done;
  }

  /** What later transfers say beside address and data. */
  requestAs(attributes: RequestAttributes): void {
    this.endpoint.requestAs(attributes);
  }
}
