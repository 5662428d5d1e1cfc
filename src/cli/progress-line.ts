/**
 * One line on a terminal that tells how far a run has come; nothing where nobody watches.
 * @module
 */
import type { Terminal } from './terminal.ts';

const REDRAW_MS = 150;
const CLEAR_LINE = '\r\u001b[K';

export class ProgressLine {
  readonly #terminal: Terminal;
  readonly #describe: () => string;
  #timer: NodeJS.Timeout | null = null;
  #drawn = false;

  /** @param describe what the line says at the moment of the call */
  constructor(terminal: Terminal, describe: () => string) {
    this.#terminal = terminal;
    this.#describe = describe;
  }

  start(): void {
    if (!this.#terminal.watched) return;
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
    this.#timer.unref();
  }

  /** Removes the line, so that something else can be printed. */
  clear(): void {
    if (this.#drawn) this.#terminal.err(CLEAR_LINE);
    this.#drawn = false;
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.clear();
  }

  #draw(): void {
    const text = this.#describe().slice(0, Math.max(20, this.#terminal.width - 1));
    this.#terminal.err(`${CLEAR_LINE}${text}`);
    this.#drawn = true;
  }
}
