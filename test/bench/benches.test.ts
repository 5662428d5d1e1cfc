/**
 * The benchmarks' own verdicts: ratios within one process, so that they hold on any machine.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch } from '#test/support/launcher.ts';
import { runEmu } from '#test/support/recording-terminal.ts';

const rowNames = (prefix: string): readonly string[] =>
  [1, 16, 256, 4096, 262_144].map((count) => `${prefix}.${count}.perRange`);

const DMA_PROVIDERS = ['direct', 'iommu', 'iommuLazy', 'bounce', 'legacy'];
const dmaNames = (provider: string): readonly string[] => [
  ...rowNames(provider),
  `${provider}.rangesPerSecond`,
  `${provider}.holdsPerRange`,
  ...['wide16', 'compact8'].flatMap((layout) => rowNames(`${provider}.${layout}`)),
];

/** What is read of the printed object. */
interface Shown {
  readonly ok: boolean;
  readonly metrics: Readonly<Record<string, { readonly value: number; readonly unit: string }>>;
}

const METRICS: readonly (readonly [bench: string, names: readonly string[]])[] = [
  ['kernel', ['hold64', 'hold1k', 'dispatch64', 'dispatch1k', 'holdsPerEvent']],
  [
    'fabric',
    [
      ...['hold64', 'writeHops', 'holdsPerWriteTlp', 'scavengesPerMillionTlp', 'readHops'],
      ...['writeHopsAllRules', 'readHopsAllRules', 'hostWriteHops', 'hostReadHops'],
      ...['endpoints64Hops', 'functional1MiB', 'functional256B', 'peakRss'],
    ],
  ],
  ['dma', [...DMA_PROVIDERS.flatMap(dmaNames), 'iova.empty', 'iova.live100000']],
];

for (const [bench, names] of METRICS) {
  test(`bench ${bench} keeps its ratios`, async (context) => {
    // A process of its own, as users run it: what one benchmark teaches the compiler misleads the next.
    // Again when a neighbour on the machine disturbed it: the code has not changed in between.
    let outcome = await launch(['bench', bench, '--json']);
    for (let again = 0; again < 2 && outcome.code === 1; again++) {
      context.diagnostic(`disturbed: ${outcome.stdout}`);
      outcome = await launch(['bench', bench, '--json']);
    }
    const { code, stdout, stderr } = outcome;
    const result: Shown = JSON.parse(stdout);
    for (const [name, { value, unit }] of Object.entries(result.metrics)) {
      context.diagnostic(`${name}: ${value} ${unit}`);
    }
    assert.deepEqual(Object.keys(result.metrics), names);
    assert.equal(code, 0, stdout + stderr);
    assert.equal(result.ok, true);
  });
}

test('an unknown benchmark is refused with the names there are', async () => {
  const { code, stderr } = await runEmu('bench', 'fabrik');
  assert.equal(code, 2);
  assert.match(
    stderr,
    /expected one of kernel, fabric, dma, timing, got 'fabrik', did you mean 'fabric'\?/,
  );
});
