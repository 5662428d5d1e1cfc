/** Bytes that are no legal TLP: each rule broken once, by its name, and nothing ever throws. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { bdf } from '#emu/base/units.ts';
import { decodeTlp, isMalformed, type ReceiveLimits } from '#emu/pcie/tlp/tlp-decode.ts';
import { PLAIN, type TlpDescription } from '#emu/pcie/tlp/tlp-description.ts';
import { encodeTlp, headerWords } from '#emu/pcie/tlp/tlp-encode.ts';
import { Dw0, RequestDw1 } from '#emu/pcie/tlp/tlp-header.ts';
import {
  errorMessage,
  interruptMessage,
  MessageCode,
  messageRule,
} from '#emu/pcie/tlp/tlp-messages.ts';
import { Malformed, operandBytes } from '#emu/pcie/tlp/tlp-rules.ts';

const requester = bdf(1, 0, 0);
const request = {
  ...PLAIN,
  requester,
  tag: 1,
  address: 0x1000,
  firstBe: 0xf,
  lastBe: 0,
  addressType: 0,
  hint: null,
} as const;
const read: TlpDescription = { ...request, type: 'MRd', lengthDw: 1 };
const write = (sizeBytes: number, lastBe = 0xf): TlpDescription => ({
  ...request,
  type: 'MWr',
  lastBe,
  data: new Uint8Array(sizeBytes),
});
const config: TlpDescription = {
  ...PLAIN,
  type: 'CfgRd0',
  requester,
  tag: 1,
  target: bdf(2, 0, 0),
  register: 0,
  firstBe: 0xf,
};
const io: TlpDescription = { ...PLAIN, type: 'IORd', requester, tag: 1, address: 0x60, firstBe: 1 };

/** Encodes a TLP and changes its header DWs. */
function bent(tlp: TlpDescription, change: (words: number[]) => void): Uint8Array {
  const bytes = encodeTlp(tlp);
  const words = headerWords(tlp);
  change(words);
  const view = new DataView(bytes.buffer);
  for (const [i, dw] of words.entries()) view.setUint32(4 * (tlp.prefixes.length + i), dw);
  return bytes;
}
const first = (put: (dw: number) => number) => (words: number[]) => {
  words[0] = put(words[0] ?? 0);
};
const second = (put: (dw: number) => number) => (words: number[]) => {
  words[1] = put(words[1] ?? 0);
};

function expectMalformed(bytes: Uint8Array, reason: Malformed, limits: ReceiveLimits = {}): void {
  const result = decodeTlp(bytes, limits);
  assert.equal(isMalformed(result) ? result.malformed : `legal ${result.type}`, reason);
}

describe('size and format', () => {
  it('too few bytes for a header, or no whole DWs', () => {
    const bytes = encodeTlp(read);
    for (const length of [0, 3, 4, 8, 11]) {
      expectMalformed(bytes.subarray(0, length), Malformed.Truncated);
    }
    const far = encodeTlp({ ...request, type: 'MRd', address: 2 ** 40, lengthDw: 1 });
    expectMalformed(far.subarray(0, 12), Malformed.Truncated);
    expectMalformed(Uint8Array.of(...bytes, 0), Malformed.Truncated);
  });

  it('reserved formats and types', () => {
    for (const fmt of [5, 6, 7]) {
      const bytes = bent(
        write(8),
        first((dw) => Dw0.Fmt.put(dw, fmt)),
      );
      expectMalformed(bytes, Malformed.ReservedFormat);
    }
    const refuse = (tlp: TlpDescription, fmtType: number): void =>
      expectMalformed(
        bent(
          tlp,
          first((dw) => Dw0.FmtType.put(dw, fmtType)),
        ),
        Malformed.ReservedType,
      );
    // MRdLk with data, I/O and completion with four DWs, a message with three, atomics without data.
    for (const fmtType of [0x41, 0x62, 0x6a, 0x50, 0x0c, 0x0d, 0x1b, 0x1f])
      refuse(write(8), fmtType);
  });

  it('data shorter or longer than the length field, and a missing digest', () => {
    const bytes = encodeTlp(write(16));
    expectMalformed(bytes.subarray(0, bytes.length - 4), Malformed.LengthMismatch);
    expectMalformed(Uint8Array.of(...bytes, 0, 0, 0, 0), Malformed.LengthMismatch);
    expectMalformed(Uint8Array.of(...encodeTlp(read), 0, 0, 0, 0), Malformed.LengthMismatch);
    expectMalformed(
      bent(
        read,
        first((dw) => Dw0.TD.put(dw, 1)),
      ),
      Malformed.LengthMismatch,
    );
    expectMalformed(
      bent(
        { ...read, digest: 1 },
        first((dw) => Dw0.TD.put(dw, 0)),
      ),
      Malformed.LengthMismatch,
    );
  });

  it('more data than the maximum payload, but not a longer read', () => {
    expectMalformed(encodeTlp(write(256)), Malformed.PayloadSize, { maxPayloadBytes: 128 });
    assert.ok(!isMalformed(decodeTlp(encodeTlp(write(256)), { maxPayloadBytes: 256 })));
    const long: TlpDescription = { ...request, type: 'MRd', lastBe: 0xf, lengthDw: 1024 };
    assert.ok(!isMalformed(decodeTlp(encodeTlp(long), { maxPayloadBytes: 128 })));
  });

  it('prefixes in the wrong order or too many', () => {
    const after = { ...read, prefixes: [0x9100_0000, 0x8000_0000] };
    expectMalformed(encodeTlp(after), Malformed.PrefixOrder);
    const five = { ...read, prefixes: [1, 2, 3, 4, 5].map((n) => (0x9e00_0000 + n) >>> 0) };
    expectMalformed(encodeTlp(five), Malformed.PrefixCount);
    const one = { ...read, prefixes: [0x8e00_0000, 0x9100_0000] };
    expectMalformed(encodeTlp(one), Malformed.PrefixCount, { maxEndEndPrefixes: 0 });
    assert.ok(!isMalformed(decodeTlp(encodeTlp(one), { maxEndEndPrefixes: 1 })));
    expectMalformed(Uint8Array.of(0x91, 0, 0, 0), Malformed.Truncated);
  });

  it('an error log gets what arrived', () => {
    const result = decodeTlp(encodeTlp({ ...write(256), prefixes: [0x9100_0001] }), {
      maxPayloadBytes: 128,
    });
    assert.ok(isMalformed(result));
    assert.deepEqual(result.header, headerWords(write(256)));
    assert.deepEqual(result.prefixes, [0x9100_0001]);
  });
});

describe('memory requests', () => {
  it('across 4 KiB', () => {
    const at = (address: number): Uint8Array =>
      encodeTlp({ ...write(16), address } as TlpDescription);
    expectMalformed(at(0x1ff4), Malformed.PageCrossing);
    assert.ok(!isMalformed(decodeTlp(at(0x1ff0))));
    expectMalformed(
      encodeTlp({ ...request, type: 'MRd', lastBe: 0xf, address: 0x1004, lengthDw: 1024 }),
      Malformed.PageCrossing,
    );
  });

  it('with byte enables that no request may have', () => {
    const enables = (sizeBytes: number, address: number, both: number): Uint8Array =>
      bent({ ...write(sizeBytes), address } as TlpDescription, (words) => {
        words[1] = ((words[1] ?? 0) & ~0xff) | both;
      });
    for (const [size, address, both] of [
      [4, 0x1000, 0x1f],
      [8, 0x1000, 0x0f],
      [8, 0x1000, 0xf0],
      [8, 0x1004, 0xfd],
      [8, 0x1004, 0xbf],
      [12, 0x1000, 0xf5],
      [12, 0x1000, 0xef],
    ] as const) {
      expectMalformed(enables(size, address, both), Malformed.ByteEnables);
    }
    for (const [size, address, both] of [
      [4, 0x1000, 0x05],
      [4, 0x1000, 0x00],
      [8, 0x1000, 0xa5],
      [12, 0x1004, 0x18],
    ] as const) {
      assert.ok(!isMalformed(decodeTlp(enables(size, address, both))));
    }
  });

  it('carry a steering tag in the byte enables of a read with a hint, not of a write', () => {
    const hinted = { hint: 1, firstBe: 0x5, lastBe: 0xa };
    assert.ok(
      !isMalformed(decodeTlp(encodeTlp({ ...request, ...hinted, type: 'MRd', lengthDw: 4 }))),
    );
    const posted = { ...request, ...hinted, type: 'MWr', data: new Uint8Array(16) } as const;
    expectMalformed(encodeTlp(posted), Malformed.ByteEnables);
  });

  it('with an address that the format or the model does not allow', () => {
    const far: TlpDescription = { ...request, type: 'MRd', address: 2 ** 40, lengthDw: 1 };
    expectMalformed(
      bent(far, (words) => {
        words[2] = 0;
      }),
      Malformed.WideAddress,
    );
    expectMalformed(
      bent(far, (words) => {
        words[2] = 0x10_0000;
      }),
      Malformed.AddressRange,
    );
  });
});

describe('atomics', () => {
  const atomic = (type: 'FetchAdd' | 'Swap' | 'CAS', bytes: number, address: number): Uint8Array =>
    encodeTlp({ ...request, type, address, data: new Uint8Array(bytes) });

  it('of a size that no operand has', () => {
    for (const [type, bytes] of [
      ['FetchAdd', 12],
      ['Swap', 16],
      ['CAS', 4],
      ['CAS', 12],
      ['CAS', 64],
    ] as const) {
      expectMalformed(atomic(type, bytes, 0x1000), Malformed.AtomicLength);
    }
  });

  it('off their operand size', () => {
    for (const [type, bytes, address] of [
      ['FetchAdd', 8, 0x1004],
      ['Swap', 8, 0x100c],
      ['CAS', 16, 0x1004],
      ['CAS', 32, 0x1008],
    ] as const) {
      expectMalformed(atomic(type, bytes, address), Malformed.AtomicAlignment);
    }
    assert.ok(!isMalformed(decodeTlp(atomic('FetchAdd', 4, 0x1004))));
    assert.ok(!isMalformed(decodeTlp(atomic('CAS', 8, 0x1004))));
  });

  it('have one operand, a compare-and-swap two', () => {
    assert.deepEqual([operandBytes('Swap', 2), operandBytes('CAS', 2)], [8, 4]);
  });
});

describe('I/O and configuration requests', () => {
  for (const [name, tlp] of [
    ['I/O', io],
    ['configuration', config],
  ] as const) {
    it(`${name}: one DW, no last enables, class 0, no attributes, untranslated`, () => {
      const broken: readonly (readonly [(words: number[]) => void, Malformed])[] = [
        [first((dw) => Dw0.Length.put(dw, 2)), Malformed.RequestLength],
        [first((dw) => Dw0.Length.put(dw, 0)), Malformed.RequestLength],
        [second((dw) => RequestDw1.LastBE.put(dw, 1)), Malformed.ByteEnables],
        [first((dw) => Dw0.TC.put(dw, 1)), Malformed.TrafficClass],
        [first((dw) => Dw0.RO.put(dw, 1)), Malformed.Attributes],
        [first((dw) => Dw0.NS.put(dw, 1)), Malformed.Attributes],
        [first((dw) => Dw0.AT.put(dw, 2)), Malformed.AddressType],
      ];
      for (const [change, reason] of broken) expectMalformed(bent(tlp, change), reason);
      // Reserved bits are not checked.
      assert.ok(
        !isMalformed(
          decodeTlp(
            bent(
              tlp,
              first((dw) => Dw0.IDO.put(dw, 1)),
            ),
          ),
        ),
      );
    });
  }
});

describe('messages', () => {
  it('of a known code keep to its routing and to class 0', () => {
    const error = errorMessage(requester, MessageCode.ERR_COR);
    expectMalformed(
      bent(
        error,
        first((dw) => Dw0.TC.put(dw, 4)),
      ),
      Malformed.TrafficClass,
    );
    expectMalformed(
      bent(
        error,
        first((dw) => Dw0.Type.put(dw, 0x14)),
      ),
      Malformed.MessageRouting,
    );
    const interrupt = interruptMessage(requester, 3, false);
    assert.equal(interrupt.code, MessageCode.Deassert_INTD);
    expectMalformed(encodeTlp({ ...interrupt, routing: 0 }), Malformed.MessageRouting);
    expectMalformed(encodeTlp({ ...interrupt, tc: 1 }), Malformed.TrafficClass);
  });

  it('of another code may do as they like', () => {
    const vendor = { ...errorMessage(requester, 0x30), code: 0x7f, routing: 3, tc: 5 };
    assert.ok(!isMalformed(decodeTlp(encodeTlp(vendor))));
    assert.equal(messageRule(0x7f), null);
    const invalidate = { ...vendor, code: MessageCode.InvalidateRequest, routing: 2 };
    assert.ok(!isMalformed(decodeTlp(encodeTlp(invalidate))));
  });
});

describe('any bytes', () => {
  it('give a TLP that encodes to the same length, or a malformation; never an exception', () => {
    const words = fc.array(fc.integer({ min: 0, max: 0xffff_ffff }), { maxLength: 12 });
    const likely = fc.constantFrom(
      0x00,
      0x20,
      0x40,
      0x60,
      0x04,
      0x44,
      0x0a,
      0x4a,
      0x30,
      0x4c,
      0x91,
    );
    fc.assert(
      fc.property(likely, words, fc.nat(3), (fmtType, dws, extra) => {
        const bytes = new Uint8Array(4 * dws.length + extra);
        const view = new DataView(bytes.buffer);
        for (const [i, dw] of dws.entries()) view.setUint32(4 * i, dw);
        if (dws.length > 0) bytes.set([fmtType, 0, 0, dws.length - 3], 0);
        const result = decodeTlp(bytes);
        if (!isMalformed(result)) assert.equal(encodeTlp(result).length, bytes.length);
      }),
      { numRuns: 2000 },
    );
  });
});
