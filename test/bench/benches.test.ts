/**
 * The benchmarks' own verdicts: ratios within one process, so that they hold on any machine.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Bench } from '#emu/cli/bench/bench.ts';
import { dmaBench } from '#emu/cli/bench/dma-bench.ts';
import { fabricBench } from '#emu/cli/bench/fabric-bench.ts';
import { kernelBench } from '#emu/cli/bench/kernel-bench.ts';
import { runEmu } from '#test/support/recording-terminal.ts';

const dmaNames = (provider: string): readonly string[] => [
  ...[1, 16, 256, 4096, 262_144].map((count) => `${provider}.${count}.perRange`),
  ...['wide16', 'compact8'].map((layout) => `${provider}.${layout}.4096.perRange`),
  `${provider}.rangesPerSecond`,
  `${provider}.holdsPerRange`,
];

const METRICS: readonly (readonly [bench: Bench, names: readonly string[]])[] = [
  [kernelBench, ['hold64', 'hold1k', 'dispatch64', 'dispatch1k', 'holdsPerEvent']],
  [
    fabricBench,
    [
      ...['hold64', 'writeHops', 'holdsPerWriteTlp', 'scavengesPerMillionTlp', 'readHops'],
      ...['endpoints64Hops', 'functional1MiB', 'functional256B', 'peakRss'],
    ],
  ],
  [
    dmaBench,
    [...['direct', 'iommu', 'iommuLazy'].flatMap(dmaNames), ...['iova.empty', 'iova.live100000']],
  ],
];

for (const [bench, names] of METRICS) {
  test(`bench ${bench.name} keeps its ratios`, async (context) => {
    const { ok, metrics, checks } = await bench.run();
    for (const [name, { value, unit }] of Object.entries(metrics)) {
      context.diagnostic(`${name}: ${value} ${unit}`);
    }
    assert.deepEqual(Object.keys(metrics), names);
    assert.deepEqual(
      checks.filter((check) => !check.ok),
      [],
    );
    assert.ok(ok);
  });
}

test('an unknown benchmark is refused with the names there are', async () => {
  const { code, stderr } = await runEmu('bench', 'fabrik');
  assert.equal(code, 2);
  assert.match(
    stderr,
    /expected one of kernel, fabric, dma, got 'fabrik', did you mean 'fabric'\?/,
  );
});
