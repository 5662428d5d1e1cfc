/**
 * A root complex with one switch and memory-backed endpoints, configured through its configuration spaces:
 * for tests of the fabric itself, below host enumeration. Builds; asserts nothing.
 */
import { type DmaAddr, dmaAddr, hi32, lo32, physAddr } from '#emu/base/units.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { addAcs, addPcie } from '#emu/pcie/config/capabilities.ts';
import { DevCtl, Header, Pcie, PortType, Type1 } from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { type DmaClient, Endpoint, type EndpointSpec } from '#emu/pcie/endpoint/endpoint.ts';
import { Fabric, type Fidelity } from '#emu/pcie/fabric.ts';
import type { LinkSpec } from '#emu/pcie/link/link.ts';
import { Port } from '#emu/pcie/link/port.ts';
import type { PeerReadTable } from '#emu/pcie/root/peer-reads.ts';
import { RootComplex } from '#emu/pcie/root/root-complex.ts';
import { Switch } from '#emu/pcie/switch/switch.ts';
import { Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { Kernel } from '#emu/sim/kernel.ts';

export const BAR_BYTES = 2 ** 20;
export const WINDOW = 0x40_0000_0000;
export const DRAM = 0x8000_0000;
export const DOORBELL = 0x2800_0000;
const IDENTITY = { vendorId: 0x1234, deviceId: 1, classCode: 0x058000 };

export interface SmallFabricOptions {
  readonly fidelity?: Fidelity;
  /** Endpoints below the switch; one more stands under a root port of its own. */
  readonly endpoints?: number;
  readonly link?: LinkSpec;
  readonly maxPayloadBytes?: 128 | 256 | 512;
  readonly switchLatencyPs?: number;
  readonly cutThrough?: boolean;
  readonly endpoint?: Partial<EndpointSpec>;
  readonly peerReads?: PeerReadTable;
}

export interface SmallEndpoint {
  readonly endpoint: Endpoint;
  /** Behind BAR0. */
  readonly memory: SparseMemory;
  readonly bar: DmaAddr;
  readonly bus: number;
}

export interface SmallFabric {
  readonly kernel: Kernel;
  readonly fabric: Fabric;
  readonly root: RootComplex;
  readonly switch: Switch;
  /** Those below the switch, then the one under the second root port. */
  readonly endpoints: readonly SmallEndpoint[];
  readonly host: SparseMemory;
  /** Gives the arena back what it took: for tests that build many. */
  dispose(): void;
}

function bridge(portType: PortType): ConfigSpace {
  const config = new ConfigSpace({ type: 1, identity: { ...IDENTITY, classCode: 0x060400 } });
  addPcie(config, { portType, maxPayloadBytes: 512, extendedTags: true });
  addAcs(config, { egressPorts: 8 });
  return config;
}

/** Command, MPS and extended tags as host software would set them. */
function enable(config: ConfigSpace, maxPayloadBytes: number): void {
  const at = config.capability(0x10);
  let control = config.read(at + Pcie.DevCtl, 2);
  control = DevCtl.MaxPayload.put(control, Math.log2(maxPayloadBytes) - 7);
  config.write(at + Pcie.DevCtl, 2, DevCtl.ExtendedTag.put(control, 1));
  config.write(Header.Command, 2, 6);
}

function program(config: ConfigSpace, buses: number[], base: number, limit: number): void {
  const [primary = 0, secondary = 0, subordinate = 0] = buses;
  config.write(Type1.PrimaryBus, 1, primary);
  config.write(Type1.SecondaryBus, 1, secondary);
  config.write(Type1.SubordinateBus, 1, subordinate);
  config.write(Type1.PrefetchBase, 2, (base / 2 ** 16) & 0xfff0);
  config.write(Type1.PrefetchBaseUpper, 4, hi32(base));
  config.write(Type1.PrefetchLimit, 2, (limit / 2 ** 16) & 0xfff0);
  config.write(Type1.PrefetchLimitUpper, 4, hi32(limit));
}

export function smallFabric(options: SmallFabricOptions = {}): SmallFabric {
  const { fidelity = 'timed', endpoints: count = 2, maxPayloadBytes = 256 } = options;
  const link = options.link ?? { gen: 3, width: 8 };
  const kernel = new Kernel({ seed: 1 });
  const fabric = new Fabric(kernel, fidelity, 512);
  const host = new SparseMemory(2 ** 40, 'host');
  const roots = [bridge(PortType.RootPort), bridge(PortType.RootPort)];
  const root = new RootComplex(fabric, 'rc0', {
    memory: host,
    dram: { base: physAddr(DRAM), sizeBytes: 2 ** 30 },
    doorbell: { base: physAddr(DOORBELL), sizeBytes: 4096 },
    ...(options.peerReads ? { peerReads: options.peerReads } : {}),
    hostBridges: [
      {
        config: new ConfigSpace({ type: 0, identity: IDENTITY }),
        bridges: roots,
        portPaths: ['rc0.port0', 'rc0.port1'],
      },
    ],
  });
  const bridges = [bridge(PortType.SwitchUpstream)];
  for (let i = 0; i < count; i++) bridges.push(bridge(PortType.SwitchDownstream));
  const portPaths = bridges.map((_, i) => (i === 0 ? 'sw0.up' : `sw0.down${i - 1}`));
  const sw = new Switch(fabric, 'sw0', {
    bridges,
    portPaths,
    latencyPs: options.switchLatencyPs ?? 105_000,
    cutThrough: options.cutThrough ?? true,
  });
  const joined = (a: Port, b: Port): void => Port.connect(a, b, link);
  joined(root.ports[0]!, sw.upstream);

  const last = 3 + count;
  const barOf = (i: number): number => WINDOW + i * BAR_BYTES;
  program(roots[0]!, [0, 1, last - 1], barOf(0), barOf(count) - 1);
  program(bridges[0]!, [1, 2, last - 1], barOf(0), barOf(count) - 1);
  program(roots[1]!, [0, last, last], barOf(count), barOf(count + 1) - 1);
  for (const config of [...roots, ...bridges]) enable(config, maxPayloadBytes);
  const endpoints: SmallEndpoint[] = [];
  for (let i = 0; i <= count; i++) {
    const below = i < count ? sw.ports[i + 1]! : root.ports[1]!;
    if (i < count) program(bridges[i + 1]!, [2, 3 + i, 3 + i], barOf(i), barOf(i + 1) - 1);
    const one = addEndpoint(fabric, `ep${i}`, barOf(i), 3 + i, options, maxPayloadBytes);
    joined(below, one.endpoint.port);
    endpoints.push(one);
  }
  const dispose = (): void => {
    for (const { memory } of endpoints) memory.dispose();
    root.dispose();
    host.dispose();
    fabric.dispose();
  };
  return { kernel, fabric, root, switch: sw, endpoints, host, dispose };
}

function addEndpoint(
  fabric: Fabric,
  path: string,
  bar: number,
  bus: number,
  options: SmallFabricOptions,
  maxPayloadBytes: number,
): SmallEndpoint {
  const memory = new SparseMemory(BAR_BYTES, path);
  const endpoint = new Endpoint(fabric, path, {
    identity: IDENTITY,
    bars: [{ index: 0, sizeBytes: BAR_BYTES, width: 64, prefetchable: true, target: memory }],
    msi: { vectors: 1 },
    ...options.endpoint,
  });
  const { config } = endpoint;
  config.write(Header.Bar0, 4, lo32(bar));
  config.write(Header.Bar0 + 4, 4, hi32(bar));
  enable(config, maxPayloadBytes);
  const capture = new Tlp(0);
  capture.kind = TlpKind.CfgWr0;
  capture.targetId = bus << 8;
  capture.address = Header.CacheLineSize;
  capture.sizeBytes = 1;
  endpoint.configure(endpoint.port, capture, 0);
  return { endpoint, memory, bar: dmaAddr(bar), bus };
}

/** Remembers how each transfer ended, by its argument. */
export class Outcomes implements DmaClient {
  readonly ended: { status: number; arg: number }[] = [];
  dmaDone(status: number, arg: number): void {
    this.ended.push({ status, arg });
  }
  get statuses(): number[] {
    return this.ended.map(({ status }) => status);
  }
}

/** Fills memory with bytes that differ from place to place. */
export function pattern(memory: SparseMemory, at: number, sizeBytes: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let x = seed >>> 0;
  for (let i = 0; i < sizeBytes; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  memory.write(at, bytes);
  return bytes;
}

export function bytesOf(memory: SparseMemory, at: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  memory.read(at, bytes);
  return bytes;
}
