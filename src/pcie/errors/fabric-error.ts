/**
 * What goes wrong in the fabric, by name, and what each is to Advanced Error Reporting. No state.
 * [PCIE] 6.2.3, 6.2.7
 * @module
 */
import { Correctable, Uncorrectable } from './aer-registers.ts';

/** Why a component would not carry or accept a TLP, or what a link or function reports without one. */
export type FabricError =
  // Routing and completion.
  | 'unsupported-request'
  | 'completer-abort'
  | 'acs-violation'
  | 'unexpected-completion'
  | 'completion-timeout'
  | 'peer-refused'
  | 'translation-fault'
  // The port that a request wants to leave by.
  | 'link-down'
  | 'contained'
  | 'atomic-egress-blocked'
  | 'prefix-blocked'
  | 'poisoned-egress-blocked'
  // What the TLP itself is like.
  | 'poisoned-tlp'
  | 'malformed-tlp'
  | 'ecrc-error'
  // The link.
  | 'receiver-overflow'
  | 'flow-control-protocol'
  | 'data-link-protocol'
  | 'surprise-down'
  | 'receiver-error'
  | 'bad-tlp'
  | 'bad-dllp'
  | 'replay-rollover'
  | 'replay-timeout'
  // The function.
  | 'internal-error'
  | 'corrected-internal-error';

/** How an error is reported; null: not by the function where it happens. */
export type ErrorClass =
  | { readonly uncorrectable: Uncorrectable }
  | { readonly correctable: Correctable }
  | null;

const uncorrectable = (bit: Uncorrectable): ErrorClass => ({ uncorrectable: bit });
const correctable = (bit: Correctable): ErrorClass => ({ correctable: bit });

/** Model: the IOMMU's own fault log has translation faults, and containment reports no request that it ends. */
export const ERROR_CLASSES: Readonly<Record<FabricError, ErrorClass>> = {
  'unsupported-request': uncorrectable(Uncorrectable.UnsupportedRequest),
  'completer-abort': uncorrectable(Uncorrectable.CompleterAbort),
  'acs-violation': uncorrectable(Uncorrectable.AcsViolation),
  'unexpected-completion': uncorrectable(Uncorrectable.UnexpectedCompletion),
  'completion-timeout': uncorrectable(Uncorrectable.CompletionTimeout),
  'peer-refused': uncorrectable(Uncorrectable.UnsupportedRequest),
  'translation-fault': null,
  'link-down': uncorrectable(Uncorrectable.UnsupportedRequest),
  contained: null,
  'atomic-egress-blocked': uncorrectable(Uncorrectable.AtomicEgressBlocked),
  'prefix-blocked': uncorrectable(Uncorrectable.PrefixBlocked),
  'poisoned-egress-blocked': uncorrectable(Uncorrectable.PoisonedEgressBlocked),
  'poisoned-tlp': uncorrectable(Uncorrectable.PoisonedTlp),
  'malformed-tlp': uncorrectable(Uncorrectable.MalformedTlp),
  'ecrc-error': uncorrectable(Uncorrectable.Ecrc),
  'receiver-overflow': uncorrectable(Uncorrectable.ReceiverOverflow),
  'flow-control-protocol': uncorrectable(Uncorrectable.FlowControlProtocol),
  'data-link-protocol': uncorrectable(Uncorrectable.DataLinkProtocol),
  'surprise-down': uncorrectable(Uncorrectable.SurpriseDown),
  'receiver-error': correctable(Correctable.Receiver),
  'bad-tlp': correctable(Correctable.BadTlp),
  'bad-dllp': correctable(Correctable.BadDllp),
  'replay-rollover': correctable(Correctable.ReplayRollover),
  'replay-timeout': correctable(Correctable.ReplayTimeout),
  'internal-error': uncorrectable(Uncorrectable.Internal),
  'corrected-internal-error': correctable(Correctable.Internal),
};
