/**
 * Awaiting without, then with an installed event loop. A file of its own: the hook is the process's.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { eventLoop, installEventLoop } from '#emu/sim/event-loop.ts';
import { Kernel } from '#emu/sim/kernel.ts';

const invariant = (error: unknown) =>
  error instanceof EmuError && error.code === 'INVARIANT' && /installEventLoop/.test(error.message);

test('awaiting without an event loop says what is missing, and works once it is there', async () => {
  const kernel = new Kernel();
  const pending = kernel.pending<number>('read');
  kernel.schedule(5, { path: 'disk', handle: () => pending.complete(3) }, 0, null);
  assert.throws(() => eventLoop(), invariant);
  assert.throws(() => pending.then(), invariant);
  await assert.rejects(async () => await pending, invariant);
  installEventLoop((run) => setImmediate(run));
  assert.equal(await pending, 3);
});

test('the loop installed last is the one that is used', () => {
  const turns: string[] = [];
  installEventLoop(() => turns.push('first'));
  installEventLoop(() => turns.push('second'));
  new Kernel().pending('x').then();
  assert.deepEqual(turns, ['second']);
});
