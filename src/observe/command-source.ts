/**
 * How models show their commands: one that carries out commands has a `probe` slot of this shape and calls it
 * before each completion. Any device may; nothing here knows which do.
 * @module
 */

/** A command as its model keeps it. */
export interface ShownCommand {
  readonly opcode: number;
  readonly cid: number;
  readonly status: number;
  readonly dataBytes: number;
  readonly startedPs: number;
}

export interface CommandProbe {
  /** `command` is about to complete; the record is the model's own and may be reused afterwards. */
  completed(path: string, command: ShownCommand): void;
}

export interface CommandSource {
  probe: CommandProbe | null;
}

/** Whether a model shows its commands. */
export const isCommandSource = (model: object | null): model is CommandSource =>
  model !== null && 'probe' in model;
