/**
 * One digest for the runs of several machines.
 * @module
 */
import { createHash } from 'node:crypto';

/** 16 hex digits over the digests of machines in name order; that of a single machine as it is. */
export function combineDigests(digests: Readonly<Record<string, string>>): string {
  const names = Object.keys(digests).sort();
  if (names.length === 0) return '0'.repeat(16);
  if (names.length === 1) return digests[names[0] ?? ''] ?? '';
  const text = names.map((name) => `${name}=${digests[name]}\n`).join('');
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
