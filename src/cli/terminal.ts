/**
 * Where the commands write: results on one stream, everything for people's eyes only on the other.
 * @module
 */
import process from 'node:process';

export interface Terminal {
  /** Results. */
  out(text: string): void;
  /** Errors, notes and progress. */
  err(text: string): void;
  /** Whether somebody watches `err`, so that a progress line makes sense. */
  readonly watched: boolean;
  /** Columns of a line of `err`. */
  readonly width: number;
}

/** The process's own streams. */
export const processTerminal: Terminal = {
  out: (text) => {
    process.stdout.write(text);
  },
  err: (text) => {
    process.stderr.write(text);
  },
  get watched() {
    return process.stderr.isTTY === true;
  },
  get width() {
    return process.stderr.columns || 100;
  },
};
