/**
 * Turns `key=value` texts into the typed values of a parameter set, or says which key is wrong and how.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { nearestName } from '#emu/base/nearest-name.ts';
import type { ParamSet, ParamValue, ParamValues } from './param.ts';

/** Values by key, defaults where nothing is assigned; the last of several assignments of a key counts. @throws USAGE */
export function readParams(
  params: ParamSet,
  assignments: readonly string[],
): ParamValues<ParamSet> {
  const values: Record<string, ParamValue> = {};
  for (const [key, param] of Object.entries(params)) values[key] = param.default;
  for (const assignment of assignments) {
    const [key, text] = splitAssignment(assignment);
    values[key] = readValue(params, key, text);
  }
  return values;
}

function splitAssignment(assignment: string): [key: string, text: string] {
  const at = assignment.indexOf('=');
  if (at > 0) return [assignment.slice(0, at).trim(), assignment.slice(at + 1)];
  throw usage(`--set ${assignment}: expected key=value, got '${assignment}'`, { key: assignment });
}

function readValue(params: ParamSet, key: string, text: string): ParamValue {
  const param = Object.hasOwn(params, key) ? params[key] : undefined;
  if (!param) throw unknownKey(params, key);
  const value = param.parse(text);
  if (value !== undefined) return value;
  throw usage(`${key}: expected ${param.expected}, got '${text}'`, { key, got: text });
}

function unknownKey(params: ParamSet, key: string): Error {
  const names = Object.keys(params);
  const nearest = nearestName(key, names);
  const meant = nearest === null ? '' : `, did you mean '${nearest}'?`;
  const known = names.length === 0 ? 'no parameters' : `the parameters ${names.join(', ')}`;
  return usage(`${key}: no such parameter${meant} (this scenario has ${known})`, { key });
}
