/**
 * Addresses as a user process sees them. Which memory stands behind one is its address space's business.
 * @module
 */
import type { Unit } from '#emu/base/units.ts';

/** User virtual address, bytes, below {@link USER_LIMIT}. */
export type UserAddr = Unit<'UserAddr'>;

export const userAddr = (n: number): UserAddr => n as UserAddr;

/** Exclusive bound of user addresses: the lower half of 48 bits. [RVPRIV] 10.5.1 */
export const USER_LIMIT: number = 2 ** 47;
