/**
 * Damaged TLPs at the end of their way: poisoned data, and digests that do not fit. [PCIE] 2.7
 * @module
 */
import { type Decision, Verdict } from '#emu/pcie/component.ts';
import type { Fabric, FabricError } from '#emu/pcie/fabric.ts';
import { type Tlp, TlpFlag, TlpKind } from './tlp.ts';

/** Any of these in `Tlp.flags`: ask {@link damageOf}. */
export const DAMAGED: number = TlpFlag.EP | TlpFlag.BadDigest;

/**
 * What the receiver at `path` finds wrong, or null: a digest is looked at only where AER checks them, EP only with
 * data. A TLP whose digest does not fit is dropped; nothing in it can be trusted. [PCIE] 2.7.1, 2.7.2.2
 */
export function damageOf(fabric: Fabric, path: string, tlp: Tlp): FabricError | null {
  const { flags, kind } = tlp;
  const isBad = (flags & TlpFlag.BadDigest) !== 0 && (flags & TlpFlag.TD) !== 0;
  if (isBad && fabric.errorSites.get(path)?.aer?.ecrcCheck) return 'ecrc-error';
  const hasData = tlp.payloadBytes > 0 || kind === TlpKind.MWr || kind === TlpKind.CplD;
  return (flags & TlpFlag.EP) !== 0 && hasData ? 'poisoned-tlp' : null;
}

/** Lets `out` refuse a damaged TLP that would have ended at `path`. */
export function refuseDamaged(fabric: Fabric, path: string, tlp: Tlp, out: Decision): void {
  const error = out.verdict === Verdict.Local ? damageOf(fabric, path, tlp) : null;
  if (error === null) return;
  out.refuse(error === 'poisoned-tlp' ? Verdict.Unsupported : Verdict.Drop, error);
}
