/**
 * Single Root I/O Virtualization: the capability of a physical function and the virtual functions behind it,
 * which appear with VF Enable at the requester IDs and addresses that the capability says. [PCIE] 9.2, 9.3.3
 * @module
 */
import { invariant, usage } from '#emu/base/errors.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import { BarDecode } from './config-bar.ts';
import { type BarSpec, barRegisters, checkBars } from './config-header.ts';
import { ExtendedId } from './config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from './config-space.ts';
import { SrIov as Offset, SrIovControl } from './function-registers.ts';

export interface SriovOptions {
  /** 1 to 256. */
  readonly totalVfs: number;
  /** Device ID of every virtual function. */
  readonly vfDeviceId: number;
  /** BARs of one virtual function, each of at least 4 KiB; the physical function decodes them for all. */
  readonly vfBars: readonly BarSpec[];
  /** Requester ID of the first virtual function minus the physical function's. Default 1. */
  readonly firstOffset?: number;
  /** From one virtual function's requester ID to the next. Default 1. */
  readonly stride?: number;
  /** Builds virtual function `index` (0 is the first) with an endpoint whose specification has `vfOf: physical`. */
  readonly buildVf: (path: string, index: number, physical: Endpoint) => Endpoint;
}

const MAX_VFS = 256;
/** The only page size is 4 KiB. [PCIE] 9.3.3.12 */
const PAGE_4K = 1;

/** Appends an SR-IOV capability. @throws USAGE for numbers that no hardware could have */
export function addSriov(config: ConfigSpace, options: SriovOptions): number {
  checkSriov(options);
  const { totalVfs, vfDeviceId, firstOffset = 1, stride = 1 } = options;
  const at = config.appendExtended(ExtendedId.SrIov, 1, Offset.SIZE);
  const define = (
    name: string,
    offset: number,
    width: 8 | 16 | 32,
    reset: number,
    writable = 0,
  ): void => config.define({ name, offset: at + offset, width, reset, writable });
  define('SriovCapabilities', Offset.Capabilities, 32, 0);
  define('SriovControl', Offset.Control, 16, 0, CONTROL_WRITABLE);
  define('SriovStatus', Offset.Status, 16, 0);
  define('InitialVfs', Offset.InitialVfs, 16, totalVfs);
  define('TotalVfs', Offset.TotalVfs, 16, totalVfs);
  define('NumVfs', Offset.NumVfs, 16, 0, 0xffff);
  define('FunctionDependencyLink', Offset.DependencyLink, 8, 0);
  define('FirstVfOffset', Offset.FirstVfOffset, 16, firstOffset);
  define('VfStride', Offset.VfStride, 16, stride);
  define('VfDeviceId', Offset.VfDeviceId, 16, vfDeviceId);
  define('SupportedPageSizes', Offset.SupportedPageSizes, 32, PAGE_4K);
  define('SystemPageSize', Offset.SystemPageSize, 32, PAGE_4K, PAGE_4K);
  for (const register of options.vfBars.flatMap((bar) => barRegisters(bar, at + Offset.VfBar0))) {
    config.define({ ...register, name: `VF_${register.name}` });
  }
  return at;
}

const CONTROL_WRITABLE =
  SrIovControl.VfEnable.mask | SrIovControl.VfMse.mask | SrIovControl.AriHierarchy.mask;

function checkSriov({ totalVfs, firstOffset = 1, stride = 1, vfBars }: SriovOptions): void {
  for (const [key, value, most] of [
    ['totalVfs', totalVfs, MAX_VFS],
    ['firstOffset', firstOffset, 0xffff],
    ['stride', stride, 0xffff],
  ] as const) {
    if (Number.isInteger(value) && value >= 1 && value <= most) continue;
    throw usage(`sriov.${key}: expected an integer of 1 to ${most}, got ${value}`);
  }
  checkBars(vfBars);
  for (const { index, sizeBytes } of vfBars) {
    if (sizeBytes >= 4096) continue;
    throw usage(`sriov.vfBars[${index}].sizeBytes: expected at least 4096, got ${sizeBytes}`);
  }
}

export class Sriov implements ConfigWatcher {
  readonly totalVfs: number;
  readonly firstOffset: number;
  readonly stride: number;
  /** Called when virtual functions have appeared or vanished. */
  onChange: (() => void) | null = null;
  readonly #physical: Endpoint;
  readonly #config: ConfigSpace;
  readonly #options: SriovOptions;
  readonly #at: number;
  readonly #bars: readonly BarDecode[];
  #vfs: readonly Endpoint[] = [];
  #enabled = 0;

  /** @throws USAGE */
  constructor(physical: Endpoint, options: SriovOptions) {
    const { config } = physical;
    this.totalVfs = options.totalVfs;
    this.firstOffset = options.firstOffset ?? 1;
    this.stride = options.stride ?? 1;
    this.#physical = physical;
    this.#config = config;
    this.#options = options;
    this.#at = addSriov(config, options);
    this.#bars = options.vfBars.map((bar) => new BarDecode(bar, this.#at + Offset.VfBar0));
    config.watch(0, this.#at + Offset.SIZE, this);
  }

  /** Every virtual function, enabled or not. */
  get vfs(): readonly Endpoint[] {
    return this.#vfs;
  }

  /** How many of them are enabled, the first ones. */
  get enabled(): number {
    return this.#enabled;
  }

  /** Builds the virtual functions, once the model of the physical function is there. */
  build(): void {
    const { totalVfs, buildVf } = this.#options;
    const physical = this.#physical;
    this.#vfs = Array.from({ length: totalVfs }, (_, i) => {
      const path = `${physical.path}.vf${i}`;
      const vf = buildVf(path, i, physical);
      invariant(vf.config.physical === physical.config, `${path} is not a function of its PF`);
      return vf;
    });
    this.configWritten();
  }

  /** Gives the virtual functions the requester IDs that follow the physical function's. [PCIE] 9.2.1.2 */
  renumber(): void {
    const first = this.#physical.id + this.firstOffset;
    for (const [i, vf] of this.#vfs.entries()) vf.id = first + i * this.stride;
  }

  configWritten(): void {
    const control = this.#config.read(this.#at + Offset.Control, 2);
    const isEnabled = SrIovControl.VfEnable.get(control) === 1;
    // NumVFs counts as it stood when VF Enable was set. [PCIE] 9.3.3.7
    if (isEnabled !== this.#enabled > 0) {
      this.#enable(isEnabled ? this.#config.read(this.#at + Offset.NumVfs, 2) : 0);
    }
    this.#decode(isEnabled && SrIovControl.VfMse.get(control) === 1);
  }

  configReset(): void {
    this.configWritten();
  }

  #enable(wanted: number): void {
    const before = this.#enabled;
    this.#enabled = Math.min(wanted, this.totalVfs);
    this.renumber();
    // What vanishes loses its state, as what appears has none. [PCIE] 9.3.3.3.1
    for (const vf of this.#vfs.slice(this.#enabled, before)) vf.reset();
    this.onChange?.();
  }

  /** Addresses of each function's share of the VF BARs, and whatever else it has from its physical function. */
  #decode(memoryEnable: boolean): void {
    for (const bar of this.#bars) bar.decode(this.#config.view, true);
    for (const [i, vf] of this.#vfs.entries()) {
      for (const { index, base, sizeBytes } of this.#bars) {
        const share = vf.config.bars.find((bar) => bar.index === index);
        share?.place(base + i * sizeBytes, memoryEnable && base !== 0 && i < this.#enabled);
      }
      vf.config.refresh();
    }
  }
}
