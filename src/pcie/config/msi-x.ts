/**
 * MSI-X: capability, vector table and pending bit array as memory of a BAR. Sending is the owner's. [PCIE] 7.7.2
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { TOO_LARGE, U64 } from '#emu/base/layout.ts';
import type { DmaAddr } from '#emu/base/units.ts';
import {
  CapabilityId,
  MsiXEntry as Entry,
  MsiXControl,
  MsiXEntryControl,
  MsiXLocation,
  MsiX as Offset,
} from './config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from './config-space.ts';
import type { MessageSink } from './msi.ts';

export interface MsixOptions {
  /** 1 to 2048. */
  readonly vectors: number;
  /** BAR that holds the table and the pending bits. */
  readonly bar: number;
  /** Multiples of 8. */
  readonly tableOffset: number;
  readonly pbaOffset: number;
}

const Address = new U64<DmaAddr>(Entry.AddressLow);
/** Bytes of an entry that software may change; address bits 1:0 and reserved control bits stay 0. */
const WRITABLE = Uint8Array.of(
  0xfc,
  255,
  255,
  255,
  255,
  255,
  255,
  255,
  255,
  255,
  255,
  255,
  1,
  0,
  0,
  0,
);

/** Appends an MSI-X capability. [PCIE] 7.7.2 */
export function addMsix(config: ConfigSpace, options: MsixOptions): number {
  const at = config.append(CapabilityId.MsiX, Offset.SIZE);
  config.define({
    name: 'MsiXControl',
    offset: at + Offset.Control,
    width: 16,
    reset: MsiXControl.TableSize.of(options.vectors - 1),
    writable: MsiXControl.FunctionMask.mask | MsiXControl.Enable.mask,
  });
  const location = (offset: number): number => MsiXLocation.Bir.put(offset, options.bar);
  const table = location(options.tableOffset);
  config.define({ name: 'MsiXTable', offset: at + Offset.Table, width: 32, reset: table });
  const pba = location(options.pbaOffset);
  config.define({ name: 'MsiXPba', offset: at + Offset.Pba, width: 32, reset: pba });
  return at;
}

/** Interrupt state behind an MSI-X capability. Vectors come up masked. */
export class Msix implements ConfigWatcher {
  readonly vectors: number;
  readonly bar: number;
  readonly tableOffset: number;
  readonly tableBytes: number;
  readonly pbaOffset: number;
  readonly pbaBytes: number;
  /** Decoded: whether software enabled MSI-X. */
  enabled = false;
  readonly #config: ConfigSpace;
  readonly #at: number;
  readonly #sink: MessageSink;
  readonly #table: DataView;
  readonly #pba: DataView;
  #functionMask = false;

  /** @throws INVARIANT when the table or the pending bits do not fit or overlap. */
  constructor(config: ConfigSpace, options: MsixOptions, sink: MessageSink) {
    const { vectors } = options;
    invariant(vectors >= 1 && vectors <= 2048, `MSI-X with ${vectors} vectors`);
    this.vectors = vectors;
    this.bar = options.bar;
    this.tableOffset = options.tableOffset;
    this.tableBytes = vectors * Entry.SIZE;
    this.pbaOffset = options.pbaOffset;
    this.pbaBytes = Math.ceil(vectors / 64) * 8;
    this.#config = config;
    this.#sink = sink;
    this.#table = new DataView(new ArrayBuffer(this.tableBytes));
    this.#pba = new DataView(new ArrayBuffer(this.pbaBytes));
    this.#checkPlace();
    this.#at = addMsix(config, options);
    config.watch(this.#at, Offset.SIZE, this);
    this.configReset();
  }

  /** Signals a vector: sends its message, or sets its pending bit when masked. False when MSI-X is off. */
  raise(vector: number): boolean {
    if (!this.enabled) return false;
    if (vector >= this.vectors) return true;
    if (this.#functionMask || this.#masked(vector)) this.#setPending(vector, 1);
    else this.#send(vector);
    return true;
  }

  /** Whether an access to BAR `bar` touches the table or the pending bits. */
  claims(bar: number, offset: number, size: number): boolean {
    if (bar !== this.bar) return false;
    const end = offset + size;
    return (
      (offset < this.tableOffset + this.tableBytes && end > this.tableOffset) ||
      (offset < this.pbaOffset + this.pbaBytes && end > this.pbaOffset)
    );
  }

  /** Fills in the bytes of the access that lie in the table or the pending bits, and leaves the others. */
  mmioRead(offset: number, size: number, out: DataView, at: number): void {
    for (let i = 0; i < size; i++) {
      const inTable = offset + i - this.tableOffset;
      const inPba = offset + i - this.pbaOffset;
      if (inTable >= 0 && inTable < this.tableBytes)
        out.setUint8(at + i, this.#table.getUint8(inTable));
      else if (inPba >= 0 && inPba < this.pbaBytes) out.setUint8(at + i, this.#pba.getUint8(inPba));
    }
  }

  /** Writes the bytes of the access that lie in the table; pending bits are read-only. */
  mmioWrite(offset: number, size: number, data: DataView, at: number): void {
    const from = Math.max(offset, this.tableOffset) - this.tableOffset;
    const limit = Math.min(offset + size - this.tableOffset, this.tableBytes);
    const shift = at + this.tableOffset - offset;
    for (let i = from; i < limit; i++) {
      this.#table.setUint8(i, data.getUint8(shift + i) & (WRITABLE[i % Entry.SIZE] ?? 0));
    }
    if (this.#functionMask || !this.enabled) return;
    for (let vector = Math.floor(from / Entry.SIZE); vector * Entry.SIZE < limit; vector++) {
      this.#fire(vector);
    }
  }

  /** Decodes the capability again, and sends what is pending and no longer masked. */
  configWritten(): void {
    const control = this.#config.read(this.#at + Offset.Control, 2);
    this.enabled = MsiXControl.Enable.get(control) === 1;
    this.#functionMask = MsiXControl.FunctionMask.get(control) === 1;
    if (this.#functionMask || !this.enabled) return;
    for (let vector = 0; vector < this.vectors; vector++) this.#fire(vector);
  }

  /** Masks every vector and drops what is pending. */
  configReset(): void {
    for (let at = 0; at < this.tableBytes; at += Entry.SIZE) {
      for (let i = 0; i < Entry.SIZE; i += 4) this.#table.setUint32(at + i, 0, true);
      this.#table.setUint32(at + Entry.Control, MsiXEntryControl.Mask.mask, true);
    }
    for (let at = 0; at < this.pbaBytes; at++) this.#pba.setUint8(at, 0);
    this.configWritten();
  }

  #fire(vector: number): void {
    if (!this.#pendingBit(vector) || this.#masked(vector)) return;
    this.#setPending(vector, 0);
    this.#send(vector);
  }

  #masked(vector: number): boolean {
    const control = this.#table.getUint32(vector * Entry.SIZE + Entry.Control, true);
    return MsiXEntryControl.Mask.get(control) === 1;
  }

  #pendingBit(vector: number): number {
    return (this.#pba.getUint8(vector >>> 3) >>> (vector & 7)) & 1;
  }

  #setPending(vector: number, value: 0 | 1): void {
    const bit = 1 << (vector & 7);
    const old = this.#pba.getUint8(vector >>> 3);
    this.#pba.setUint8(vector >>> 3, value ? old | bit : old & ~bit);
  }

  #send(vector: number): void {
    const at = vector * Entry.SIZE;
    const address = Address.get(this.#table, at);
    if (address === TOO_LARGE) return;
    this.#sink.message(address, this.#table.getUint32(at + Entry.Data, true));
  }

  #checkPlace(): void {
    const { tableOffset, tableBytes, pbaOffset, pbaBytes } = this;
    const bar = this.#config.bars.find((candidate) => candidate.index === this.bar);
    invariant(bar !== undefined, `MSI-X in BAR${this.bar}, which is not there`);
    const aligned = tableOffset % 8 === 0 && pbaOffset % 8 === 0;
    const inside =
      tableOffset + tableBytes <= bar.sizeBytes && pbaOffset + pbaBytes <= bar.sizeBytes;
    const apart = tableOffset + tableBytes <= pbaOffset || pbaOffset + pbaBytes <= tableOffset;
    invariant(
      aligned && inside && apart,
      `MSI-X table or pending bits misplaced in BAR${this.bar}`,
    );
  }
}
