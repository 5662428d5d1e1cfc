/**
 * Builds a device of one or several functions behind one port, and names the functions, virtual ones too.
 * [PCIE] 6.13, 9.2
 * @module
 */
import { type LinkRate, setLinkUp } from '#emu/pcie/config/capabilities.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import { FunctionGroup } from '#emu/pcie/endpoint/function-group.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { isMultiFunction, type MultiFunctionSpec, type Plug } from './machine-spec.ts';
import { vfName } from './names.ts';
import { Place } from './place.ts';

/** A device without its link. */
export interface BuiltDevice {
  readonly port: Port;
  /** Path of function 0. */
  readonly path: string;
  /** Every function, the virtual ones behind their physical one. */
  readonly functions: ReadonlyMap<string, Endpoint>;
}

/** Builds what stands below `parent`, which gets a place for each physical function. */
export function buildDevice(
  fabric: Fabric,
  plug: DeviceSpec | MultiFunctionSpec,
  names: ReadonlyMap<Plug, string>,
  parent: Place,
): BuiltDevice {
  const specs = isMultiFunction(plug) ? plug.functions : [plug];
  const places = specs.map((spec, i) => {
    const name = names.get(spec) ?? spec.kind;
    const place = new Place(name, `${parent.path}.${name}`);
    parent.children.set(i, place);
    return place;
  });
  const physical = specs.map((spec, i) => spec.build(fabric, places[i]!.path));
  const port = portOf(fabric, plug, physical);
  const functions = new Map<string, Endpoint>();
  for (const [i, one] of physical.entries()) {
    const { name } = places[i]!;
    functions.set(name, one);
    for (const [n, vf] of one.sriov?.vfs.entries() ?? []) functions.set(vfName(name, n), vf);
  }
  return { port, path: places[0]!.path, functions };
}

/** Tells every function what the link trained to. */
export function showLink(functions: Iterable<Endpoint>, link: LinkRate): void {
  for (const { config } of functions) setLinkUp(config, link);
}

/** A lone function has the port to itself. */
function portOf(
  fabric: Fabric,
  plug: DeviceSpec | MultiFunctionSpec,
  physical: readonly Endpoint[],
): Port {
  const [only] = physical;
  if (only && physical.length === 1 && only.sriov === null && !isMultiFunction(plug))
    return only.port;
  const ari = isMultiFunction(plug) ? (plug.ari ?? physical.length > 8) : false;
  return new FunctionGroup(fabric, physical, ari).port;
}
