/**
 * The layer table as data and the judgement of one import by it; test/layers.test.ts applies it to every file.
 * @module
 */
import { posix } from 'node:path';

/** A row of the layer table: a file imports lower rows, or its own folder. */
const ROW_OF_FOLDER: readonly (readonly [folder: string, row: number])[] = [
  ['src/base', 0],
  ['src/memory', 1],
  ['src/sim', 1],
  ['src/pcie', 2],
  ['src/iommu', 3],
  ['src/dma', 4],
  ['src/host', 5],
  ['src/scenario', 6],
  ['devices', 7],
  ['src/attach', 8],
  ['src/observe', 8],
  ['src/index.ts', 9],
  ['src/cli', 10],
  ['scenarios', 10],
  ['test', 11],
];

/** Folders of the simulation proper: no package, no `node:` module, none of the globals below. */
const LAST_PURE_ROW = 7;

/** Packages by folder; a folder that is absent may import none. */
const PACKAGES: readonly (readonly [folder: string, allowed: RegExp])[] = [
  ['src/attach', /^node:/],
  ['src/observe', /^(?:eventemitter3$|node:)/],
  ['src/cli', /^(?:yargs(?:\/helpers)?$|cli-table3$|picocolors$|zod$|node:|tsx\/)/],
  ['scenarios', /^(?:node:|pcie-emu(?:$|\/devices\/[a-z0-9-]+$))/],
  ['test', /./],
];

const IMPORT =
  /^(?:import|export)\b[^'";=]*?\bfrom\s*['"]([^'"]+)['"]|^import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm;

const BANNED_GLOBALS =
  /(?<![\w.$#])(Date|performance|process|console|Buffer|setTimeout|setInterval|setImmediate|queueMicrotask|globalThis|crypto)\b(?!\s*[?]?:)|\bMath\.(random|exp|expm1|log|log2|log10|log1p|pow|sin|cos|tan|asin|acos|atan|atan2|sinh|cosh|tanh|cbrt|hypot)\b/g;
const COMMENT_OR_STRING =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\$]|\\.|\$(?!\{))*`/g;

const folderOf = (path: string): string | undefined =>
  ROW_OF_FOLDER.find(([folder]) => path === folder || path.startsWith(`${folder}/`))?.[0];
const rowOf = (folder: string): number =>
  ROW_OF_FOLDER.find(([name]) => name === folder)?.[1] ?? Number.NaN;

/** Modules that a source text imports. */
export function importsOf(source: string): string[] {
  return [...source.matchAll(IMPORT)].map((found) => found[1] ?? found[2] ?? found[3] ?? '');
}

/** Forbidden globals that a file of the simulation names outside comments and strings. */
export function bannedGlobals(path: string, source: string): string[] {
  const folder = folderOf(path);
  if (folder === undefined || rowOf(folder) > LAST_PURE_ROW) return [];
  const code = source.replace(COMMENT_OR_STRING, "''");
  return [...code.matchAll(BANNED_GLOBALS)]
    .filter((found) => found[1] === undefined || !declares(code, found[1]))
    .map((found) => `${path} may not use ${found[1] ?? `Math.${found[2]}`}`);
}

/** Whether a text declares `name` itself, as a constant or as a typed parameter. */
const declares = (code: string, name: string): boolean =>
  new RegExp(`\\b(?:const|let|class|function)\\s+${name}\\b|\\b${name}\\??:`).test(code);

/** What is wrong with `importer` importing `specifier`, or null. */
export function importComplaint(importer: string, specifier: string): string | null {
  const folder = folderOf(importer);
  if (folder === undefined) return `${importer} is in no layer`;
  if (specifier.startsWith('../') || specifier.startsWith('./../')) {
    return `${importer} climbs out of its folder: ${specifier}`;
  }
  const target = targetOf(importer, specifier);
  if (target === null || folder === 'scenarios') {
    if (specifier.startsWith('./')) return null;
    const allowed = PACKAGES.find(([name]) => name === folder)?.[1];
    return allowed?.test(specifier) ? null : `${importer} may not import ${specifier}`;
  }
  const targetFolder = folderOf(target);
  if (targetFolder === undefined) return `${importer} imports ${target}, which is in no layer`;
  if (targetFolder !== folder) {
    return rowOf(targetFolder) < rowOf(folder) ? null : `${importer} imports upwards: ${target}`;
  }
  return folder === 'devices' ? deviceComplaint(importer, target) : null;
}

/** Repository path of an import, or null for a package. */
function targetOf(importer: string, specifier: string): string | null {
  if (specifier.startsWith('#emu/')) return `src/${specifier.slice(5)}`;
  if (specifier.startsWith('#devices/')) return `devices/${specifier.slice(9)}`;
  if (specifier.startsWith('#test/')) return `test/${specifier.slice(6)}`;
  if (specifier.startsWith('.')) return posix.join(posix.dirname(importer), specifier);
  return null;
}

/** A device knows no other device; its hardware and its host software meet only in the tables. */
function deviceComplaint(importer: string, target: string): string | null {
  const [, device, part] = importer.split('/');
  const [, otherDevice, otherPart] = target.split('/');
  if (device !== otherDevice) return `${importer} may not know another device: ${target}`;
  const sides = new Set([part, otherPart]);
  if (sides.has('model') && sides.has('driver')) {
    return `${importer} may not reach across model and driver: ${target}`;
  }
  const upwards = part !== 'index.ts' && otherPart === 'index.ts';
  return upwards ? `${importer} may not import its own index: ${target}` : null;
}
