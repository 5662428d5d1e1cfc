/**
 * Every `[KEY]` and `[KEY] n.n` in a comment names a document of docs/references.md.
 * @module
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { sourceFiles } from '#test/support/source-files.ts';

const COMMENT = /\/\*[\s\S]*?\*\/|(?<!:)\/\/[^\n]*/g;
const CITATION = /(?<![\w\])])\[([A-Z][A-Z0-9-]{2,})\](?!\()/g;
const KEY_ROW = /^\| ([A-Z][A-Z0-9-]{2,}) \|/gm;

/** Keys of the tables of docs/references.md. */
const knownKeys = (): Set<string> => {
  const text = readFileSync(new URL('../docs/references.md', import.meta.url), 'utf8');
  return new Set([...text.matchAll(KEY_ROW)].map((row) => row[1] ?? ''));
};

/** Citation keys in the comments of a source text. */
const citedKeys = (source: string): string[] =>
  [...source.matchAll(COMMENT)].flatMap((comment) =>
    [...comment[0].matchAll(CITATION)].map((citation) => citation[1] ?? ''),
  );

test('citations are found in comments and nowhere else', () => {
  const source =
    "/** A. [PCIE] 6.2.4 and [NVME]. */\nconst x = table[KEY]; // as [EDU] says\n'[NOT]';";
  assert.deepEqual(citedKeys(source), ['PCIE', 'NVME', 'EDU']);
});

test('docs/references.md defines the keys of the specifications', () => {
  const keys = knownKeys();
  for (const key of ['PCIE', 'NVME', 'RVIOMMU', 'AMDGPU', 'EDU', 'VFIO']) assert.ok(keys.has(key));
});

test('every citation names a known document', () => {
  const keys = knownKeys();
  const unknown = sourceFiles(['src', 'devices', 'scenarios', 'test'])
    .filter((file) => file.path !== 'test/citations.test.ts')
    .flatMap((file) =>
      citedKeys(file.text)
        .filter((key) => !keys.has(key))
        .map((key) => `${file.path}: [${key}]`),
    );
  assert.deepEqual(unknown, []);
});
