/**
 * Machines made from a tape of numbers, so that a property test can shrink them: switches in switches, devices of
 * one or two functions, any ACS bits, sizes and limits. Builds; asserts nothing. @module
 */
import { type MachinePlan, machine } from '#emu/host/machine.ts';
import { multiFunction, type Plug, type PortSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';

/** Numbers to choose by; zeros behind its end, which always choose the simplest. */
export class Tape {
  readonly #values: readonly number[];
  #at = 0;

  constructor(values: readonly number[]) {
    this.#values = values;
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return (this.#values[this.#at++] ?? 0) % limit;
  }
  pick<T>(list: readonly T[]): T {
    const chosen = list[this.below(list.length)];
    if (chosen === undefined) throw new RangeError('nothing to choose from');
    return chosen;
  }
  /** True once in `often` times, never behind the end. */
  rarely(often: number): boolean {
    return this.below(often) === often - 1;
  }
}

export const MAX_LEVELS = 5;
export const MAX_ENDPOINTS = 64;
/** Bytes of each device's own memory, where its requests start and end. */
export const LOCAL_BYTES = 2 ** 18;
export const FIRST_DEVICE_ID = 0x1000;
const IDENTITY = { vendorId: 0x1234, classCode: 0x058000 };
/** SV, RR, CR, UF, EC and their usual companies; URR is the enhanced bit 12. */
const ACS = [0, 0x04, 0x0c, 0x1c, 0x1d, 0x20, 0x24, 0x34, 0x01, 0x10, 0x101c, 0x7f, 0x3c, 0x08];

/** What stands behind an endpoint. */
export class RandomDevice {
  readonly local: SparseMemory;
  /** By BAR index. */
  readonly shown: ReadonlyMap<number, SparseMemory>;

  constructor(path: string, bars: readonly (readonly [index: number, sizeBytes: number])[]) {
    this.local = new SparseMemory(LOCAL_BYTES, `${path} local`);
    this.shown = new Map(bars.map(([i, size]) => [i, new SparseMemory(size, `${path} BAR${i}`)]));
  }
}

interface Growth {
  readonly tape: Tape;
  endpoints: number;
  most: number;
}

function device(growth: Growth): DeviceSpec {
  const { tape } = growth;
  const number = growth.endpoints++;
  const widths = [tape.pick([64, 32] as const), tape.pick([64, 32] as const)];
  const bars = widths.slice(0, 1 + tape.below(2)).map((width, i) => ({
    index: i === 0 ? (0 as const) : (2 as const),
    sizeBytes: tape.pick([65_536, 4096, 2 ** 18, 16_384, 128]),
    width,
    prefetchable: width === 64 && !tape.rarely(4),
  }));
  const maxPayloadBytes = tape.pick([512, 256, 1024, 128] as const);
  const tags = tape.pick([256, 32, 768] as const);
  const atomics = !tape.rarely(3);
  return {
    kind: 'random',
    name: `d${number}`,
    build(fabric, path) {
      const model = new RandomDevice(
        path,
        bars.map(({ index, sizeBytes }) => [index, sizeBytes]),
      );
      const endpoint = new Endpoint(fabric, path, {
        identity: { ...IDENTITY, deviceId: FIRST_DEVICE_ID + number },
        bars: bars.map((bar) => ({ ...bar, target: model.shown.get(bar.index)! })),
        ...{ maxPayloadBytes, tags, atomics },
      });
      endpoint.model = model;
      endpoint.onDispose = () => {
        for (const memory of [model.local, ...model.shown.values()]) memory.dispose();
      };
      return endpoint;
    },
  };
}

function plug(growth: Growth, level: number): Plug | null {
  const { tape, most } = growth;
  const what = tape.below(8);
  if (growth.endpoints >= most) return null;
  if (what === 7) return null;
  if (what === 6 && growth.endpoints + 2 <= most) {
    return multiFunction([device(growth), device(growth)]);
  }
  if (what < 2 || level === MAX_LEVELS) return device(growth);
  const ports = Array.from({ length: 1 + tape.below(6) }, () => port(growth, level + 1));
  return pcieSwitch({ ports, cutThrough: !tape.rarely(4) });
}

function port(growth: Growth, level: number): PortSpec {
  const { tape } = growth;
  const link = { gen: tape.pick([4, 1, 3, 5] as const), width: tape.pick([4, 1, 16, 8] as const) };
  const acs = { acs: tape.pick(ACS), acsEgress: tape.below(256) };
  const made = plug(growth, level);
  return made === null ? { link, ...acs } : { link, ...acs, device: made };
}

/** Limits of the machine besides its tree. */
const limits = (tape: Tape) => ({
  maxPayloadBytes: tape.pick([512, 256, 128, 1024] as const),
  maxReadRequestBytes: tape.pick([512, 128, 4096, 256, 1024] as const),
  rootCompletionBytes: tape.pick([64, 128, 256, 512] as const),
  memory: { sizeBytes: 2 ** 24 },
  errors: false,
});

/** A machine of 1 to 64 functions below up to 5 levels of switches. */
export function randomMachine(tape: Tape): MachinePlan {
  const growth: Growth = { tape, endpoints: 0, most: 1 + tape.below(MAX_ENDPOINTS) };
  const settings = limits(tape);
  const roots = () => Array.from({ length: 1 + tape.below(3) }, () => port(growth, 0));
  const hostBridges = [{ rootPorts: roots() }];
  if (tape.rarely(3)) hostBridges.push({ rootPorts: roots() });
  // Something has to ask.
  if (growth.endpoints === 0) hostBridges[0]?.rootPorts.push({ device: device(growth) });
  return machine({ ...settings, hostBridges });
}

/** The largest: 64 devices at all of 5 levels. */
export function largestMachine(tape: Tape): MachinePlan {
  const growth: Growth = { tape, endpoints: 0, most: MAX_ENDPOINTS };
  const settings = limits(tape);
  const level = (at: number): PortSpec => {
    const alone = Array.from({ length: at === MAX_LEVELS ? 12 : 5 }, () => ({
      device: device(growth),
    }));
    const ports = at === MAX_LEVELS ? alone : [...alone, level(at + 1)];
    return { acs: tape.pick(ACS), device: pcieSwitch({ ports }) };
  };
  return machine({ ...settings, rootPorts: [level(1), level(1)] });
}
