/**
 * Checks the file parameters of a run before anything is built.
 * @module
 */
import { accessSync, constants, statSync } from 'node:fs';
import { usage } from '#emu/base/errors.ts';
import type { ParamSet, ParamValue } from '#emu/scenario/param.ts';

/** @throws USAGE when a file parameter names nothing, something other than a regular file, or an unreadable one */
export function checkInputFiles(
  params: ParamSet,
  values: Readonly<Record<string, ParamValue>>,
): void {
  for (const [key, param] of Object.entries(params)) {
    const path = values[key];
    if (param.kind === 'file' && typeof path === 'string') checkFile(key, path);
  }
}

function checkFile(key: string, path: string): void {
  const refuse = (got: string) =>
    usage(`${key}: expected the path of a readable file, got ${got}`, { key, got: path });
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw refuse(`'${path}', which does not exist`);
  if (found.isDirectory()) throw refuse(`'${path}', which is a folder`);
  if (!found.isFile()) throw refuse(`'${path}', which is not a regular file`);
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw refuse(`'${path}', which may not be read`);
  }
}
