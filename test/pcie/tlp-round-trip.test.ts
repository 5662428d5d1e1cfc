/** Any legal TLP survives its bytes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeTlp, isMalformed } from '#emu/pcie/tlp/tlp-decode.ts';
import { encodeTlp, headerWords } from '#emu/pcie/tlp/tlp-encode.ts';
import { TLP_FORMS } from '#emu/pcie/tlp/tlp-header.ts';
import { anyTlp, SAMPLE_TLPS } from '#test/support/any-tlp.ts';

const none = new Uint8Array(0);

describe('any legal TLP', () => {
  it('decodes to what was encoded', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(anyTlp, (tlp) => {
        seen.add(tlp.type);
        const bytes = encodeTlp(tlp);
        assert.deepEqual(decodeTlp(bytes), tlp);
      }),
      { numRuns: 2000 },
    );
    assert.equal(seen.size, Object.keys(TLP_FORMS).length);
  });

  it('has whole DWs: prefixes, header, data and digest', () => {
    fc.assert(
      fc.property(anyTlp, (tlp) => {
        const data = 'data' in tlp ? tlp.data : none;
        const dw = tlp.prefixes.length + headerWords(tlp).length + (tlp.digest === null ? 0 : 1);
        assert.equal(encodeTlp(tlp).length, 4 * dw + data.length);
        const high = 'address' in tlp && tlp.address >= 2 ** 32;
        const isMessage = tlp.type === 'Msg' || tlp.type === 'MsgD';
        assert.equal(headerWords(tlp).length, high || isMessage ? 4 : 3);
      }),
    );
  });

  it('decodes from the middle of a larger buffer and keeps its own copy of the data', () => {
    const bytes = encodeTlp(SAMPLE_TLPS.MWr);
    const buffer = new Uint8Array(bytes.length + 8).fill(0xff);
    buffer.set(bytes, 5);
    const tlp = decodeTlp(buffer.subarray(5, 5 + bytes.length));
    buffer.fill(0xee);
    assert.ok(!isMalformed(tlp) && tlp.type === 'MWr');
    assert.deepEqual(tlp.data, new Uint8Array(4));
  });
});
