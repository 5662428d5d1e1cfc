/**
 * Registers with which software turns address translation services, page requests and process address spaces of a
 * function on. What they turn on is elsewhere. [PCIE] 7.8.9, 10.5
 * @module
 */
import type { RegisterSpec } from '#emu/base/registers.ts';
import { ExtendedId } from './config-registers.ts';
import type { ConfigSpace } from './config-space.ts';
import {
  Ats,
  AtsCapability,
  AtsControl,
  Pasid,
  PasidCapability,
  PasidControl,
  Pri,
  PriControl,
  PriStatus,
} from './function-registers.ts';

export interface TranslationOptions {
  /** Address Translation Services; the depth of its invalidate queue is 1 to 32. */
  readonly ats?: boolean | { readonly queueDepth?: number };
  /** Page requests, as many outstanding as this. */
  readonly pri?: { readonly capacity: number };
  /** Process address space IDs of 1 to 20 bits. */
  readonly pasid?: {
    readonly width: number;
    readonly execute?: boolean;
    readonly privileged?: boolean;
  };
}

const DEFAULT_DEPTH = 32;

/** Appends what `options` name, in this order. */
export function addTranslation(config: ConfigSpace, options: TranslationOptions): void {
  const { ats = false, pri, pasid } = options;
  if (ats) addAts(config, ats === true ? DEFAULT_DEPTH : (ats.queueDepth ?? DEFAULT_DEPTH));
  if (pri) addPri(config, pri.capacity, pasid !== undefined);
  if (pasid) addPasid(config, pasid);
}

function addAts(config: ConfigSpace, depth: number): void {
  define(config, ExtendedId.Ats, Ats.SIZE, [
    {
      name: 'AtsCapability',
      offset: Ats.Capability,
      width: 16,
      reset:
        AtsCapability.InvalidateQueueDepth.of(depth % 32) | AtsCapability.PageAlignedRequest.of(1),
    },
    {
      name: 'AtsControl',
      offset: Ats.Control,
      width: 16,
      writable: AtsControl.Stu.mask | AtsControl.Enable.mask,
    },
  ]);
}

function addPri(config: ConfigSpace, capacity: number, needsPasid: boolean): void {
  define(config, ExtendedId.Pri, Pri.SIZE, [
    { name: 'PriControl', offset: Pri.Control, width: 16, writable: PriControl.Enable.mask },
    {
      name: 'PriStatus',
      offset: Pri.Status,
      width: 16,
      reset: PriStatus.Stopped.of(1) | PriStatus.PasidRequired.of(+needsPasid),
      w1c: PriStatus.ResponseFailure.mask | PriStatus.UnexpectedGroup.mask,
    },
    { name: 'PriCapacity', offset: Pri.Capacity, width: 32, reset: capacity },
    { name: 'PriAllocation', offset: Pri.Allocation, width: 32, writable: 0xffff_ffff },
  ]);
}

function addPasid(config: ConfigSpace, pasid: NonNullable<TranslationOptions['pasid']>): void {
  const execute = +(pasid.execute === true);
  const privileged = +(pasid.privileged === true);
  define(config, ExtendedId.Pasid, Pasid.SIZE, [
    {
      name: 'PasidCapability',
      offset: Pasid.Capability,
      width: 16,
      reset:
        PasidCapability.Execute.of(execute) |
        PasidCapability.Privileged.of(privileged) |
        PasidCapability.MaxWidth.of(pasid.width),
    },
    {
      name: 'PasidControl',
      offset: Pasid.Control,
      width: 16,
      writable:
        PasidControl.Enable.mask |
        PasidControl.Execute.of(execute) |
        PasidControl.Privileged.of(privileged),
    },
  ]);
}

/** Appends a capability whose registers count from its head. */
function define(
  config: ConfigSpace,
  id: ExtendedId,
  sizeBytes: number,
  registers: readonly RegisterSpec[],
): void {
  const at = config.appendExtended(id, 1, sizeBytes);
  for (const register of registers) config.define({ ...register, offset: at + register.offset });
}
