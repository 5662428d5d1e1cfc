/**
 * What `emu run FILE --help` says of a scenario: its summary and its parameters.
 * @module
 */
import { colors as pc } from './colors.ts';
import type { LoadedScenario } from './load-scenario.ts';
import { shownPath } from './shown-path.ts';

/** Help of one scenario. */
export function renderParams({ scenario, name, file }: LoadedScenario): string {
  const params = Object.entries(scenario.params);
  const width = Math.max(0, ...params.map(([key]) => key.length));
  const lines = params.map(([key, param]) => {
    const value = param.format(param.default);
    const about = [param.description, param.expected, value === '' ? '' : `default ${value}`];
    return `  ${pc.bold(key.padEnd(width))}  ${about.filter((part) => part !== '').join('; ')}`;
  });
  const list = lines.length === 0 ? ['  none'] : lines;
  return [
    `${pc.bold(name)}: ${scenario.summary}`,
    '',
    `emu run ${shownPath(file)} [--set key=value]... [--seed N] [--fidelity timed|functional] [--json]`,
    '',
    'Parameters (--set key=value):',
    ...list,
    '',
  ].join('\n');
}
