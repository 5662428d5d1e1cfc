/**
 * Checks what a topology says about a drive and builds the controller behind a fresh endpoint. [NVMEPCI] 3.1
 * @module
 */

import { CLASS_CODE, DOORBELL_SIZE, DOORBELLS_AT, MIN_PAGE_SIZE } from '#devices/nvme/spec.ts';
import { SglSupport } from '#devices/nvme/spec-identify.ts';
import { usage } from '#emu/base/errors.ts';
import { checkKeys, type KeysOf } from '#emu/base/known-keys.ts';
import { alignUp, PAGE_SIZE } from '#emu/base/units.ts';
import type { BlockStore } from '#emu/memory/block-store.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { type BarHandler, Endpoint, type EndpointSpec } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { Random } from '#emu/sim/random.ts';
import type { Drive } from './command-processor.ts';
import { NvmeController } from './controller.ts';
import { ErrorLog } from './error-log.ts';
import type { DriveIdentity } from './identify.ts';
import { checkTiming, Media, type NvmeTiming, TIMING, type TimingPreset } from './media.ts';
import { Namespace } from './namespace.ts';
import { StagingLayout } from './staging.ts';

export interface NvmeOptions {
  /** Name in paths and reports; default `nvme0`, `nvme1`, ... */
  readonly name?: string;
  /**
   * The blocks. A store stays the caller's to close; one made by a function is the drive's, which makes it
   * when the machine is built and closes it when the machine is disposed.
   */
  readonly store: BlockStore | (() => BlockStore);
  /** Pairs of I/O queues, 1 to 1023; default 16. */
  readonly queues?: number;
  /** Most entries of an I/O queue, 2 to 65536; default 1024. */
  readonly maxQueueEntries?: number;
  /** Largest transfer of a command (MDTS): a power of two from 4 KiB to 256 MiB; default 1 MiB. */
  readonly maxTransferBytes?: number;
  /** SGLs with data blocks of any bytes (default), of whole dwords, or none. */
  readonly sgl?: keyof typeof SGL;
  /** Default `optane`. */
  readonly timing?: TimingPreset | NvmeTiming;
  /** Up to 20 ASCII characters; default made from the path. */
  readonly serial?: string;
  /** Up to 40 ASCII characters. */
  readonly model?: string;
  /** Whether BAR0 may stand above 4 GiB behind a bridge. Default false, as the specification wants it. [NVMEPCI] 3.1 */
  readonly prefetchable?: boolean;
  /** Max_Payload_Size Supported. */
  readonly maxPayloadBytes?: NonNullable<EndpointSpec['maxPayloadBytes']>;
}

/** Not a registered vendor; drivers match by class code. */
const VENDOR_ID = 0x1234;
const DEVICE_ID = 0x4e56;
const FIRMWARE = '1.0';
const MODEL = 'pcie-emu NVMe drive';
/** Drivers refuse less, since BAR0 bits 13:4 used to be reserved. [NVMEPCI] 3.1 */
const MIN_BAR_SIZE = 16384;
const MSIX_ENTRY_SIZE = 16;
const MSIX_PENDING_SIZE = 8;
const VECTORS_PER_PENDING = 64;
const SGL = {
  byte: SglSupport.Byte,
  dword: SglSupport.Dword,
  none: SglSupport.None,
} as const satisfies Record<string, SglSupport>;
const MIB = 2 ** 20;
const MAX_TRANSFER: number = 256 * MIB;
const PRINTABLE = /^[\x20-\x7e]*$/;

/** Options with every default filled in. */
interface Checked {
  readonly queues: number;
  readonly maxQueueEntries: number;
  readonly maxTransferBytes: number;
  readonly sgl: SglSupport;
  readonly timing: NvmeTiming;
}

const KEYS: KeysOf<NvmeOptions> = {
  name: true,
  store: true,
  queues: true,
  maxQueueEntries: true,
  maxTransferBytes: true,
  sgl: true,
  timing: true,
  serial: true,
  model: true,
  prefetchable: true,
  maxPayloadBytes: true,
};

/** Fills in defaults. @throws USAGE */
export function checkOptions(options: NvmeOptions): Checked {
  checkKeys('nvme', options, KEYS);
  const { store } = options;
  if (typeof store !== 'function' && (typeof store !== 'object' || store === null)) {
    throw usage(
      `nvme store: expected a BlockStore or a function that makes one, got ${String(store)}`,
    );
  }
  const { queues = 16, maxQueueEntries = 1024, maxTransferBytes = MIB } = options;
  integer('queues', queues, 1, 1023);
  integer('maxQueueEntries', maxQueueEntries, 2, 65536);
  integer('maxTransferBytes', maxTransferBytes, MIN_PAGE_SIZE, MAX_TRANSFER);
  if (maxTransferBytes & (maxTransferBytes - 1)) {
    throw usage(`nvme maxTransferBytes: expected a power of two, got ${maxTransferBytes}`);
  }
  text('serial', options.serial, 20);
  text('model', options.model, 40);
  const { timing: named = 'optane' } = options;
  const timing = typeof named === 'string' ? TIMING[named] : named;
  if (!timing)
    throw usage(`nvme timing: expected ${Object.keys(TIMING).join(' or ')}, got '${named}'`);
  checkTiming(timing);
  const sgl = SGL[options.sgl ?? 'byte'];
  if (sgl === undefined) {
    throw usage(`nvme sgl: expected ${Object.keys(SGL).join(' or ')}, got '${options.sgl}'`);
  }
  return { queues, maxQueueEntries, maxTransferBytes, sgl, timing };
}

/** Builds the controller and its endpoint, whose `model` it is. */
export function buildDrive(
  options: NvmeOptions,
  checked: Checked,
  fabric: Fabric,
  path: string,
): Endpoint {
  const { store: given, maxPayloadBytes } = options;
  const store = typeof given === 'function' ? given() : given;
  checkStore(store);
  const vectors = checked.queues + 1;
  const layout = new StagingLayout(checked.queues + 1, checked.maxQueueEntries);
  const drive: Drive = {
    identity: identityOf(options, path),
    namespace: new Namespace(store),
    media: new Media(checked.timing),
    errors: new ErrorLog(),
    staging: new SparseMemory(layout.sizeBytes, `${path} staging`),
    layout,
    ioQueues: checked.queues,
    vectors,
    maxTransferBytes: checked.maxTransferBytes,
    sgl: checked.sgl,
  };
  const door = new BarDoor();
  const endpoint = new Endpoint(fabric, path, {
    ...functionOf(vectors, door, options.prefetchable ?? false),
    ...(maxPayloadBytes === undefined ? {} : { maxPayloadBytes }),
  });
  const { maxQueueEntries } = checked;
  const controller = new NvmeController(endpoint, { drive, maxQueueEntries });
  door.controller = controller;
  endpoint.model = controller;
  endpoint.onDispose = () => {
    drive.staging.dispose();
    if (typeof given === 'function') store.close();
  };
  return endpoint;
}

/** Stands in BAR0 until the controller, which needs the endpoint, is there. */
class BarDoor implements BarHandler {
  controller: NvmeController | null = null;

  mmioRead(offset: number, size: number, out: DataView, at: number): void {
    this.controller?.mmioRead(offset, size, out, at);
  }
  mmioWrite(offset: number, size: number, data: DataView, at: number): void {
    this.controller?.mmioWrite(offset, size, data, at);
  }
}

/** The PCI function: BAR0 holds properties, doorbells, MSI-X table and pending bits, in this order. */
function functionOf(vectors: number, door: BarDoor, prefetchable: boolean): EndpointSpec {
  const doorbells = 2 * vectors * DOORBELL_SIZE;
  const tableOffset = alignUp(DOORBELLS_AT + doorbells, PAGE_SIZE);
  const pbaOffset = alignUp(tableOffset + vectors * MSIX_ENTRY_SIZE, PAGE_SIZE);
  const pending = Math.ceil(vectors / VECTORS_PER_PENDING) * MSIX_PENDING_SIZE;
  let sizeBytes = MIN_BAR_SIZE;
  while (sizeBytes < pbaOffset + pending) sizeBytes *= 2;
  return {
    identity: {
      vendorId: VENDOR_ID,
      deviceId: DEVICE_ID,
      classCode: CLASS_CODE,
      subsystemVendorId: VENDOR_ID,
      subsystemId: DEVICE_ID,
    },
    bars: [{ index: 0, sizeBytes, width: 64, prefetchable, target: door }],
    msix: { vectors, bar: 0, tableOffset, pbaOffset },
  };
}

/** Identifiers are drawn from the path, so that each drive of a machine has its own and keeps it. */
function identityOf(options: NvmeOptions, path: string): DriveIdentity {
  const uniqueId = new Uint8Array(16);
  new Random(0, `nvme ${path}`).fill(uniqueId);
  // Version 4, variant 1, as a UUID of random bits has.
  uniqueId[6] = (uniqueId[6]! & 0x0f) | 0x40;
  uniqueId[8] = (uniqueId[8]! & 0x3f) | 0x80;
  const digits = [...uniqueId.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, '0'));
  return {
    vendorId: VENDOR_ID,
    subsystemVendorId: VENDOR_ID,
    serial: options.serial ?? `EMU${digits.join('').toUpperCase()}`,
    model: options.model ?? MODEL,
    firmware: FIRMWARE,
    uniqueId,
  };
}

function checkStore(store: BlockStore): void {
  const { blockSizeBytes } = store;
  if (blockSizeBytes !== 512 && blockSizeBytes !== 4096) {
    throw usage(`nvme store: expected blocks of 512 or 4096 bytes, got ${blockSizeBytes}`);
  }
}

function integer(key: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw usage(`nvme ${key}: expected an integer of ${min} to ${max}, got ${value}`);
}

function text(key: string, value: string | undefined, limit: number): void {
  if (value === undefined || (value.length <= limit && PRINTABLE.test(value))) return;
  throw usage(`nvme ${key}: expected up to ${limit} printable ASCII characters, got '${value}'`);
}
