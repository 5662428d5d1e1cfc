/**
 * Where this package lies, whether it runs from its sources or compiled.
 * @module
 */
import { readFileSync } from 'node:fs';

const upwards = import.meta.url.endsWith('.ts') ? '../../' : '../../../';

/** Folder of package.json. */
export const packageRoot: URL = new URL(upwards, import.meta.url);

/** Version of the package. */
export function packageVersion(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(new URL('package.json', packageRoot), 'utf8'),
  );
  return manifest.version;
}
