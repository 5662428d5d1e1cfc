/**
 * Refuses ways to make memory accessible to devices that a machine cannot have.
 * @module
 */
import { checkKeys } from '#emu/base/known-keys.ts';
import { DEFAULT_POOL_BYTES, MAX_BOUNCE_BYTES } from '#emu/dma/providers/bounce-pool.ts';
import {
  type DeviceDmaSpec,
  DMA_PROVIDERS,
  type DmaProviderName,
  type MachineSpec,
} from '#emu/host/machine-spec.ts';
import { physicalMap } from '#emu/host/physical-map.ts';
import { checkSize, expected, formatSize } from './spec-fields.ts';
import { DMA_KEYS } from './spec-keys.ts';

const FOUR_GIB = 2 ** 32;

/** @throws USAGE */
export function checkDma(spec: MachineSpec): void {
  const { dma } = spec;
  if (dma === undefined) return;
  if (dma === null || typeof dma !== 'object') throw expected('dma', 'a specification object', dma);
  checkKeys('dma', dma, DMA_KEYS);
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
  checkDevices(spec, provider);
  if (provider === 'bounce') return checkPool(spec, bounceBytes ?? DEFAULT_POOL_BYTES);
  for (const key of ['bounceBytes', 'forceBounce'] as const) {
    if (dma[key] !== undefined) {
      throw expected(`dma.${key}`, `it with dma.provider 'bounce' only`, provider);
    }
  }
}

/** What firmware says of devices; whether they exist is not asked, since they may come later. */
function checkDevices({ dma, iommu }: MachineSpec, provider: DmaProviderName): void {
  const devices = dma?.devices;
  if (devices === undefined) return;
  if (devices === null || typeof devices !== 'object') {
    throw expected('dma.devices', 'an object by device name', devices);
  }
  if (provider === 'legacy') {
    throw expected('dma.devices', "it with any dma.provider but 'legacy'", provider);
  }
  const isTranslated = Boolean(iommu) && (provider === 'auto' || provider === 'iommu');
  for (const [name, device] of Object.entries(devices)) {
    checkDevice(`dma.devices.${name}`, device, isTranslated);
  }
}

function checkDevice(key: string, device: DeviceDmaSpec, isTranslated: boolean): void {
  if (device === null || typeof device !== 'object') throw expected(key, 'an object', device);
  for (const field of ['coherent', 'untrusted'] as const) {
    const value = device[field];
    if (value === undefined || typeof value === 'boolean') continue;
    throw expected(`${key}.${field}`, 'true or false', value);
  }
  if (!device.untrusted || isTranslated) return;
  throw expected(`${key}.untrusted`, 'it behind an IOMMU that translates, see iommu', true);
}

/** At most half of the memory below 4 GiB, which drivers need as well. */
function checkPool(spec: MachineSpec, bounceBytes: number): void {
  const { base, sizeBytes } = physicalMap(spec).dram;
  const lowBytes = Math.min(base + sizeBytes, FOUR_GIB) - base;
  const what = `a multiple of ${formatSize(MAX_BOUNCE_BYTES)}, half of the memory below 4 GiB at most:`;
  checkSize('dma.bounceBytes', bounceBytes, MAX_BOUNCE_BYTES, lowBytes / 2, what);
}
