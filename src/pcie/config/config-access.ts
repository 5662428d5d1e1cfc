/**
 * A configuration request's effect on one function: the same for every component.
 * [PCIE] 7.2.1
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import type { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import {
  fillCompletion,
  fillCompletionData,
  isConfigWrite,
  type Tlp,
  type TlpPool,
} from '#emu/pcie/tlp/tlp.ts';
import type { ConfigSpace } from './config-space.ts';

/** Reads, or writes `value`; returns what was read, or 0. */
export function accessConfig(config: ConfigSpace, tlp: Tlp, value: number): number {
  const size = tlp.sizeBytes === 1 ? 1 : tlp.sizeBytes === 2 ? 2 : 4;
  if (!isConfigWrite(tlp)) return config.read(tlp.address, size);
  config.write(tlp.address, size, value);
  return 0;
}

/** Value that a configuration write carries. */
export function configValue(tlp: Tlp): number {
  if (!isConfigWrite(tlp)) return 0;
  const { view } = arena;
  if (tlp.sizeBytes === 1) return view.getUint8(tlp.payloadAt);
  if (tlp.sizeBytes === 2) return view.getUint16(tlp.payloadAt, true);
  return view.getUint32(tlp.payloadAt, true);
}

/** The completion for an executed configuration request. */
export function answerConfig(pool: TlpPool, request: Tlp, completer: number, value: number): Tlp {
  const cpl = pool.take();
  if (isConfigWrite(request)) {
    fillCompletion(cpl, request, completer, 0);
  } else {
    // A whole DW, the bytes asked for in their lanes. [PCIE] 2.2.5
    fillCompletionData(cpl, request, completer, 0, 4);
    arena.view.setUint32(cpl.payloadAt, value << (8 * (request.address & 3)), true);
  }
  return cpl;
}

/** The completion without data that refuses a non-posted request. */
export function answerError(
  pool: TlpPool,
  request: Tlp,
  completer: number,
  status: DmaStatus,
): Tlp {
  const cpl = pool.take();
  fillCompletion(cpl, request, completer, status);
  return cpl;
}
