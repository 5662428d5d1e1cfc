/**
 * The TypeScript files of this repository, for tests that read the source as text.
 * @module
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of the repository. */
export const repositoryRoot: string = fileURLToPath(new URL('../..', import.meta.url));

export interface SourceFile {
  /** Path inside the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** Reads every `.ts` file below the named folders of the repository, in path order. */
export function sourceFiles(folders: readonly string[]): SourceFile[] {
  return folders
    .filter((folder) => existsSync(join(repositoryRoot, folder)))
    .flatMap((folder) =>
      readdirSync(join(repositoryRoot, folder), { recursive: true, encoding: 'utf8' }).map(
        (name) => `${folder}/${name.replaceAll('\\', '/')}`,
      ),
    )
    .filter((path) => path.endsWith('.ts') && !path.includes('/fixtures/'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(repositoryRoot, path), 'utf8') }));
}
