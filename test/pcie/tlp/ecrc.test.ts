/** The three redundancy checks: check values, a bit-serial reference, residues, and what the ECRC leaves out. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { bdf } from '#emu/base/units.ts';
import { CRC32_SEED, crc32Byte, crc32Wire, dllpCrc, lcrc } from '#emu/pcie/tlp/crc.ts';
import { ecrc, ecrcMatches, withEcrc } from '#emu/pcie/tlp/ecrc.ts';
import { PLAIN, type TlpDescription } from '#emu/pcie/tlp/tlp-description.ts';
import { encodeTlp } from '#emu/pcie/tlp/tlp-encode.ts';

const nine = new TextEncoder().encode('123456789');
const swap = (n: number, bytes: number): number => {
  let result = 0;
  for (let i = 0; i < bytes; i++) result = result * 256 + ((n >>> (8 * i)) & 0xff);
  return result;
};

/** Division one bit at a time, as the shift register of the specification does it. */
function serial(bytes: Uint8Array, width: 16 | 32, polynomial: number): number {
  const top = 2 ** (width - 1);
  const mask = 2 ** width - 1;
  let register = mask;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const feedback = (register >= top ? 1 : 0) ^ ((byte >> bit) & 1);
      register = (((register * 2) % 2 ** width) ^ (feedback ? polynomial : 0)) >>> 0;
    }
  }
  register = (register ^ mask) >>> 0;
  // Result bit 0 goes to bit 7 of the last byte, bit 7 to bit 0, and so on in every byte.
  let wire = 0;
  for (let i = 0; i < width; i++) {
    const place = (i & ~7) + 7 - (i & 7);
    if (Math.floor(register / 2 ** i) % 2 === 1) wire += 2 ** place;
  }
  return wire;
}

const crc32Of = (bytes: Uint8Array): number => {
  let crc = CRC32_SEED;
  for (const byte of bytes) crc = crc32Byte(crc, byte);
  return crc32Wire(crc);
};

const write: TlpDescription = {
  ...PLAIN,
  type: 'MWr',
  requester: bdf(1, 0, 0),
  tag: 3,
  address: 0x1_0000_1000,
  firstBe: 0xf,
  lastBe: 0xf,
  addressType: 0,
  hint: null,
  data: Uint8Array.from({ length: 64 }, (_, i) => i),
};

describe('polynomial 0x04C11DB7', () => {
  it('has its check value', () => {
    assert.equal(crc32Of(nine), swap(0xcbf4_3926, 4));
  });

  it('agrees with the shift register', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        assert.equal(crc32Of(bytes), serial(bytes, 32, 0x04c1_1db7));
      }),
    );
  });

  it('LCRC covers the sequence number', () => {
    const tlp = encodeTlp(write);
    const framed = Uint8Array.of(0x0a, 0xbc, ...tlp);
    assert.equal(lcrc(0xabc, tlp), serial(framed, 32, 0x04c1_1db7));
    assert.notEqual(lcrc(0xabd, tlp), lcrc(0xabc, tlp));
    assert.equal(lcrc(0x1abc, tlp), lcrc(0xabc, tlp));
  });

  it('leaves the known residue over data and check', () => {
    const check = lcrc(7, nine);
    let crc = CRC32_SEED;
    for (const byte of [0, 7, ...nine]) crc = crc32Byte(crc, byte);
    for (const shift of [24, 16, 8, 0]) crc = crc32Byte(crc, (check >>> shift) & 0xff);
    assert.equal(crc >>> 0, 0xdebb_20e3);
  });
});

describe('polynomial 0x100B', () => {
  it('agrees with the shift register', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (bytes) => {
        assert.equal(dllpCrc(bytes), serial(bytes, 16, 0x100b));
      }),
    );
  });

  it('finds every single wrong bit', () => {
    const ack = Uint8Array.of(0, 0, 0x0a, 0xbc);
    for (let bit = 0; bit < 32; bit++) {
      const wrong = ack.slice();
      wrong[bit >> 3] = (wrong[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.notEqual(dllpCrc(wrong), dllpCrc(ack));
    }
  });
});

describe('ECRC', () => {
  const config = (type: 'CfgRd0' | 'CfgRd1'): TlpDescription => ({
    ...PLAIN,
    type,
    requester: bdf(0, 0, 0),
    tag: 1,
    target: bdf(2, 0, 0),
    register: 8,
    firstBe: 0xf,
  });

  it('is the check of the TLP with bit 0 of the type and EP as 1, digest bit included', () => {
    const sealed = withEcrc(write);
    const bytes = encodeTlp({ ...write, digest: 0 }).slice(0, -4);
    bytes[0] = (bytes[0] ?? 0) | 0x01;
    bytes[2] = (bytes[2] ?? 0) | 0x40;
    assert.equal((bytes[2] ?? 0) & 0x80, 0x80);
    assert.equal(sealed.digest, swap(crc32(bytes), 4));
    assert.ok(ecrcMatches(sealed));
    assert.ok(ecrcMatches(write));
  });

  it('survives type 1 to type 0 and poisoning on the way', () => {
    const { digest } = withEcrc(config('CfgRd1'));
    assert.ok(ecrcMatches({ ...config('CfgRd0'), digest }));
    assert.ok(ecrcMatches({ ...withEcrc(write), poisoned: true }));
  });

  it('finds any other change', () => {
    const sealed = withEcrc(write);
    const data = write.data.slice();
    data[5] = 0xff;
    assert.ok(!ecrcMatches({ ...sealed, data } as TlpDescription));
    assert.ok(!ecrcMatches({ ...sealed, relaxedOrdering: true }));
    assert.ok(!ecrcMatches({ ...sealed, digest: (sealed.digest ?? 0) ^ 1 }));
  });

  it('covers end-to-end prefixes but not local ones', () => {
    const plain = withEcrc({ ...write, prefixes: [0x9100_0001] });
    const local = withEcrc({ ...write, prefixes: [0x8000_0001, 0x9100_0001] });
    const other = withEcrc({ ...write, prefixes: [0x9100_0002] });
    assert.equal(local.digest, plain.digest);
    assert.notEqual(other.digest, plain.digest);
    assert.equal(withEcrc({ ...write, prefixes: [0x8000_0001] }).digest, withEcrc(write).digest);
  });

  it('of nothing but a header is taken too', () => {
    const bytes = encodeTlp({ ...config('CfgRd0'), digest: 0 }).slice(0, -4);
    assert.equal(ecrc(bytes), withEcrc(config('CfgRd0')).digest);
  });
});
