/**
 * Default names: kind and number, in the order of the specification, around the names that are given.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { pcieSwitch } from '#emu/host/machine-spec.ts';
import { nameAll } from '#emu/host/names.ts';
import { plainDevice } from '#test/support/plain-device.ts';

it('numbers what has no name, past names that are taken', () => {
  const inner = pcieSwitch({ ports: [{ device: plainDevice() }, {}, { device: plainDevice() }] });
  const outer = pcieSwitch({ ports: [{ device: inner }, { device: plainDevice() }] });
  const names = nameAll({
    rootPorts: [{ device: outer }, { device: plainDevice('plain1') }, { device: plainDevice() }],
  });
  assert.deepEqual(
    [...names.values()],
    ['sw0', 'sw1', 'plain0', 'plain2', 'plain3', 'plain1', 'plain4'],
  );
});
