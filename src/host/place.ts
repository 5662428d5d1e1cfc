/**
 * Where the board has its functions: names and paths by position, as slot labels are in a real machine, so
 * that what enumeration finds can be called by name. [PCIE] 7.5.1
 * @module
 */
import type { AcsPolicy, HotPlugRoom } from './machine-spec.ts';

/** What host software does with a port. */
interface PlacePolicy {
  readonly acs: AcsPolicy;
  readonly acsEgress: number;
  readonly room: HotPlugRoom | null;
}

export class Place {
  readonly name: string;
  readonly path: string;
  /** What host software sets in ACS Control, where the function has it. */
  readonly acs: AcsPolicy;
  readonly acsEgress: number;
  /** What host software keeps for devices that may come. */
  readonly room: HotPlugRoom | null;
  /** A port of a root complex or switch, not a device or switch itself. */
  readonly isPort: boolean;
  /** On the secondary bus of a bridge, by device and function number as in the requester ID. */
  readonly children = new Map<number, Place>();

  constructor(name: string, path: string, port?: PlacePolicy) {
    this.name = name;
    this.path = path;
    this.acs = port?.acs ?? 'off';
    this.acsEgress = port?.acsEgress ?? 0;
    this.room = port?.room ?? null;
    this.isPort = port !== undefined;
  }

  /** Every place below this one, parents first. */
  *below(): Generator<Place> {
    for (const child of this.children.values()) {
      yield child;
      yield* child.below();
    }
  }
}
