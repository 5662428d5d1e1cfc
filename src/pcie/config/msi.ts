/**
 * MSI: capability and the mask and pending logic behind it. Sending the message is the owner's. [PCIE] 7.7.1
 * @module
 */
import { TOO_LARGE, U64 } from '#emu/base/layout.ts';
import { type DmaAddr, lo32 } from '#emu/base/units.ts';
import { CapabilityId, MsiControl, Msi as Offset } from './config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from './config-space.ts';

/** Takes interrupt messages: a 4-byte posted write of `data` to `address`. [PCIE] 6.1.4 */
export interface MessageSink {
  message(address: DmaAddr, data: number): void;
}

const Address = new U64<DmaAddr>(Offset.AddressLow);

/** Appends a 64-bit MSI capability with per-vector masking; `vectors` is a power of two up to 32. */
export function addMsi(config: ConfigSpace, vectors: number): number {
  const at = config.append(CapabilityId.Msi, Offset.SIZE);
  config.define({
    name: 'MsiControl',
    offset: at + Offset.Control,
    width: 16,
    reset:
      MsiControl.Capable.of(31 - Math.clz32(vectors)) |
      MsiControl.Address64.of(1) |
      MsiControl.Maskable.of(1),
    writable: MsiControl.Enable.mask | MsiControl.Allocated.mask,
  });
  const dword = (name: string, offset: number, writable: number) =>
    config.define({ name, offset: at + offset, width: 32, writable });
  dword('MsiAddressLow', Offset.AddressLow, 0xffff_fffc);
  dword('MsiAddressHigh', Offset.AddressHigh, 0xffff_ffff);
  config.define({ name: 'MsiData', offset: at + Offset.Data, width: 16, writable: 0xffff });
  dword('MsiMask', Offset.Mask, lo32(2 ** vectors - 1));
  dword('MsiPending', Offset.Pending, 0);
  return at;
}

/** Interrupt state behind an MSI capability. */
export class Msi implements ConfigWatcher {
  /** Decoded: whether software enabled MSI. */
  enabled = false;
  readonly #config: ConfigSpace;
  readonly #at: number;
  readonly #sink: MessageSink;
  /** Vectors that software allocated. */
  #allocated = 1;
  #mask = 0;

  constructor(config: ConfigSpace, vectors: number, sink: MessageSink) {
    this.#config = config;
    this.#at = addMsi(config, vectors);
    this.#sink = sink;
    config.watch(this.#at, Offset.SIZE, this);
    this.configWritten();
  }

  /**
   * Signals a vector: sends its message, or sets its pending bit when masked. False when MSI is off. A vector
   * beyond the allocated ones shares the allocated one of its low bits.
   */
  raise(vector: number): boolean {
    if (!this.enabled) return false;
    const shared = vector & (this.#allocated - 1);
    if ((this.#mask >>> shared) & 1) this.#pending = lo32(this.#pending | (1 << shared));
    else this.#send(shared);
    return true;
  }

  /** Decodes the registers again, and sends what is pending and no longer masked. */
  configWritten(): void {
    const config = this.#config;
    const control = config.read(this.#at + Offset.Control, 2);
    const capable = MsiControl.Capable.get(control);
    this.enabled = MsiControl.Enable.get(control) === 1;
    this.#allocated = 1 << Math.min(MsiControl.Allocated.get(control), capable);
    this.#mask = config.read(this.#at + Offset.Mask, 4);
    if (!this.enabled) return;
    const ready = lo32(this.#pending & ~this.#mask);
    this.#pending = lo32(this.#pending & this.#mask);
    for (let vector = 0; vector < this.#allocated; vector++) {
      if ((ready >>> vector) & 1) this.#send(vector);
    }
  }

  /** Pending bits are registers, so they are clear already. */
  configReset(): void {
    this.configWritten();
  }

  get #pending(): number {
    return this.#config.read(this.#at + Offset.Pending, 4);
  }

  set #pending(bits: number) {
    this.#config.view.setUint32(this.#at + Offset.Pending, bits, true);
  }

  #send(vector: number): void {
    const address = Address.get(this.#config.view, this.#at);
    if (address === TOO_LARGE) return;
    const base = this.#config.read(this.#at + Offset.Data, 2) & ~(this.#allocated - 1);
    this.#sink.message(address, base | vector);
  }
}
