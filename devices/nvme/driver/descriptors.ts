/**
 * How a command describes its data: chooses between PRPs and an SGL as Linux does, writes it, or says why neither
 * can. A pure function of data, policy and place. [NVME] 4.1
 * @module
 */
import { SglSupport } from '#devices/nvme/spec-identify.ts';
import { PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import type { CommandFields } from './command-fields.ts';
import type { DataRanges } from './data-ranges.ts';
import type { ListPlace } from './list-place.ts';
import { prpObjection, writePrps } from './prps.ts';
import { sglObjection, writeSgl } from './sgls.ts';

export interface DescriptorPolicy {
  /** What the drive takes; None also when SGLs are not wanted. */
  readonly sgl: SglSupport;
  /** Use SGLs wherever they can describe the data. */
  readonly preferSgl: boolean;
  /** Average bytes of a range from which an SGL is the better choice; Infinity for never. */
  readonly sglThresholdBytes: number;
}

/**
 * Describes `data` in `fields`, with a list at `list` when it needs one. Data that PRPs cannot describe takes an
 * SGL; so does one range of more pages than two, and several that are large on average.
 * @returns why it cannot be described, or null
 */
export function describe(
  data: DataRanges,
  policy: DescriptorPolicy,
  list: ListPlace,
  fields: CommandFields,
): string | null {
  const againstPrps = prpObjection(data);
  const wantsSgl = againstPrps !== null || policy.preferSgl || isLarge(data, policy);
  const againstSgl = wantsSgl ? sglObjection(data, list, policy.sgl) : null;
  if (wantsSgl && againstSgl === null) writeSgl(data, list, fields);
  else if (againstPrps === null) writePrps(data, list, fields);
  else return `${againstPrps}, which PRPs cannot describe, and ${againstSgl}`;
  return null;
}

function isLarge(data: DataRanges, { sgl, sglThresholdBytes }: DescriptorPolicy): boolean {
  if (sgl === SglSupport.None) return false;
  if (data.count > 1) return data.sizeBytes >= sglThresholdBytes * data.count;
  return pageOffset(data.address(0)) + data.sizeBytes > 2 * PAGE_SIZE;
}
