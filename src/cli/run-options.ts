/**
 * What the command line says about a run, checked.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { RunSettings } from '#emu/scenario/scenario.ts';

export const DEFAULT_SETTINGS: RunSettings = { seed: 1, fidelity: 'timed' };
export const FIDELITIES: readonly Fidelity[] = ['timed', 'functional'];
const MAX_SEED = 2 ** 32 - 1;

/** Options of `emu run` as typed. */
export interface RunOptions {
  readonly file: string | undefined;
  readonly set: readonly string[];
  readonly seed: string | undefined;
  readonly fidelity: string | undefined;
  readonly json: boolean;
  readonly help: boolean;
}

/** @throws USAGE */
export function readSettings(options: Pick<RunOptions, 'seed' | 'fidelity'>): RunSettings {
  return {
    seed: readSeed(options.seed ?? String(DEFAULT_SETTINGS.seed)),
    fidelity: readFidelity(options.fidelity ?? DEFAULT_SETTINGS.fidelity),
  };
}

function readSeed(text: string): number {
  const seed = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (seed <= MAX_SEED) return seed;
  throw usage(`--seed: expected a whole number from 0 to ${MAX_SEED}, got '${text}'`, {
    key: 'seed',
    got: text,
  });
}

function readFidelity(text: string): Fidelity {
  const fidelity = FIDELITIES.find((known) => known === text);
  if (fidelity !== undefined) return fidelity;
  throw usage(`--fidelity: expected ${FIDELITIES.join(' or ')}, got '${text}'`, {
    key: 'fidelity',
    got: text,
  });
}
