/**
 * One piece of memory at a time: which mapping of an address is meant, and what a driver that does not say it well is told.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { physAddr } from '#emu/base/units.ts';
import { MAPPING_ERROR, SingleMapper } from '#emu/dma/iova/single-mapper.ts';
import { Direction } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import { CLIENT, FakeView, PEER, threePorts } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const { ToDevice, FromDevice, Bidirectional } = Direction;
const misuse = (text: RegExp) => (error: unknown) =>
  error instanceof EmuError && error.code === 'CHECKER' && text.test(error.message);

/** Without an IOMMU, so that one address may be mapped several times. */
function mapperOf() {
  const kernel = new Kernel();
  const device = new DirectProvider({ kernel, view: new FakeView(threePorts()) }).device(CLIENT);
  return { device, mapper: new SingleMapper(device) };
}

test('of several mappings of one address the size decides, then the direction', () => {
  const { device, mapper } = mapperOf();
  for (const [size, direction] of [
    [8192, ToDevice],
    [4096, ToDevice],
    [4096, FromDevice],
    [100, Bidirectional],
  ] as const) {
    const address = mapper.map(HOST, size, direction);
    assert.equal(mapper.mappingError(address), null);
  }
  const address = mapper.map(HOST, 100, Bidirectional);
  assert.equal(mapper.mappingError(address), null);
  // In an order in which the oldest is never the one that is meant.
  for (const [size, direction, left] of [
    [4096, FromDevice, 4],
    [100, Bidirectional, 3],
    [4096, ToDevice, 2],
    [100, Bidirectional, 1],
    [8192, ToDevice, 0],
  ] as const) {
    void mapper.unmap(address, size, direction);
    assert.equal(device.liveMappings, left, `${size} ${direction}`);
  }
  assert.throws(() => mapper.unmap(address, 100, Bidirectional), misuse(/which is not mapped/));
});

test('what fits none is compared with the one that fits best', () => {
  const { mapper } = mapperOf();
  const address = mapper.map(HOST, 4096, ToDevice);
  mapper.map(HOST, 100, FromDevice);
  assert.equal(mapper.mappingError(address), null);
  assert.throws(() => mapper.unmap(address, 100, ToDevice), misuse(/direction/));
  assert.throws(() => mapper.unmap(address, 50, ToDevice), misuse(/size|bytes/));
  assert.throws(() => mapper.sync(address, 100, ToDevice, 'cpu'), misuse(/direction/));
  mapper.sync(address, 100, FromDevice, 'cpu');
});

test('every address is asked for an error, each for itself', () => {
  const { mapper } = mapperOf();
  const first = mapper.map(HOST, 4096, ToDevice);
  const second = mapper.map(physAddr(HOST + 4096), 4096, ToDevice);
  assert.equal(mapper.mappingError(second), null);
  assert.throws(() => mapper.unmap(first, 4096, ToDevice), misuse(/never asked for an error/));
  void mapper.unmap(second, 4096, ToDevice);
  assert.equal(mapper.mappingError(first), null);
  void mapper.unmap(first, 4096, ToDevice);
});

test('what could not be mapped has no address, and a reason', () => {
  const { device, mapper } = mapperOf();
  const address = mapper.map(PEER.banned, 4096, ToDevice);
  assert.equal(address, MAPPING_ERROR);
  assert.equal(mapper.mappingError(address)?.refused, 'EREMOTEIO');
  assert.throws(() => mapper.unmap(address, 4096, ToDevice), misuse(/could not be mapped/));
  assert.equal(device.liveMappings, 0);
});
