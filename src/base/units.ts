/**
 * Branded integers and the only functions that mint them. No arithmetic policy beyond 52-bit addresses.
 * [PCIE] 2.2.4.2
 * @module
 */
declare const unit: unique symbol;
/** A number that carries a unit; erased at run time. */
export type Unit<Name extends string> = number & { readonly [unit]: Name };

/** Simulated time or duration, picoseconds. Exact to 2^53 ps (about 2.5 h). */
export type Picos = Unit<'Picos'>;
/** Address as the CPU sees it, bytes, below 2^52. */
export type PhysAddr = Unit<'PhysAddr'>;
/** Address a function puts on the wire (IOVA or bus address), bytes, below 2^52. */
export type DmaAddr = Unit<'DmaAddr'>;
/** Bus/device/function packed as a 16-bit requester ID. [PCIE] 2.2.4.2 */
export type Bdf = Unit<'Bdf'>;

/** Exclusive upper bound of every address. */
export const ADDR_LIMIT: number = 2 ** 52;
/** Bytes of the page that no request may cross. [PCIE] 2.2.7 */
export const PAGE_SIZE = 4096;
const WORD = 2 ** 32;

export const picos = (n: number): Picos => n as Picos;
export const ns = (n: number): Picos => Math.round(n * 1e3) as Picos;
export const us = (n: number): Picos => Math.round(n * 1e6) as Picos;
export const ms = (n: number): Picos => Math.round(n * 1e9) as Picos;
export const physAddr = (n: number): PhysAddr => n as PhysAddr;
export const dmaAddr = (n: number): DmaAddr => n as DmaAddr;

/** Packs a BDF: bus 0-255, device 0-31, function 0-7. */
export const bdf = (bus: number, device: number, fn: number): Bdf =>
  ((bus << 8) | (device << 3) | fn) as Bdf;
/** Takes a 16-bit requester ID as it stands in a header. */
export const bdfFromId = (id: number): Bdf => (id & 0xffff) as Bdf;
export const bdfBus = (id: Bdf): number => id >>> 8;
export const bdfDevice = (id: Bdf): number => (id >>> 3) & 31;
export const bdfFunction = (id: Bdf): number => id & 7;
/** `bb:dd.f` in hex, as lspci prints it. */
export const formatBdf = (id: Bdf): string =>
  `${hexDigits(bdfBus(id), 2)}:${hexDigits(bdfDevice(id), 2)}.${bdfFunction(id)}`;

/** `address + bytes` that keeps the brand. */
export const offsetBy = <A extends number>(address: A, bytes: number): A => (address + bytes) as A;
/** Offset inside the 4 KiB page; exact for any safe integer, since `&` keeps the low 32 bits. */
export const pageOffset = (address: number): number => address & 0xfff;
export const pageBase = <A extends number>(address: A): A => (address - (address & 0xfff)) as A;
/** Rounds down to a multiple of `step`; exact for safe integers and any power of two. */
export const alignDown = <A extends number>(address: A, step: number): A =>
  (Math.floor(address / step) * step) as A;
/** Rounds up to a multiple of `step`; exact for safe integers and any power of two. */
export const alignUp = <A extends number>(address: A, step: number): A =>
  (Math.ceil(address / step) * step) as A;

/** Low 32 bits, unsigned. */
export const lo32 = (n: number): number => n >>> 0;
/** Bits 63:32 of a non-negative safe integer. */
export const hi32 = (n: number): number => Math.floor(n / WORD);
/** Joins two unsigned 32-bit halves; 2^53 and above is rounded, so check against a limit. */
export const u64 = (lo: number, hi: number): number => (hi >>> 0) * WORD + (lo >>> 0);

const hexDigits = (n: number, width: number): string => n.toString(16).padStart(width, '0');
/** `0x`-prefixed lower-case hex for messages. */
export const hex = (n: number, width = 1): string => `0x${hexDigits(n, width)}`;
