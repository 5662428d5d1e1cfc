/**
 * A drive as host software uses it: reads, writes and flushes of blocks through mapped memory. Opened by
 * {@link openNvme}. [NVMECS] 3.2
 * @module
 */

import { IoOpcode, RwCdw12 } from '#devices/nvme/spec.ts';
import { usage } from '#emu/base/errors.ts';
import { hi32, lo32 } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import type { DmaMapping } from '#emu/dma/mapping.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';
import { RangeReader } from './data-ranges.ts';
import type { DescriptorPolicy } from './descriptors.ts';
import { type DescriptorCounts, Dispatcher } from './dispatcher.ts';
import type { DriverHost } from './host-access.ts';
import type { ControllerIdentity, NamespaceIdentity } from './identity.ts';
import { IoCommand } from './io-command.ts';
import { LatencyLog } from './latency-log.ts';
import type { QueuePair } from './queue-pair.ts';
import type { NvmeResult } from './result.ts';
import { Transfer, type TransferResult } from './transfer.ts';

/** Where data lies: a mapping, or ranges of one or several; `offset` bytes of them are skipped. */
export interface IoMemory {
  readonly mapping?: DmaMapping;
  readonly ranges?: DmaRangeList;
  readonly offset?: number;
}

export interface IoRequest extends IoMemory {
  readonly block: number;
  readonly count: number;
}

export interface TransferRequest extends IoMemory {
  readonly direction: 'read' | 'write';
  readonly block: number;
  /** Multiple of the block size; default: all of the memory after `offset`. */
  readonly sizeBytes?: number;
  /** Bytes of one command, a multiple of the block size; more than MDTS is cut to it. Default: MDTS. */
  readonly commandBytes?: number;
  /** Commands outstanding; default and most: those of the drive. */
  readonly queueDepth?: number;
  /** Called with the bytes moved so far. */
  readonly onProgress?: (bytes: number) => void;
}

/** What bring-up found and made. */
export interface DriveParts {
  readonly name: string;
  readonly host: DriverHost;
  readonly controller: ControllerIdentity;
  readonly namespace: NamespaceIdentity;
  readonly pairs: readonly QueuePair[];
  readonly maxTransferBytes: number;
  /** Commands outstanding on each pair. */
  readonly queueDepth: number;
  readonly descriptors: DescriptorPolicy;
  /** Takes everything down again, once nothing is outstanding. */
  readonly shutDown: () => Process<void>;
}

const IDLE_POLL_PS = 1e6;

export class NvmeDrive {
  readonly name: string;
  readonly identity: ControllerIdentity;
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  readonly readOnly: boolean;
  /** Largest command: the controller's MDTS or the driver's own limit. */
  readonly maxTransferBytes: number;
  /** Commands that may be outstanding at once, over all queue pairs. */
  readonly queueDepth: number;
  /** Latency of every I/O command so far. */
  readonly latencies = new LatencyLog();
  readonly #parts: DriveParts;
  readonly #dispatcher: Dispatcher;
  #closing: Pending<void> | null = null;

  constructor(parts: DriveParts) {
    this.name = parts.name;
    this.identity = parts.controller;
    this.blockSizeBytes = parts.namespace.blockSizeBytes;
    this.blockCount = parts.namespace.blockCount;
    this.readOnly = parts.namespace.readOnly;
    this.maxTransferBytes = parts.maxTransferBytes;
    this.queueDepth = parts.queueDepth * parts.pairs.length;
    this.#parts = parts;
    this.#dispatcher = new Dispatcher(parts.pairs, parts.descriptors);
  }

  /** Commands so far by how their data was described. */
  get descriptors(): Readonly<DescriptorCounts> {
    return this.#dispatcher.counts;
  }

  /** Maps memory for the drive. */
  get dma(): DmaDevice {
    return this.#parts.host.dma;
  }

  /**
   * Reads blocks into memory mapped FromDevice. Memory that the drive cannot be told of gives the status `refused`.
   * @throws USAGE for a request larger than MDTS or its memory
   */
  read(request: IoRequest): Pending<NvmeResult> {
    return this.#io('nvme read', IoOpcode.Read, request);
  }

  /** Writes blocks from memory mapped ToDevice. @throws USAGE as {@link read} */
  write(request: IoRequest): Pending<NvmeResult> {
    return this.#io('nvme write', IoOpcode.Write, request);
  }

  /** Makes every completed write durable. */
  flush(): Pending<NvmeResult> {
    const pending = this.#kernel.pending<NvmeResult>('nvme flush');
    const command = new IoCommand(this.#dispatcher, this.latencies, pending, null, 0);
    command.fields.clear(IoOpcode.Flush, this.#parts.namespace.nsid);
    this.#start(() => this.#dispatcher.enqueue(command));
    return pending;
  }

  /** Moves a large amount as several commands. @throws USAGE */
  transfer(request: TransferRequest): Pending<TransferResult> {
    const { blockSizeBytes } = this;
    const { offset = 0, onProgress = null } = request;
    const ranges = rangesOf(request);
    const sizeBytes = request.sizeBytes ?? ranges.sizeBytes - offset;
    const wanted = request.commandBytes ?? this.maxTransferBytes;
    this.#checkWhole('sizeBytes', sizeBytes, 0);
    this.#checkWhole('commandBytes', wanted, blockSizeBytes);
    checkFits(ranges, offset, sizeBytes);
    const depth = Math.min(request.queueDepth ?? this.queueDepth, this.queueDepth);
    if (!(depth >= 1)) throw usage(`${this.name} queueDepth: expected 1 or more, got ${depth}`);
    const pending = this.#kernel.pending<TransferResult>(`nvme ${request.direction} transfer`);
    const plan = {
      opcode: request.direction === 'read' ? IoOpcode.Read : IoOpcode.Write,
      nsid: this.#parts.namespace.nsid,
      block: request.block,
      commandBytes: Math.min(wanted, this.maxTransferBytes),
      ...{ blockSizeBytes, ranges, offset, sizeBytes, depth, onProgress },
    };
    const { latencies } = this;
    const transfer = new Transfer(plan, this.#kernel, this.#dispatcher, latencies, pending);
    this.#start(() => transfer.start());
    return pending;
  }

  /** Waits for what is outstanding, deletes the queues, shuts the controller down and frees the memory. */
  close(): Pending<void> {
    this.#closing ??= this.#kernel.spawn(`${this.name} close`, this.#close());
    return this.#closing;
  }

  *#close(): Process<void> {
    while (!this.#dispatcher.idle) yield IDLE_POLL_PS;
    yield* this.#parts.shutDown();
  }

  #io(name: string, opcode: number, request: IoRequest): Pending<NvmeResult> {
    const { block, count, offset = 0 } = request;
    const sizeBytes = count * this.blockSizeBytes;
    if (!(Number.isInteger(count) && count >= 1 && sizeBytes <= this.maxTransferBytes)) {
      const most = this.maxTransferBytes / this.blockSizeBytes;
      throw usage(`${this.name} count: expected 1 to ${most} blocks, got ${count}`);
    }
    const ranges = rangesOf(request);
    checkFits(ranges, offset, sizeBytes);
    const reader = new RangeReader();
    reader.start(ranges, offset);
    const pending = this.#kernel.pending<NvmeResult>(name);
    const command = new IoCommand(this.#dispatcher, this.latencies, pending, reader, sizeBytes);
    const fields = command.fields.clear(opcode, this.#parts.namespace.nsid);
    fields.cdw10 = lo32(block);
    fields.cdw11 = hi32(block);
    fields.cdw12 = RwCdw12.NLB.of(count - 1);
    this.#start(() => this.#dispatcher.enqueue(command));
    return pending;
  }

  #start(begin: () => void): void {
    if (this.#closing) throw usage(`${this.name}: the drive is closed`);
    begin();
  }

  #checkWhole(key: string, value: number, min: number): void {
    if (Number.isSafeInteger(value) && value >= min && value % this.blockSizeBytes === 0) return;
    const expected = `a multiple of ${this.blockSizeBytes}, at least ${min}`;
    throw usage(`${this.name} ${key}: expected ${expected}, got ${value}`);
  }

  get #kernel(): DriverHost['kernel'] {
    return this.#parts.host.kernel;
  }
}

function rangesOf({ mapping, ranges }: IoMemory): DmaRangeList {
  const list = ranges ?? mapping?.ranges;
  if (!list) throw usage('nvme request: expected a mapping or ranges, got neither');
  return list;
}

function checkFits(ranges: DmaRangeList, offset: number, sizeBytes: number): void {
  if (offset >= 0 && offset + sizeBytes <= ranges.sizeBytes) return;
  const need = `${sizeBytes} bytes at offset ${offset}`;
  throw usage(`nvme request: expected memory for ${need}, got ${ranges.sizeBytes} bytes`);
}
