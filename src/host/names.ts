/**
 * Names of devices and switches: those given, and kind plus the least free number for the others, in the order of
 * the specification. @module
 */
import { usage } from '#emu/base/errors.ts';
import {
  isMultiFunction,
  isSwitch,
  type MachineSpec,
  type Plug,
  type PortSpec,
  plugOf,
  rootPortsOf,
} from './machine-spec.ts';

/** Every plug of a checked machine with its name. */
export function nameAll(spec: MachineSpec): Map<Plug, string> {
  const plugs = [...walk(rootPortsOf(spec))];
  const taken = new Set(plugs.map(({ name }) => name));
  const next = new Map<string, number>();
  const names = new Map<Plug, string>();
  for (const plug of plugs) names.set(plug, plug.name ?? free(prefixOf(plug), next, taken));
  return names;
}

/** Names a plug that comes later, with what is in it, as the first ones; returns the names. @throws USAGE for one in use */
export function nameMore(plug: Plug, names: Map<Plug, string>): readonly string[] {
  const plugs = [...walk([{ device: plug }])];
  const taken = new Set<string | undefined>(names.values());
  for (const { name } of plugs) {
    if (name !== undefined && taken.has(name)) {
      throw usage(`insert: expected a name that no device has, got '${name}'`);
    }
    taken.add(name);
  }
  const next = new Map<string, number>();
  return plugs.map((one) => {
    const name = one.name ?? free(prefixOf(one), next, taken);
    names.set(one, name);
    return name;
  });
}

/** Name of virtual function `index` (0 is the first) of a function; the same ends its path. */
export const vfName = (physical: string, index: number): string => `${physical}.vf${index}`;

const prefixOf = (plug: Plug): string => (isSwitch(plug) ? 'sw' : plug.kind);

function free(
  prefix: string,
  next: Map<string, number>,
  taken: ReadonlySet<string | undefined>,
): string {
  let number = next.get(prefix) ?? 0;
  while (taken.has(`${prefix}${number}`)) number++;
  next.set(prefix, number + 1);
  return `${prefix}${number}`;
}

function* walk(ports: readonly PortSpec[]): Generator<Plug> {
  for (const port of ports) {
    const plug = plugOf(port);
    if (plug === undefined) continue;
    if (isMultiFunction(plug)) yield* plug.functions;
    else yield plug;
    if (isSwitch(plug)) yield* walk(plug.ports);
  }
}
