/**
 * Names of devices and switches: those given, and kind plus the least free number for the others, in the order of
 * the specification. @module
 */
import {
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
    yield plug;
    if (isSwitch(plug)) yield* walk(plug.ports);
  }
}
