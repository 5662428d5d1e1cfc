/**
 * AtomicOps carried out on little-endian operands in the arena. [PCIE] 2.2.7, 6.15
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import { CapabilityId, DevCap2, Pcie } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { type Tlp, TlpKind } from './tlp.ts';

/** AtomicOps that a function can ask for. */
export type AtomicKind = typeof TlpKind.FetchAdd | typeof TlpKind.Swap | typeof TlpKind.CAS;

/** Operands that a request carries. [PCIE] 2.2.7 */
export const operandCount = (kind: TlpKind): number => (kind === TlpKind.CAS ? 2 : 1);

/**
 * Where in the arena the target's new value is. The request's own operands may be overwritten.
 * @param originalAt the target's value as it is, `tlp.sizeBytes` of it
 */
export function newValueAt(tlp: Tlp, originalAt: number): number {
  const { payloadAt, sizeBytes } = tlp;
  if (tlp.kind === TlpKind.Swap) return payloadAt;
  if (tlp.kind === TlpKind.FetchAdd) return add(payloadAt, originalAt, sizeBytes);
  return isEqual(payloadAt, originalAt, sizeBytes) ? payloadAt + sizeBytes : originalAt;
}

/** Unsigned, without regard to overflow. */
function add(at: number, originalAt: number, sizeBytes: number): number {
  const { view } = arena;
  let carry = 0;
  for (let i = 0; i < sizeBytes; i += 4) {
    const sum = view.getUint32(at + i, true) + view.getUint32(originalAt + i, true) + carry;
    view.setUint32(at + i, sum, true);
    carry = sum > 0xffff_ffff ? 1 : 0;
  }
  return at;
}

function isEqual(a: number, b: number, sizeBytes: number): boolean {
  for (let i = 0; i < sizeBytes; i++) if (arena.u8[a + i] !== arena.u8[b + i]) return false;
  return true;
}

/** Whether a function announces that it completes this AtomicOp, by the size of its operands. [PCIE] 7.5.3.15 */
export function completesAtomic(config: ConfigSpace, tlp: Tlp): boolean {
  const at = config.capability(CapabilityId.Pcie);
  if (at === 0) return false;
  const capabilities = config.read(at + Pcie.DevCap2, 4);
  if (tlp.sizeBytes === 4) return DevCap2.AtomicCompleter32.get(capabilities) === 1;
  if (tlp.sizeBytes === 8) return DevCap2.AtomicCompleter64.get(capabilities) === 1;
  return DevCap2.CasCompleter128.get(capabilities) === 1;
}

/** Whether an AtomicOp breaks a rule that receivers check. [PCIE] 2.2.7 */
export function isMalformedAtomic(kind: AtomicKind, address: number, sizeBytes: number): boolean {
  const isSized = sizeBytes === 4 || sizeBytes === 8 || (sizeBytes === 16 && kind === TlpKind.CAS);
  return !isSized || address % sizeBytes !== 0;
}
