/**
 * Where a driver or a scenario called host software, for reports of wrong use. Recording one costs a few
 * microseconds and is optional; its text is only made when it is read.
 * @module
 */

const FRAME = /^\s+at (?:async )?(.*)$/;
const SCHEME = /file:\/\//g;
const OWN_FOLDERS = ['host/', 'dma/'] as const;

/** Folder of the framework's sources, as it stands in stacks. */
const SOURCES = import.meta.url.replace(SCHEME, '').replace(/host\/[^/]*$/, '');

export class CallSite {
  readonly #at: Error | null;

  /** @param isRecorded whether to remember the stack; otherwise the site is unknown */
  constructor(isRecorded: boolean) {
    this.#at = isRecorded ? new Error('call site') : null;
  }

  /** `function (file:line:column)` of the nearest caller outside host and DMA software. */
  toString(): string {
    if (this.#at === null) return 'an unknown place (call sites are not recorded)';
    return siteOf(this.#at.stack ?? '');
  }
}

/** The first frame of a stack that does not lie in host or DMA software; else its first. */
export function siteOf(stack: string): string {
  const frames: string[] = [];
  for (const line of stack.split('\n')) {
    const frame = FRAME.exec(line)?.[1];
    if (frame !== undefined) frames.push(frame.replace(SCHEME, ''));
  }
  const outside = frames.find((frame) => !isOwn(frame));
  return outside ?? frames[0] ?? 'an unknown place';
}

const isOwn = (frame: string): boolean =>
  OWN_FOLDERS.some((folder) => frame.includes(SOURCES + folder));
