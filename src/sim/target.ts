/**
 * What events are addressed to. Nothing else of the kernel is visible to a component's classes.
 * @module
 */

/** An event's argument. Numbers are small integers, which need no box. */
export type EventArg = object | number | null;

/**
 * A component that events reach. Opcodes from 0 up belong to the few classes that move TLPs: their call
 * site stays fast while it sees at most four classes. Everything else uses negative opcodes, which
 * the kernel handles at a second call site.
 */
export interface Target {
  /** Component path, for errors. */
  readonly path: string;
  handle(op: number, arg: EventArg): void;
}
