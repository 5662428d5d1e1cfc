/**
 * Where the board has its functions: names and paths by position, as slot labels are in a real machine, so
 * that what enumeration finds can be called by name. [PCIE] 7.5.1
 * @module
 */
import type { AcsPolicy } from './machine-spec.ts';

export class Place {
  readonly name: string;
  readonly path: string;
  /** What host software sets in ACS Control, where the function has it. */
  readonly acs: AcsPolicy;
  readonly acsEgress: number;
  /** A port of a root complex or switch, not a device or switch itself. */
  readonly isPort: boolean;
  /** On the secondary bus of a bridge, by device number. */
  readonly children = new Map<number, Place>();

  constructor(name: string, path: string, port?: { acs: AcsPolicy; acsEgress: number }) {
    this.name = name;
    this.path = path;
    this.acs = port?.acs ?? 'off';
    this.acsEgress = port?.acsEgress ?? 0;
    this.isPort = port !== undefined;
  }
}
