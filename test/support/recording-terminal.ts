/**
 * A terminal that keeps what is written to it, and the command line run against one.
 * @module
 */
import { emu } from '#emu/cli/main.ts';
import type { Terminal } from '#emu/cli/terminal.ts';
import { installNodeEventLoop } from '#emu/observe/event-loop.ts';

export class RecordingTerminal implements Terminal {
  stdout = '';
  stderr = '';
  readonly watched: boolean;
  readonly width = 120;

  constructor(watched = false) {
    this.watched = watched;
  }

  out(text: string): void {
    this.stdout += text;
  }
  err(text: string): void {
    this.stderr += text;
  }
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `emu` with `args` in this process. */
export async function runEmu(...args: readonly string[]): Promise<Outcome> {
  installNodeEventLoop();
  const terminal = new RecordingTerminal();
  const code = await emu(args, terminal);
  return { code, stdout: terminal.stdout, stderr: terminal.stderr };
}
