/**
 * Options objects: a misspelt key would silently be a default, so it is refused.
 * @module
 */
import { usage } from './errors.ts';
import { nearestName } from './nearest-name.ts';

/** Every key of an options type; the compiler sees that none is missing. */
export type KeysOf<T> = Readonly<Record<keyof T, true>>;

/** @throws USAGE for something that is no object, or has a key that is none of `keys` */
export function checkKeys<T>(where: string, value: T, keys: KeysOf<T>): void {
  if (typeof value !== 'object' || value === null) {
    throw usage(`${where}: expected an object, got ${String(value)}`, { key: where });
  }
  const known = Object.keys(keys);
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(keys, key)) continue;
    const nearest = nearestName(key, known);
    const meant = nearest === null ? '' : `, did you mean '${nearest}'?`;
    throw usage(`${where}: expected one of ${known.join(', ')}, got '${key}'${meant}`, {
      key: `${where}.${key}`,
    });
  }
}
