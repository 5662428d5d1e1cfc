/**
 * The device directory as its owner writes it: two levels, base-format contexts, first stage Sv48.
 * [RVIOMMU] 2.1
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { type Bdf, formatBdf, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { DmaHost } from '#emu/dma/providers/dma-provider.ts';
import { Dc, DcTa, DcTc, FirstStage, Iosatp, ppnHi, ppnLo } from '#emu/iommu/spec.ts';

const PAGE = 4096;
/** Device ids that one page of contexts holds: bits 6:0. */
const CONTEXT_BITS = 7;
const VALID = 1;

export class ContextTable {
  readonly root: PhysAddr;
  readonly #host: DmaHost;
  /** Pages of contexts, by the id's bits 15:7. */
  readonly #pages = new Map<number, PhysAddr>();

  constructor(host: DmaHost) {
    this.#host = host;
    this.root = zeroedPage(host);
  }

  /**
   * Makes requests of `bdf` go through the page table at `root`. An absent context is in no cache, so nothing
   * is to be invalidated. @throws USAGE when the function has one already
   */
  set(bdf: Bdf, root: PhysAddr, pscid: number): void {
    const { memory } = this.#host;
    const context = this.#context(bdf);
    if (DcTc.V.get(memory.getU32(context + Dc.tc)) === 1) {
      throw usage(`${formatBdf(bdf)} has a DMA domain already`);
    }
    // fsc holds the PPN in bits 43:0.
    const ppn = root / PAGE;
    memory.setU64(context + Dc.fsc, ppn);
    const mode = Iosatp.MODE.of(FirstStage.Sv48);
    memory.setU32(context + Dc.fsc + 4, memory.getU32(context + Dc.fsc + 4) | mode);
    memory.setU32(context + Dc.ta, DcTa.PSCID.of(pscid));
    memory.setU32(context + Dc.tc, DcTc.V.of(1));
  }

  /** Makes requests of `bdf` fault; caches are to be told. */
  clear(bdf: Bdf): void {
    this.#host.memory.setU32(this.#context(bdf) + Dc.tc, 0);
  }

  #context(bdf: Bdf): PhysAddr {
    const index = bdf >>> CONTEXT_BITS;
    let page = this.#pages.get(index);
    if (page === undefined) {
      page = zeroedPage(this.#host);
      this.#pages.set(index, page);
      const entry = this.root + 8 * index;
      this.#host.memory.setU32(entry + 4, ppnHi(page));
      this.#host.memory.setU32(entry, ppnLo(page) | VALID);
    }
    return offsetBy(page, Dc.SIZE * (bdf & (2 ** CONTEXT_BITS - 1)));
  }
}

function zeroedPage(host: DmaHost): PhysAddr {
  const page = host.allocate(PAGE, PAGE);
  host.memory.fill(page, PAGE, 0);
  return page;
}
