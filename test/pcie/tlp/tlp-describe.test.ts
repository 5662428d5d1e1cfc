/** What a TLP of the hot path says of itself agrees with its sizes and with its bytes. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { arena } from '#emu/memory/arena.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import {
  FRAMING_BYTES,
  fillCompletion,
  fillCompletionData,
  type Tlp,
  TlpFlag,
  TlpKind,
  TlpPool,
} from '#emu/pcie/tlp/tlp.ts';
import { decodeTlp } from '#emu/pcie/tlp/tlp-decode.ts';
import { describeTlp } from '#emu/pcie/tlp/tlp-describe.ts';
import { encodeTlp } from '#emu/pcie/tlp/tlp-encode.ts';

const pool = new TlpPool(4096);
after(() => pool.dispose());

function make(kind: TlpKind, address: number, sizeBytes: number): Tlp {
  const tlp = pool.take();
  tlp.kind = kind;
  tlp.requester = 0x0102;
  tlp.targetId = 0x0300;
  tlp.tag = 0x5a;
  tlp.address = address;
  tlp.sizeBytes = sizeBytes;
  tlp.flags = 0;
  for (let i = 0; i < sizeBytes; i++) arena.u8[tlp.payloadAt + i] = i + 1;
  tlp.seal();
  return tlp;
}
const bytesOf = (tlp: Tlp): string => Buffer.from(encodeTlp(describeTlp(tlp))).toString('hex');

describe('a described TLP', () => {
  it('has the bytes of its type', () => {
    assert.equal(
      bytesOf(make(TlpKind.MWr, 0x1003, 2)),
      '40000002' + '01025a18' + '00001000' + '00000001' + '02000000',
    );
    assert.equal(bytesOf(make(TlpKind.MRd, 2 ** 32, 0)), '2000000101025a000000000100000000');
    assert.equal(bytesOf(make(TlpKind.CfgRd0, 0x104, 4)), '0400000101025a0f03000104');
    assert.equal(bytesOf(make(TlpKind.CfgRd1, 0x106, 1)), '0500000101025a0403000104');
    assert.equal(bytesOf(make(TlpKind.CfgWr0, 6, 2)), '4400000101025a0c0300000400000102');
    assert.equal(bytesOf(make(TlpKind.CfgWr1, 4, 1)), '4500000101025a010300000401000000');
  });

  it('answers with the bytes of a completion', () => {
    const request = make(TlpKind.MRd, 0x107d, 5);
    const cpl = pool.take();
    arena.u8.set([1, 2, 3], cpl.payloadAt);
    fillCompletionData(cpl, request, 0x0300, 0, 3);
    assert.equal(bytesOf(cpl), '4a000001' + '03000005' + '01025a7d' + '00010203');
    request.flags = TlpFlag.RO;
    fillCompletion(cpl, request, 0x0300, DmaStatus.CompleterAbort);
    assert.equal(bytesOf(cpl), '0a002000' + '03008004' + '01025a00');
    fillCompletionData(cpl, make(TlpKind.MRd, 0x1000, 0), 0x0300, 0, 0);
    assert.equal(bytesOf(cpl), '4a000001' + '03000001' + '01025a00' + '00000000');
  });

  it('is as long as the hot path counts, and legal', () => {
    const kind = fc.constantFrom(TlpKind.MRd, TlpKind.MWr);
    const page = fc.constantFrom(0x1000, 2 ** 32, 2 ** 40 + 0x3000);
    const offset = fc.integer({ min: 0, max: 4095 });
    const size = fc.integer({ min: 1, max: 4096 });
    fc.assert(
      fc.property(kind, page, offset, size, (k, at, into, bytes) => {
        const tlp = make(k, at + into, Math.min(bytes, 4096 - into));
        const description = describeTlp(tlp);
        const wire = encodeTlp(description);
        assert.equal(wire.length + FRAMING_BYTES, tlp.wireBytes);
        assert.deepEqual(decodeTlp(wire), description);
        pool.give(tlp);
      }),
    );
  });
});
