/**
 * A folder that is gone when its test is over.
 * @module
 */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** Absolute path of a fresh, empty folder. */
export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'pcie-emu-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
