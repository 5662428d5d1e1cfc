/**
 * Module hooks that let a scenario live anywhere: `pcie-emu` means the package that this file belongs to, and `.ts`
 * files are ES modules whatever the package.json near them says. Works as asynchronous hooks (Node 20) and as
 * synchronous ones (Node 22.15 and later), since tsx uses whichever the runtime has and hooks of one kind must nest.
 * @module
 */
import * as nodeModule from 'node:module';

const PACKAGE = 'pcie-emu';
const ownPackage = new URL('../../package.json', import.meta.url).href;
const TYPESCRIPT_FILE = /^file:.*\.ts(?:[?#]|$)/;

const isOwnName = (specifier) => specifier === PACKAGE || specifier.startsWith(`${PACKAGE}/`);
const isScenarioFile = (url) => TYPESCRIPT_FILE.test(url) && !url.includes('/node_modules/');
/** What tsx adds to the name of a file that it takes for a CommonJS module. */
const COMMONJS_MARK = /(?:%3F|[?&])tsx-commonjs-.*$/i;

function asModule(resolved) {
  const url = resolved.url.replace(COMMONJS_MARK, '');
  return isScenarioFile(url) ? { ...resolved, url, format: 'module' } : resolved;
}

/** Resolve hook; `next` answers with a value or a promise of one. */
export function resolve(specifier, context, next) {
  const from = isOwnName(specifier) ? { ...context, parentURL: ownPackage } : context;
  const resolved = next(specifier, from);
  return resolved instanceof Promise ? resolved.then(asModule) : asModule(resolved);
}

/** Registers the hooks of this file in front of those registered before. */
export function installScenarioLoader() {
  if (typeof nodeModule.registerHooks === 'function') nodeModule.registerHooks({ resolve });
  else nodeModule.register(import.meta.url);
}
