/**
 * Where in a scenario file an error came from, read from its stack.
 * @module
 */
import { fileURLToPath } from 'node:url';

const FRAME =
  /(file:\/\/[^\s()]+?|\/[^\s():]+|[A-Za-z]:\\[^\s():]+)(?:\?[^\s():]*)?:(\d+):(\d+)\)?$/;

/** `file:line:col` of the innermost frame of what caused `error`, or of itself, that lies in `file`; else null. */
export function errorSite(error: unknown, file: string): string | null {
  if (!(error instanceof Error)) return null;
  const caused = errorSite(error.cause, file);
  if (caused !== null) return caused;
  for (const line of error.stack?.split('\n') ?? []) {
    const [, place = '', row, column] = FRAME.exec(line.trim()) ?? [];
    if (row !== undefined && pathOf(place) === file) return `${file}:${row}:${column}`;
  }
  return null;
}

function pathOf(place: string): string {
  if (!place.startsWith('file:')) return place;
  try {
    return fileURLToPath(place);
  } catch {
    return place;
  }
}
