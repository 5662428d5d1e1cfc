/**
 * The exit codes of `emu`, documented in docs/cli.md.
 * @module
 */
export const ExitCode = {
  Passed: 0,
  CheckFailed: 1,
  Usage: 2,
  Failed: 3,
  Interrupted: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];
