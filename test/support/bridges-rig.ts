/**
 * Booted machines whose devices copy to one another through whatever mapping host software gives them. Builds;
 * asserts nothing but that mapping works. @module
 */
import assert from 'node:assert/strict';
import { type DmaAddr, dmaAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { MachineSpec } from '#emu/host/machine-spec.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { Process } from '#emu/sim/process.ts';
import { BarMemory } from '#test/support/bar-memory.ts';

export class BridgesRig {
  readonly built: Machine;
  readonly #known: ReadonlyMap<string, number>;

  constructor(spec: MachineSpec, fidelity: Fidelity) {
    this.built = machine(spec).build({ fidelity });
    const booted = this.built.boot();
    this.built.kernel.run();
    assert.equal(booted.value, undefined);
    // Enumeration asks for functions that are not there.
    this.#known = new Map(this.built.fabric.errors);
    for (const name of this.names) this.run(this.built.function(name).setBusMaster(true));
  }

  get names(): readonly string[] {
    return [...this.built.endpoints.keys()];
  }

  /** Where requests were refused since the start, and why. */
  get refusals(): readonly string[] {
    const { errors } = this.built.fabric;
    return [...errors.keys()].filter((key) => errors.get(key) !== this.#known.get(key));
  }

  run<T>(process: Process<T>): T {
    const result = this.built.kernel.spawn('test', process);
    this.built.kernel.run();
    return result.value;
  }

  memory(name: string): BarMemory {
    const { model } = this.built.endpoint(name);
    assert.ok(model instanceof BarMemory);
    return model;
  }

  /** BAR 0 of a device as peers list it. */
  barOf(name: string): PhyRangeList {
    const { address, sizeBytes } = this.built.function(name).bar(0);
    return PhyRangeList.of(address, sizeBytes);
  }

  map(client: string, list: PhyRangeList): DmaMapping {
    const mapping = this.built.function(client).dma.map(list, Direction.Bidirectional);
    assert.ok(!isRefusal(mapping), 'refused' in mapping ? mapping.reason : '');
    return mapping;
  }

  unmap(client: string, mapping: DmaMapping): void {
    const done = this.built.function(client).dma.unmap(mapping);
    this.built.kernel.run();
    assert.ok(done.done);
  }

  /** A device reads or writes an address; how that ended. */
  transfer(name: string, isWrite: boolean, address: DmaAddr | number, sizeBytes: number, at = 0) {
    const endpoint = this.built.endpoint(name);
    const { local } = this.memory(name);
    const statuses: number[] = [];
    const client = { dmaDone: (status: number) => statuses.push(status) };
    const target = dmaAddr(address);
    if (isWrite) endpoint.write(target, sizeBytes, local, at, Purpose.Data, client, 0);
    else endpoint.read(target, sizeBytes, local, at, Purpose.Data, client, 0);
    this.built.kernel.run();
    assert.equal(this.built.fabric.tlps.inUse, 0, 'TLP records left over');
    return statuses.at(-1);
  }

  dispose(): void {
    assert.deepEqual(this.built.kernel.outstanding(), []);
    this.built.dispose();
  }
}

/** Bytes that differ from memory to memory. */
export function mark(
  memory: SparseMemory,
  at: number,
  sizeBytes: number,
  seed: number,
): Uint8Array {
  const bytes = Uint8Array.from(
    { length: sizeBytes },
    (_, i) => (i * 31 + seed * 97 + (i >> 8)) & 0xff,
  );
  memory.write(at, bytes);
  return bytes;
}

export function bytesAt(memory: SparseMemory, at: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  memory.read(at, bytes);
  return bytes;
}
