/**
 * Interrupt numbers: one handler each, run as an event of its own, numbers given back and reused.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { physAddr } from '#emu/base/units.ts';
import { Interrupts } from '#emu/host/services/interrupts.ts';
import { Kernel } from '#emu/sim/kernel.ts';

const DOORBELL = physAddr(0x2800_0000);

it('runs the handler of a number as an event, after the latency', () => {
  const kernel = new Kernel();
  const interrupts = new Interrupts(kernel, DOORBELL, 250);
  const ran: [string, number][] = [];
  const a = interrupts.allocate('a', () => ran.push(['a', kernel.now]));
  const b = interrupts.allocate('b', () => ran.push(['b', kernel.now]));
  assert.equal(a.address, DOORBELL);
  assert.notEqual(a.data, b.data);
  interrupts.raise(b.data);
  interrupts.raise(a.data);
  assert.deepEqual(ran, []);
  kernel.run();
  assert.deepEqual(ran, [
    ['b', 250],
    ['a', 250],
  ]);
  assert.deepEqual([interrupts.dispatched, interrupts.spurious], [2, 0]);
});

it('counts interrupts that nobody takes and shows the others to a probe', () => {
  const kernel = new Kernel();
  const interrupts = new Interrupts(kernel, DOORBELL);
  const seen: [string, number][] = [];
  interrupts.probe = { interrupt: (path, data) => seen.push([path, data]) };
  const line = interrupts.allocate('nvme0', () => {});
  interrupts.raise(line.data);
  interrupts.raise(0);
  interrupts.raise(999);
  kernel.run();
  assert.deepEqual(seen, [['nvme0', line.data]]);
  assert.equal(interrupts.spurious, 2);
});

it('gives a freed number to the next and refuses a second free', () => {
  const kernel = new Kernel();
  const interrupts = new Interrupts(kernel, DOORBELL);
  const line = interrupts.allocate('a', () => assert.fail('freed'));
  interrupts.free(line);
  assert.throws(() => interrupts.free(line), { code: 'INVARIANT' });
  interrupts.raise(line.data);
  kernel.run();
  assert.equal(interrupts.spurious, 1);
  assert.equal(interrupts.allocate('b', () => {}).data, line.data);
});

it('has as many numbers as MSI data can carry', () => {
  const interrupts = new Interrupts(new Kernel(), DOORBELL);
  for (let i = 1; i <= 0xffff; i++) interrupts.allocate('x', () => {});
  assert.throws(() => interrupts.allocate('x', () => {}), { code: 'NO_MEMORY' });
});
