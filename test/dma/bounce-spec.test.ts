/**
 * Ways to make memory accessible that a machine cannot have, each refused with a line that names the key, what was
 * expected and what was got.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { checkMachine } from '#emu/host/checks/topology-check.ts';
import { machine } from '#emu/host/machine.ts';

/** Untyped, so that impossible values may be given. */
function refusal(rest: object): string {
  try {
    checkMachine(Object.assign({ rootPorts: [{}] }, rest));
  } catch (error) {
    assert.ok(error instanceof EmuError);
    assert.equal(error.code, 'USAGE');
    return error.message;
  }
  return 'accepted';
}

const names = 'auto, direct, iommu, bounce, legacy';
const refused: readonly (readonly [spec: object, message: string])[] = [
  [{ dma: 'bounce' }, "dma: expected a specification object, got 'bounce'"],
  [{ dma: { provider: 'swiotlb' } }, `dma.provider: expected one of ${names}, got 'swiotlb'`],
  [
    { dma: { provider: 'iommu' } },
    "dma.provider: expected 'iommu' only with an IOMMU, see iommu, got 'iommu'",
  ],
  [
    { dma: { provider: 'bounce', forceBounce: 1 } },
    'dma.forceBounce: expected true or false, got 1',
  ],
  [
    { dma: { forceBounce: true } },
    "dma.forceBounce: expected it with dma.provider 'bounce' only, got 'auto'",
  ],
  [
    { dma: { provider: 'direct', bounceBytes: 2 ** 20 } },
    "dma.bounceBytes: expected it with dma.provider 'bounce' only, got 'direct'",
  ],
  [
    { dma: { provider: 'bounce', bounceBytes: 300_000 } },
    'dma.bounceBytes: expected a multiple of 256 KiB, half of the memory below 4 GiB at most: up to 1 GiB, got 300000',
  ],
  [
    { memory: { sizeBytes: 2 ** 20 * 100 }, dma: { provider: 'bounce' } },
    'dma.bounceBytes: expected a multiple of 256 KiB, half of the memory below 4 GiB at most: up to 50 MiB, got 67108864',
  ],
];

for (const [spec, message] of refused) {
  test(`refused: ${JSON.stringify(spec)}`, () => assert.equal(refusal(spec), message));
}

test('what can be is accepted', () => {
  for (const provider of ['auto', 'direct', 'bounce', 'legacy']) {
    assert.equal(refusal({ dma: { provider } }), 'accepted');
    assert.equal(refusal({ dma: { provider }, iommu: true }), 'accepted');
  }
  assert.equal(refusal({ dma: {} }), 'accepted');
  assert.equal(refusal({ dma: { provider: 'iommu' }, iommu: {} }), 'accepted');
});

test('the pool is there from the start, and memory taken before boot does not move it', () => {
  const built = machine({ rootPorts: [{}], dma: { provider: 'bounce' } }).build();
  assert.deepEqual([built.mm.usedBytes, built.mm.allocations], [64 * 2 ** 20, 1]);
  assert.equal(built.bounce?.slots, 32_768);
  built.mm.allocate(2 ** 31);
  built.boot();
  built.kernel.run();
  assert.equal(built.bounce?.base, 0x8000_0000);
  built.dispose();
});
