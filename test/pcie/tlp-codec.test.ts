/** TLP headers against vectors worked out from the layout, both ways. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf } from '#emu/base/units.ts';
import { pasidOf, pasidPrefix } from '#emu/pcie/tlp/pasid-prefix.ts';
import { decodeTlp } from '#emu/pcie/tlp/tlp-decode.ts';
import { PLAIN, type TlpDescription } from '#emu/pcie/tlp/tlp-description.ts';
import { encodeTlp, headerWords, loggedTlp } from '#emu/pcie/tlp/tlp-encode.ts';
import type { TlpType } from '#emu/pcie/tlp/tlp-header.ts';
import { errorMessage, interruptMessage } from '#emu/pcie/tlp/tlp-messages.ts';
import { SAMPLE_TLPS } from '#test/support/any-tlp.ts';

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const memory = { ...PLAIN, firstBe: 0xf, lastBe: 0xf, addressType: 0, hint: null };

const vectors: readonly (readonly [name: string, tlp: TlpDescription, bytes: string])[] = [
  [
    'a 64-byte read below 4 GiB has three DWs',
    { ...memory, type: 'MRd', requester: bdf(1, 0, 0), tag: 5, address: 0xfebf_1000, lengthDw: 16 },
    '00000010' + '010005ff' + 'febf1000',
  ],
  [
    'a relaxed 8-byte write above 4 GiB has four',
    {
      ...memory,
      type: 'MWr',
      relaxedOrdering: true,
      requester: bdf(2, 3, 1),
      tag: 0,
      address: 0x40_2340_0104,
      data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    },
    '60002002' + '021900ff' + '00000040' + '23400104' + '0102030405060708',
  ],
  [
    'a 4096-byte read codes its length as 0',
    { ...memory, type: 'MRd', requester: bdf(1, 0, 0), tag: 255, address: 0, lengthDw: 1024 },
    '00000000' + '0100ffff' + '00000000',
  ],
  [
    'a locked read of three bytes',
    {
      ...memory,
      type: 'MRdLk',
      requester: bdf(0, 0, 0),
      tag: 1,
      address: 0x1000,
      firstBe: 0xe,
      lastBe: 0,
      lengthDw: 1,
    },
    '01000001' + '0000010e' + '00001000',
  ],
  [
    'a poisoned configuration write of two bytes to an extended register',
    {
      ...PLAIN,
      type: 'CfgWr0',
      poisoned: true,
      requester: bdf(0, 0, 0),
      tag: 0x21,
      target: bdf(3, 0, 0),
      register: 0x104,
      firstBe: 0x3,
      data: Uint8Array.of(0xcd, 0xab, 0, 0),
    },
    '44004001' + '00002103' + '03000104' + 'cdab0000',
  ],
  [
    'a configuration read of type 1',
    {
      ...PLAIN,
      type: 'CfgRd1',
      requester: bdf(0, 0, 0),
      tag: 2,
      target: bdf(0x12, 0x1f, 7),
      register: 0xffc,
      firstBe: 0xf,
    },
    '05000001' + '0000020f' + '12ff0ffc',
  ],
  [
    'a completion with data',
    {
      ...PLAIN,
      type: 'CplD',
      requester: bdf(0, 0, 0),
      completer: bdf(3, 0, 0),
      tag: 0x21,
      status: 0,
      byteCountModified: false,
      byteCount: 4,
      lowerAddress: 0,
      data: Uint8Array.of(0xde, 0xad, 0xbe, 0xef),
    },
    '4a000001' + '03000004' + '00002100' + 'deadbeef',
  ],
  [
    'an Unsupported Request for a 10-bit tag, with byte count 4096 and a lower address',
    {
      ...PLAIN,
      type: 'Cpl',
      requester: bdf(1, 0, 0),
      completer: bdf(3, 0, 0),
      tag: 0x3a5,
      status: 1,
      byteCountModified: false,
      byteCount: 4096,
      lowerAddress: 0x7d,
    },
    '0a880000' + '03002000' + '0100a57d',
  ],
  [
    'an I/O write of one byte',
    {
      ...PLAIN,
      type: 'IOWr',
      requester: bdf(0, 0, 0),
      tag: 3,
      address: 0x3f8,
      firstBe: 1,
      data: Uint8Array.of(0x41, 0, 0, 0),
    },
    '42000001' + '00000301' + '000003f8' + '41000000',
  ],
  ['a fatal error message', errorMessage(bdf(1, 0, 0), 0x33), `3000000001000033${'0'.repeat(16)}`],
  [
    'a legacy interrupt message',
    interruptMessage(bdf(4, 0, 0), 1, true),
    `3400000004000021${'0'.repeat(16)}`,
  ],
  [
    'a vendor message with data, by ID',
    {
      ...PLAIN,
      type: 'MsgD',
      requester: bdf(1, 0, 0),
      tag: 9,
      routing: 2,
      code: 0x7e,
      words: [0x0500_1234, 0xcafe_f00d],
      data: Uint8Array.of(1, 0, 0, 0),
    },
    '72000001' + '0100097e' + '05001234' + 'cafef00d' + '01000000',
  ],
  [
    'an 8-byte FetchAdd in traffic class 3',
    {
      ...memory,
      type: 'FetchAdd',
      tc: 3,
      requester: bdf(1, 0, 0),
      tag: 7,
      address: 0x1_0000_0008,
      data: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0),
    },
    '6c300002' + '010007ff' + '00000001' + '00000008' + '0100000000000000',
  ],
  [
    'a translation request with PASID, ID ordering, no snoop, hint 2 and digest',
    {
      ...memory,
      type: 'MRd',
      idOrdering: true,
      noSnoop: true,
      prefixes: [pasidPrefix({ pasid: 0x1_2345, execute: false, privileged: true })],
      digest: 0x0102_0304,
      requester: bdf(1, 0, 0),
      tag: 7,
      address: 0x1_0000_0000,
      addressType: 1,
      hint: 2,
      lengthDw: 2,
    },
    '91212345' + '20059402' + '010007ff' + '00000001' + '00000002' + '01020304',
  ],
];

describe('known headers', () => {
  for (const [name, tlp, bytes] of vectors) {
    it(name, () => {
      assert.equal(hexOf(encodeTlp(tlp)), bytes);
      assert.deepEqual(decodeTlp(Uint8Array.from(Buffer.from(bytes, 'hex'))), tlp);
    });
  }

  it('first byte of every type', () => {
    const bytes: Record<TlpType, number> = {
      MRd: 0x00,
      MRdLk: 0x01,
      MWr: 0x40,
      DMWr: 0x5b,
      IORd: 0x02,
      IOWr: 0x42,
      CfgRd0: 0x04,
      CfgWr0: 0x44,
      CfgRd1: 0x05,
      CfgWr1: 0x45,
      Msg: 0x30,
      MsgD: 0x70,
      Cpl: 0x0a,
      CplD: 0x4a,
      CplLk: 0x0b,
      CplDLk: 0x4b,
      FetchAdd: 0x4c,
      Swap: 0x4d,
      CAS: 0x4e,
    };
    for (const { type } of Object.values(SAMPLE_TLPS)) {
      assert.equal((headerWords(SAMPLE_TLPS[type])[0] ?? 0) >>> 24, bytes[type], type);
    }
  });

  it('an error log gets header and prefixes', () => {
    const tlp: TlpDescription = { ...SAMPLE_TLPS.MRd, prefixes: [0x9000_0001] };
    assert.deepEqual(loggedTlp(tlp), { header: headerWords(tlp), prefixes: [0x9000_0001] });
    assert.equal(headerWords(tlp).length, 3);
  });
});

describe('PASID prefix', () => {
  it('keeps its twenty bits and both request bits', () => {
    for (const pasid of [
      { pasid: 0xfffff, execute: false, privileged: false },
      { pasid: 0, execute: true, privileged: false },
      { pasid: 1, execute: true, privileged: true },
    ]) {
      const dw = pasidPrefix(pasid);
      assert.equal(dw >>> 24, 0x91);
      assert.deepEqual(pasidOf({ prefixes: [0x9000_0000, dw] }), pasid);
    }
  });
  it('is absent without prefix 0x91', () => {
    assert.equal(pasidOf({ prefixes: [0x9000_0000] }), null);
  });
});
