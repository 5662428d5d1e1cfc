/**
 * Enforces the layer table: import directions, packages and globals of every source file.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bannedGlobals, importComplaint, importsOf } from '#test/support/layer-rules.ts';
import { sourceFiles } from '#test/support/source-files.ts';

const files = sourceFiles(['src', 'devices', 'scenarios', 'test']);

test('every import goes to a lower layer, the own folder or an allowed package', () => {
  const complaints = files
    .flatMap((file) => importsOf(file.text).map((name) => importComplaint(file.path, name)))
    .filter((complaint) => complaint !== null);
  assert.deepEqual(complaints, []);
});

test('the simulation uses no clock, timer, console, process or inexact mathematics', () => {
  assert.deepEqual(
    files.flatMap((file) => bannedGlobals(file.path, file.text)),
    [],
  );
});

test('no barrel outside the public lists', () => {
  const barrels = files.filter(
    (file) => file.path.startsWith('src/') && /^export \*/m.test(file.text),
  );
  assert.deepEqual(barrels, []);
});

const refused: readonly (readonly [importer: string, specifier: string])[] = [
  ['src/base/units.ts', '#emu/sim/kernel.ts'],
  ['src/sim/kernel.ts', '#emu/memory/arena.ts'],
  ['src/memory/arena.ts', '#emu/sim/kernel.ts'],
  ['src/pcie/link/port.ts', '#emu/iommu/iommu.ts'],
  ['src/pcie/link/port.ts', 'node:fs'],
  ['src/host/machine.ts', 'eventemitter3'],
  ['src/scenario/scenario.ts', '#devices/nvme/index.ts'],
  ['src/index.ts', '#emu/cli/main.ts'],
  ['src/attach/file-store.ts', '#emu/observe/observe.ts'],
  ['devices/nvme/model/queue.ts', '#devices/gpu/spec.ts'],
  ['devices/nvme/model/queue.ts', '#devices/nvme/driver/queue.ts'],
  ['devices/nvme/driver/queue.ts', '#devices/nvme/model/queue.ts'],
  ['devices/nvme/driver/queue.ts', '#devices/nvme/index.ts'],
  ['devices/nvme/driver/queue.ts', '../spec.ts'],
  ['scenarios/x.ts', '#emu/sim/kernel.ts'],
  ['scenarios/x.ts', 'pcie-emu/src/sim/kernel.ts'],
  ['scenarios/x.ts', 'yargs'],
];
for (const [importer, specifier] of refused) {
  test(`${importer} may not import ${specifier}`, () => {
    // Scenarios reach the sources only through the package's public names.
    assert.notEqual(importComplaint(importer, specifier), null);
  });
}

const allowed: readonly (readonly [importer: string, specifier: string])[] = [
  ['src/sim/kernel.ts', './wheel.ts'],
  ['src/pcie/link/port.ts', '#emu/sim/kernel.ts'],
  ['devices/nvme/model/queue.ts', '#devices/nvme/spec.ts'],
  ['devices/nvme/index.ts', './driver/open.ts'],
  ['devices/nvme/driver/queue.ts', '#emu/host/machine.ts'],
  ['src/observe/observe.ts', 'eventemitter3'],
  ['src/cli/main.ts', 'yargs'],
  ['scenarios/x.ts', 'pcie-emu/devices/nvme'],
];
for (const [importer, specifier] of allowed) {
  test(`${importer} may import ${specifier}`, () => {
    assert.equal(importComplaint(importer, specifier), null);
  });
}

test('imports are found in every form', () => {
  const source =
    "import 'a';\nimport type { X } from 'b';\nimport {\n  y,\n} from 'c';\nexport { z } from 'd';\nawait import('e');";
  assert.deepEqual(importsOf(source), ['a', 'b', 'c', 'd', 'e']);
});

test('banned globals are found in code only', () => {
  const source =
    "const a = Date.now(); // process\nconst b = 'console'; x.process = Math.pow(1, 2);";
  assert.equal(bannedGlobals('src/sim/x.ts', source).length, 2);
  assert.equal(bannedGlobals('src/cli/x.ts', source).length, 0);
});
