/** What host software makes of error registers, value by value. [PCIE] 7.8.4 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf, picos } from '#emu/base/units.ts';
import {
  correctedRecord,
  type ErrorRegisters,
  errorLines,
  uncorrectedRecord,
} from '#emu/host/services/error-record.ts';
import { Correctable, Uncorrectable } from '#emu/pcie/errors/aer-registers.ts';

const bits = (...list: readonly number[]): number => list.reduce((mask, bit) => mask + 2 ** bit, 0);
const SOURCE = {
  timePs: picos(5),
  path: 'rc0.port0',
  bdf: bdf(0, 1, 0),
  vendorId: 0x1b36,
  deviceId: 0xc,
};
const CLEAR: ErrorRegisters = {
  correctableStatus: 0,
  correctableMask: 0,
  uncorrectableStatus: 0,
  uncorrectableMask: 0,
  uncorrectableSeverity: 0,
  firstError: 0,
  header: [0, 0, 0, 0],
  prefixes: [0, 0, 0, 0],
};
const { UnsupportedRequest, CompleterAbort, MalformedTlp, DataLinkProtocol } = Uncorrectable;

describe('a record of correctable errors', () => {
  const advisory = { ...CLEAR, correctableStatus: bits(Correctable.AdvisoryNonFatal) };

  it('is none without errors that are not masked', () => {
    const status = bits(Correctable.BadTlp);
    assert.equal(correctedRecord(SOURCE, CLEAR), null);
    const masked = { ...CLEAR, correctableStatus: status, correctableMask: status };
    assert.equal(correctedRecord(SOURCE, masked), null);
  });

  it('names advisory errors: neither masked nor fatal, and not without the bit that says so', () => {
    const registers = {
      ...advisory,
      uncorrectableStatus: bits(UnsupportedRequest, CompleterAbort, MalformedTlp),
      uncorrectableMask: bits(CompleterAbort),
      uncorrectableSeverity: bits(MalformedTlp),
      firstError: MalformedTlp,
      header: [1, 2, 3, 4],
    };
    const record = correctedRecord(SOURCE, registers);
    assert.deepEqual(record?.advised, ['UnsupReq']);
    // The log belongs to the malformed TLP.
    assert.deepEqual([record?.first, record?.header], [null, []]);
    const first = correctedRecord(SOURCE, { ...registers, firstError: UnsupportedRequest });
    assert.deepEqual([first?.first, first?.header], ['UnsupReq', [1, 2, 3, 4]]);
    const other = { ...registers, correctableStatus: bits(Correctable.BadTlp) };
    assert.deepEqual(correctedRecord(SOURCE, other)?.advised, []);
  });
});

describe('a record of uncorrectable errors', () => {
  it('has the layer, the agent and the severity of what is not masked', () => {
    const made = (status: number, severity = 0, mask = 0) => {
      const record = uncorrectedRecord(SOURCE, {
        ...CLEAR,
        uncorrectableStatus: status,
        uncorrectableSeverity: severity,
        uncorrectableMask: mask,
      });
      return record && [record.severity, record.layer, record.agent];
    };
    const link = bits(DataLinkProtocol);
    assert.deepEqual(made(link, link), ['fatal', 'Data Link Layer', 'Receiver ID']);
    assert.deepEqual(made(bits(CompleterAbort), link), [
      'nonfatal',
      'Transaction Layer',
      'Completer ID',
    ]);
    assert.deepEqual(made(bits(UnsupportedRequest)), [
      'nonfatal',
      'Transaction Layer',
      'Requester ID',
    ]);
    assert.equal(made(link, link, link), null);
  });

  it('keeps prefixes, and bits without a name', () => {
    const record = uncorrectedRecord(SOURCE, {
      ...CLEAR,
      uncorrectableStatus: bits(MalformedTlp, 31),
      firstError: MalformedTlp,
      header: [0x4000_0001, 2, 3, 0],
      prefixes: [0x9100_0007, 0, 0, 0],
    });
    assert.ok(record, 'there are errors');
    assert.deepEqual(record.prefixes, [0x9100_0007]);
    assert.deepEqual(errorLines(record), [
      '00:01.0: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer, (Receiver ID)',
      '00:01.0:   device [1b36:000c] error status/mask=80040000/00000000',
      '00:01.0:    MalfTLP (First)',
      '00:01.0:    bit 31',
      '00:01.0:   TLP Header: 40000001 00000002 00000003 00000000',
    ]);
  });
});
