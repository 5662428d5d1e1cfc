/**
 * What may end a run from outside its own code: an interrupt, an error that nobody caught, or an event loop
 * with nothing left to do.
 * @module
 */
import process from 'node:process';
import { EmuError } from '#emu/base/errors.ts';

/** The user pressed Ctrl-C. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** Result of `work`, or a rejection as soon as something disturbs it; `work` itself cannot be stopped. */
export async function undisturbed<T>(work: Promise<T>): Promise<T> {
  let disturb: (error: unknown) => void = () => {};
  const disturbance = new Promise<never>((_resolve, reject) => {
    disturb = reject;
  });
  const interrupted = (): void => {
    // What is printed now must not be cut off by a second signal.
    process.on('SIGINT', () => {});
    disturb(new Interrupted('interrupted'));
  };
  const idle = (): void => disturb(new EmuError('STALLED', NEVER));
  process.once('SIGINT', interrupted);
  process.once('beforeExit', idle);
  process.on('uncaughtException', disturb);
  process.on('unhandledRejection', disturb);
  try {
    return await Promise.race([work, disturbance]);
  } finally {
    process.off('SIGINT', interrupted);
    process.off('beforeExit', idle);
    process.off('uncaughtException', disturb);
    process.off('unhandledRejection', disturb);
  }
}

const NEVER = 'the scenario awaits something that can never happen';
