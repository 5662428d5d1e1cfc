/**
 * The command line: which commands and options there are, and how the process ends.
 * @module
 */
import process from 'node:process';
import yargs, { type Argv } from 'yargs';
import { usage } from '#emu/base/errors.ts';
import { installNodeEventLoop } from '#emu/observe/event-loop.ts';
import { benchCommand } from './bench-command.ts';
import { conformCommand } from './conform-command.ts';
import { ExitCode } from './exit-code.ts';
import { describeFailure, type Failure, failureText } from './failure.ts';
import { listCommand } from './list-command.ts';
import { p2pCommand } from './p2p-command.ts';
import { packageVersion } from './package-root.ts';
import { runCommand } from './run-command.ts';
import { DEFAULT_SETTINGS, FIDELITIES } from './run-options.ts';
import { ScenarioRun } from './scenario-run.ts';
import { processTerminal, type Terminal } from './terminal.ts';

const USAGE = 'emu <command>\n\nEmulated NVMe, GPU and other devices on a simulated PCIe fabric.';
const JSON_OPTION = { type: 'boolean', default: false, describe: 'print one JSON object' } as const;
const SET_OPTION = {
  type: 'string',
  array: true,
  requiresArg: true,
  describe: 'a parameter',
} as const;

/** Runs a command line and ends the process with its exit code. */
export async function main(args: readonly string[]): Promise<void> {
  installNodeEventLoop();
  // A reader that has seen enough is no error.
  process.stdout.on('error', () => {});
  const code = await emu(args, processTerminal);
  // Streams to pipes may still hold text; a scenario's own timers must not keep the process alive.
  process.stdout.write('', () => process.exit(code));
}

/** Runs a command line; its exit code. */
export async function emu(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  try {
    let code: ExitCode | null = null;
    const { help, version } = await commands(args, terminal, (ended) => {
      code = ended;
    }).parseAsync();
    if (code !== null) return code;
    if (version) terminal.out(`${packageVersion()}\n`);
    else if (help) terminal.out(await helpText(args, terminal));
    else
      throw usage('expected a command: run, list, p2p, bench or conform (emu --help tells more)');
    return ExitCode.Passed;
  } catch (thrown) {
    const failure = describeFailure(thrown);
    if (args.includes('--json')) terminal.out(`${JSON.stringify(failedResult(args, failure))}\n`);
    terminal.err(failureText(failure, thrown));
    return failure.exitCode;
  }
}

/** What `--json` prints for a command line that could not be run. */
const failedResult = ([command]: readonly string[], { error }: Failure): object =>
  command === 'run' ? new ScenarioRun('').report(error) : { schema: 1, ok: false, error };

const helpText = async (args: readonly string[], terminal: Terminal): Promise<string> =>
  `${await commands(args, terminal, () => {}).getHelp()}\n`;

/** The parser; a command that runs hands its exit code to `end`. */
function commands(args: readonly string[], terminal: Terminal, end: (code: ExitCode) => void) {
  return yargs([...args])
    .scriptName('emu')
    .usage(USAGE)
    .locale('en')
    .parserConfiguration(PARSING)
    .help(false)
    .version(false)
    .option('help', { alias: 'h', type: 'boolean', describe: 'show help; after run FILE, its own' })
    .option('version', { type: 'boolean', describe: 'show the version' })
    .command(
      'run [file]',
      'run a scenario',
      (y) =>
        y
          .positional('file', { type: 'string', describe: 'scenario file' })
          .option('set', SET_OPTION)
          .option('seed', { type: 'string', describe: `default ${DEFAULT_SETTINGS.seed}` })
          .option('fidelity', { type: 'string', describe: FIDELITIES.join(' or ') })
          .option('json', JSON_OPTION),
      async ({ file, set = [], seed, fidelity, json, help = false }) => {
        if (help && file === undefined) return;
        const options = {
          file,
          set,
          seed: once('seed', seed),
          fidelity: once('fidelity', fidelity),
        };
        end(await runCommand({ ...options, json, help }, terminal));
      },
    )
    .command(
      'list [dir]',
      'list the scenarios of a folder (default ./scenarios, else those of the package)',
      (y) => y.positional('dir', { type: 'string' }).option('json', JSON_OPTION),
      async ({ dir, json, help }) => {
        if (!help) end(await listCommand(dir, json, terminal));
      },
    )
    .command(
      'bench [name]',
      'run the benchmarks, or one of them',
      (y) => y.positional('name', { type: 'string' }).option('json', JSON_OPTION),
      async ({ name, json, help }) => {
        if (!help) end(await benchCommand(name, json, terminal));
      },
    )
    .command(
      'conform [kind] [file]',
      'run test vectors of a documented format (kind: lists)',
      (y) =>
        y
          .positional('kind', { type: 'string' })
          .positional('file', { type: 'string' })
          .option('json', JSON_OPTION),
      async ({ kind, file, json, help }) => {
        if (!help) end(await conformCommand(kind, file, json, terminal));
      },
    )
    .command(
      'p2p [action] [file] [a] [b]',
      "explain how device A reaches device B's memory: p2p explain FILE A B",
      p2pArguments,
      async ({ action, file, a, b, machine, set = [], json, help }) => {
        if (help) return;
        const options = { action, file, requester: a, provider: b, set, json };
        end(await p2pCommand({ ...options, machine: once('machine', machine) }, terminal));
      },
    )
    .strict()
    .strictCommands()
    .exitProcess(false)
    .fail((message, error) => {
      // Messages are the parser's own; errors that commands throw come without.
      throw message ? usage(message) : error;
    });
}

const p2pArguments = <T>(y: Argv<T>) =>
  y
    .positional('action', { type: 'string', describe: 'explain' })
    .positional('file', { type: 'string', describe: 'scenario file' })
    .positional('a', { type: 'string', describe: 'requester' })
    .positional('b', { type: 'string', describe: 'provider of memory' })
    .option('machine', { type: 'string', describe: 'one machine of several' })
    .option('set', SET_OPTION)
    .option('json', JSON_OPTION);

/** The value of an option that may be given once; the parser makes an array of several. @throws USAGE */
function once(name: string, value: string | undefined): string | undefined {
  if (!Array.isArray(value)) return value;
  throw usage(`--${name}: expected one value, got ${value.join(', ')}`);
}

const PARSING = {
  'boolean-negation': false,
  'camel-case-expansion': false,
  'dot-notation': false,
  'greedy-arrays': false,
  'parse-numbers': false,
  'parse-positional-numbers': false,
} as const;
