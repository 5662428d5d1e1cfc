/**
 * The exerciser: sends what it is told to, shows its memory, says what hardware said, in both fidelities.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exerciser, openExerciser } from '#devices/exerciser/index.ts';
import { dmaAddr } from '#emu/base/units.ts';
import { machine } from '#emu/host/machine.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';

const SIZE = 5000;
const sent = Uint8Array.from({ length: SIZE }, (_, i) => (i * 7) >> 2);

for (const fidelity of ['timed', 'functional'] as const) {
  test(`bytes go to a peer and come back, and nowhere is refused, ${fidelity}`, () => {
    const spec = { rootPorts: [{ device: exerciser({ name: 'a' }) }, { device: exerciser() }] };
    const host = machine(spec).build({ fidelity });
    const { kernel } = host;
    void host.boot();
    kernel.run();
    const [a, b] = [openExerciser(host, 'a'), openExerciser(host, 'exerciser0')];
    kernel.run();
    const to = host.function('exerciser0').bar(0).address;
    a.value.local.write(100, sent);
    const written = a.value.write(dmaAddr(to + 3), SIZE, 100);
    kernel.run();
    const read = a.value.read(dmaAddr(to + 3), SIZE, 10_000);
    kernel.run();
    assert.deepEqual([written.value, read.value], [DmaStatus.Ok, DmaStatus.Ok]);
    for (const [memory, at] of [
      [b.value.shown, 3],
      [a.value.local, 10_000],
    ] as const) {
      const bytes = new Uint8Array(SIZE);
      memory.read(at, bytes);
      assert.deepEqual(bytes, sent);
    }
    a.value.requestAs({ addressType: 2 });
    const nowhere = a.value.read(dmaAddr(2 ** 45), 64, 0);
    kernel.run();
    assert.equal(nowhere.value, DmaStatus.UnsupportedRequest);
    assert.equal(host.fabric.tlps.inUse, 0);
    host.dispose();
  });
}

test('sizes that no BAR has are refused', () => {
  for (const memoryBytes of [0, 2048, 5000, 2 ** 31]) {
    assert.throws(
      () => exerciser({ memoryBytes }),
      /exerciser memoryBytes: expected a power of two/,
    );
  }
});
