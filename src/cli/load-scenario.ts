/**
 * Loads a scenario file from anywhere on disk, or says in one line why it is none.
 * @module
 */
import { realpathSync, statSync } from 'node:fs';
import { basename, extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { usage } from '#emu/base/errors.ts';
import { Scenario } from '#emu/scenario/scenario.ts';
import { shownPath } from './shown-path.ts';

export interface LoadedScenario {
  readonly scenario: Scenario;
  /** Name of the file without its extension. */
  readonly name: string;
  /** Absolute path, links resolved, as it stands in stacks. */
  readonly file: string;
}

const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs'];
/** Errors of resolving and linking modules, as against errors that a module throws while it runs. */
const LINK_ERROR = /^ERR_(?:MODULE_NOT_FOUND|PACKAGE_|UNSUPPORTED_|UNKNOWN_FILE|IMPORT_|INVALID_)/;
const ESBUILD_PLACE = /^(.+:\d+:\d+): ERROR: (.+)$/m;

/** Whether a file name may be a scenario's. */
export const isScenarioFileName = (name: string): boolean =>
  EXTENSIONS.includes(extname(name)) && !name.endsWith('.d.ts');

/** Name of a scenario: its file's, without the extension. */
export const scenarioName = (path: string): string => basename(path, extname(path));

/** The absolute path of an existing scenario file. @throws USAGE */
export function locateScenario(path: string): string {
  const full = resolve(path);
  const found = statSync(full, { throwIfNoEntry: false });
  if (!found) throw usage(`${path}: no such file`, { key: path });
  if (!found.isFile())
    throw usage(`${path}: expected a scenario file, got a folder`, { key: path });
  if (!isScenarioFileName(full)) {
    const expected = `a scenario file that ends in ${EXTENSIONS.join(', ')}`;
    throw usage(`${path}: expected ${expected}, got '${basename(full)}'`, { key: path });
  }
  return realpathSync(full);
}

/** Loads the scenario at `file`, an absolute path. @throws USAGE, or what the file itself throws */
export async function loadScenario(file: string): Promise<LoadedScenario> {
  const module = await importFile(file);
  const scenario = module.default;
  if (scenario instanceof Scenario) return { scenario, name: scenarioName(file), file };
  const got = 'default' in module ? `a default export of type ${typeof scenario}` : 'none';
  throw usage(
    `${shownPath(file)}: no scenario: expected a default export made by defineScenario(), got ${got}`,
    { key: file },
  );
}

async function importFile(file: string): Promise<Record<string, unknown>> {
  try {
    return await import(pathToFileURL(file).href);
  } catch (error) {
    const problem = linkProblem(error);
    if (problem === null) throw error;
    const shown = shownPath(file);
    const text = problem.replaceAll(file, shown);
    throw usage(text.startsWith(shown) ? text : `${shown}: ${text}`, { key: file });
  }
}

/** What kept a module from being loaded, in a line; null when it was loaded and threw while it ran. */
function linkProblem(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const place = ESBUILD_PLACE.exec(error.message);
  if (place) return `${place[1]}: syntax error: ${place[2]}`;
  const code = 'code' in error ? String(error.code) : '';
  if (LINK_ERROR.test(code)) return error.message.split('\n')[0] ?? code;
  return error instanceof SyntaxError ? `syntax error: ${error.message}` : null;
}
