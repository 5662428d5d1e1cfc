/**
 * What a root complex is made of: memory, host bridges, latencies. Data only.
 * @module
 */
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { HostBridgeOptions } from './host-bridge.ts';
import type { MemoryTiming } from './memory-server.ts';
import type { PeerReadTable } from './peer-reads.ts';
import type { AddressSpan } from './root-router.ts';

export const DEFAULT_ROOT_LATENCY_PS = 100_000;

export interface RootComplexOptions {
  /** Host physical address space. */
  readonly memory: SparseMemory;
  /** Part of it that is DRAM. */
  readonly dram: AddressSpan;
  /** A 4-byte write here raises the interrupt of the number written. */
  readonly doorbell: AddressSpan;
  readonly memoryTiming?: MemoryTiming;
  /** From the tail of a TLP at a root port to the decision, ps. Default 100 ns. */
  readonly latencyPs?: number;
  /** Largest completion of a read from memory, bytes, as far as Max_Payload_Size allows. Default: no limit. */
  readonly completionBytes?: number;
  /** At least one; their buses and windows are disjoint. */
  readonly hostBridges: readonly HostBridgeOptions[];
  /** For policies that take reads over. */
  readonly peerReads?: PeerReadTable;
}
