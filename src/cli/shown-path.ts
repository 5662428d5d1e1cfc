/**
 * Paths as they are shown to people.
 * @module
 */
import { relative } from 'node:path';
import process from 'node:process';

/** An absolute path, relative to the working folder when it lies inside it. */
export function shownPath(file: string): string {
  const shorter = relative(process.cwd(), file);
  return shorter === '' || shorter.startsWith('..') ? file : shorter;
}
