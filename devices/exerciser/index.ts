/**
 * The exerciser: a device that sends what it is told to, for scenarios about the fabric itself. [PCIE] 2.2
 * @module
 */

import { DEFAULT_MEMORY_BYTES } from '#devices/exerciser/spec.ts';
import { usage } from '#emu/base/errors.ts';
import { checkKeys, type KeysOf } from '#emu/base/known-keys.ts';
import type { Machine } from '#emu/host/machine.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';
import { ExerciserModel, type ExerciserOptions } from './model/exerciser-model.ts';

export { ExerciserModel, type ExerciserOptions } from './model/exerciser-model.ts';

const LEAST_BYTES = 4096;
const MOST_BYTES: number = 2 ** 30;

const KEYS: KeysOf<ExerciserOptions> = {
  name: true,
  memoryBytes: true,
  maxPayloadBytes: true,
  tags: true,
  tagQuarantine: true,
  completerLatencyPs: true,
  tenBitCompleter: true,
};

/** An exerciser for a topology. @throws USAGE */
export function exerciser(options: ExerciserOptions = {}): DeviceSpec {
  checkKeys('exerciser', options, KEYS);
  const { name, memoryBytes = DEFAULT_MEMORY_BYTES } = options;
  const isPower = Number.isInteger(memoryBytes) && (memoryBytes & (memoryBytes - 1)) === 0;
  if (!isPower || memoryBytes < LEAST_BYTES || memoryBytes > MOST_BYTES) {
    const expected = `a power of two from ${LEAST_BYTES} to ${MOST_BYTES}`;
    throw usage(`exerciser memoryBytes: expected ${expected}, got ${memoryBytes}`);
  }
  return {
    kind: 'exerciser',
    ...(name === undefined ? {} : { name }),
    build: (fabric, path) => new ExerciserModel(fabric, path, options).endpoint,
  };
}

/** The exerciser of that name, allowed to send; the machine must have booted. Fails with USAGE for another device. */
export function openExerciser(machine: Machine, name: string): Pending<ExerciserModel> {
  return machine.kernel.spawn(`${name} open`, open(machine, name));
}

function* open(machine: Machine, name: string): Process<ExerciserModel> {
  const { model } = machine.endpoint(name);
  if (!(model instanceof ExerciserModel)) throw usage(`${name}: expected an exerciser`);
  yield* machine.function(name).setBusMaster(true);
  return model;
}
