/**
 * Refuses ways to make memory accessible to devices that a machine cannot have.
 * @module
 */
import { DEFAULT_POOL_BYTES, MAX_BOUNCE_BYTES } from '#emu/dma/bounce-pool.ts';
import { DMA_PROVIDERS, type MachineSpec } from './machine-spec.ts';
import { physicalMap } from './physical-map.ts';
import { checkSize, expected, formatSize } from './spec-fields.ts';

const FOUR_GIB = 2 ** 32;

/** @throws USAGE */
export function checkDma(spec: MachineSpec): void {
  const { dma } = spec;
  if (dma === undefined) return;
  if (dma === null || typeof dma !== 'object') throw expected('dma', 'a specification object', dma);
  const { provider = 'auto', bounceBytes, forceBounce } = dma;
  if (!DMA_PROVIDERS.includes(provider)) {
    throw expected('dma.provider', `one of ${DMA_PROVIDERS.join(', ')}`, provider);
  }
  if (provider === 'iommu' && !spec.iommu) {
    throw expected('dma.provider', `'iommu' only with an IOMMU, see iommu`, provider);
  }
  if (forceBounce !== undefined && typeof forceBounce !== 'boolean') {
    throw expected('dma.forceBounce', 'true or false', forceBounce);
  }
  if (provider === 'bounce') return checkPool(spec, bounceBytes ?? DEFAULT_POOL_BYTES);
  for (const key of ['bounceBytes', 'forceBounce'] as const) {
    if (dma[key] !== undefined) {
      throw expected(`dma.${key}`, `it with dma.provider 'bounce' only`, provider);
    }
  }
}

/** At most half of the memory below 4 GiB, which drivers need as well. */
function checkPool(spec: MachineSpec, bounceBytes: number): void {
  const { base, sizeBytes } = physicalMap(spec).dram;
  const lowBytes = Math.min(base + sizeBytes, FOUR_GIB) - base;
  const what = `a multiple of ${formatSize(MAX_BOUNCE_BYTES)}, half of the memory below 4 GiB at most:`;
  checkSize('dma.bounceBytes', bounceBytes, MAX_BOUNCE_BYTES, lowBytes / 2, what);
}
