/**
 * What the device computes, as pure functions: the factorial, and where a DMA address leads.
 * [EDU]
 * @module
 */
import { BUFFER_BASE, BUFFER_SIZE } from '#devices/edu/spec.ts';
import { type DmaAddr, dmaAddr } from '#emu/base/units.ts';

/** n! modulo 2^32, as a 32-bit multiplier leaves it: zero from 34 on. */
export function factorial(n: number): number {
  let product = 1;
  for (let i = n; i > 1 && product !== 0; i--) product = Math.imul(product, i);
  return product >>> 0;
}

/** The address that leaves the device: bits beyond its DMA mask are lost, as a narrow bus loses them. */
export function wireAddress(address: number, maskBits: number): DmaAddr {
  return dmaAddr(address % 2 ** maskBits);
}

/** Offset in the buffer of `sizeBytes` at a DMA register's value, or -1 when they are not all inside. */
export function bufferOffset(address: number, sizeBytes: number): number {
  const offset = address - BUFFER_BASE;
  return offset >= 0 && offset + sizeBytes <= BUFFER_SIZE ? offset : -1;
}
