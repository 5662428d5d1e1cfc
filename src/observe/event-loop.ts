/**
 * Lets awaited simulations run between the turns of Node's event loop.
 * @module
 */
import { installEventLoop } from '#emu/sim/event-loop.ts';

/** Installs `setImmediate`: it comes after every promise callback that is due, however deep. */
export function installNodeEventLoop(): void {
  installEventLoop((run) => {
    setImmediate(run);
  });
}
