/**
 * What the root complex asks of an IOMMU; an interface only, implemented by whatever translation
 * hardware a machine has. [RVIOMMU] 2.3, [PCIE] 2.2.4.1
 * @module
 */
import { type Bdf, type DmaAddr, type PhysAddr, physAddr } from '#emu/base/units.ts';

/** Answer to one request, overwritten by each call: the caller owns it and passes it again and again. */
export interface Translation {
  /** True: the request must be refused (Unsupported Request, or dropped when posted); `address` is 0. */
  fault: boolean;
  /** Where the access goes; same offset within the 4 KiB page as the request. */
  address: PhysAddr;
  /** Time the answer takes, an integer number of picoseconds. */
  latencyPs: number;
}

/** Address translation on the way from a root port to memory or to another root port. */
export interface Translator {
  /**
   * Translates one access that stays within a 4 KiB page. The answer is decided at once and is good
   * for that page until the next call; the caller lets `latencyPs` pass before it uses it.
   * Never throws on what devices or tables contain, and allocates nothing on a cache hit.
   */
  translate(requester: Bdf, address: DmaAddr, write: boolean, out: Translation): void;
}

/** A fresh answer record, for a caller to keep. */
export const newTranslation = (): Translation => ({
  fault: false,
  address: physAddr(0),
  latencyPs: 0,
});
