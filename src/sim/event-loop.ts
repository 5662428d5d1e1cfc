/**
 * The one hook through which awaited simulations give the host's event loop its turn.
 * The kernel knows no timers: whoever embeds it installs a `defer` such as setImmediate.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';

/** Calls `run` once, later, after every promise callback that is due has run. */
export type Defer = (run: () => void) => void;

let installed: Defer | null = null;

/** Installs `defer` for every kernel of the process; the last one installed is used. */
export function installEventLoop(defer: Defer): void {
  installed = defer;
}

/** @throws INVARIANT when no event loop is installed. */
export function eventLoop(): Defer {
  if (installed) return installed;
  throw new EmuError(
    'INVARIANT',
    'a Pending was awaited, but no event loop is installed: call installEventLoop() first, or use kernel.run()',
  );
}
