/**
 * Errors of a link that its ports report at `Fabric.fail`, in an order that gives each a small number.
 * [PCIE] 6.2.7
 * @module
 */
import type { FabricError } from '#emu/pcie/errors/fabric-error.ts';

/** Names by {@link LinkError}. */
export const LINK_ERRORS = [
  'receiver-error',
  'bad-tlp',
  'bad-dllp',
  'replay-timeout',
  'replay-rollover',
  'data-link-protocol',
  'surprise-down',
  'receiver-overflow',
  'flow-control-protocol',
] as const satisfies readonly FabricError[];

/** What goes wrong on a link, as an event can carry it. */
export const LinkError = {
  ReceiverError: 0,
  BadTlp: 1,
  BadDllp: 2,
  ReplayTimeout: 3,
  ReplayRollover: 4,
  DataLinkProtocol: 5,
  SurpriseDown: 6,
  ReceiverOverflow: 7,
  FlowControlProtocol: 8,
} as const;
export type LinkError = (typeof LinkError)[keyof typeof LinkError];

export const isLinkError = (value: unknown): value is LinkError =>
  typeof value === 'number' && value in LINK_ERRORS;
