/** Records of every kind have bytes that say the same: type, fields, attributes, length on the wire. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { arena } from '#emu/memory/arena.ts';
import {
  byteCount,
  firstByteEnables,
  lastByteEnables,
  lengthDw,
  lowerAddress,
} from '#emu/pcie/tlp/byte-enables.ts';
import { ecrcMatches } from '#emu/pcie/tlp/ecrc.ts';
import { pasidOf } from '#emu/pcie/tlp/pasid-prefix.ts';
import { completionBytes } from '#emu/pcie/tlp/splitting.ts';
import {
  addressType,
  FRAMING_BYTES,
  fillCompletionData,
  isAtomic,
  isCompletion,
  isConfig,
  isIo,
  isMemory,
  isMessage,
  TLP_NAMES,
  type Tlp,
  TlpFlag,
  TlpKind,
  TlpPool,
  tlpFlags,
  trafficClass,
} from '#emu/pcie/tlp/tlp.ts';
import { decodeTlp, isMalformed } from '#emu/pcie/tlp/tlp-decode.ts';
import { describeTlp, loggedRecord, malformationOf, wireTlp } from '#emu/pcie/tlp/tlp-describe.ts';
import { TLP_FORMS, type TlpType } from '#emu/pcie/tlp/tlp-header.ts';

const pool = new TlpPool(4096);
after(() => pool.dispose());

const { RO, NS, IDO, EP, TD, Pasid, Execute, Privileged, BadDigest, Malformed } = TlpFlag;
const KINDS = Object.values(TlpKind);
const anyFlags = fc
  .tuple(fc.subarray([RO, NS, IDO, EP, TD, Pasid, Execute, Privileged]), fc.nat(7), fc.nat(2))
  .map(([bits, tc, at]) =>
    tlpFlags(
      bits.reduce((all, bit) => all | bit, 0),
      tc,
      at,
    ),
  );
const anyRecord = fc.record({
  kind: fc.constantFrom(...KINDS),
  flags: anyFlags,
  page: fc.constantFrom(0x1000, 0xffff_f000, 2 ** 32, 2 ** 40 + 0x3000),
  offset: fc.nat(4095),
  size: fc.oneof(fc.nat(8), fc.nat(4096)),
  tag: fc.nat(1023),
  pasid: fc.nat(0xf_ffff),
  id: fc.nat(0xffff),
  word: fc.nat(0xffff_ffff),
});

/** Address and size that the kind may have. */
function shape(tlp: Tlp, offset: number, size: number): void {
  const { kind } = tlp;
  if (isAtomic(tlp)) {
    tlp.sizeBytes = [4, 8, kind === TlpKind.CAS ? 16 : 8][size % 3]!;
    tlp.address -= tlp.address % (kind === TlpKind.CAS ? 2 * tlp.sizeBytes : tlp.sizeBytes);
  } else if (isConfig(tlp) || isIo(tlp)) {
    tlp.sizeBytes = 1 + (size & 3);
    tlp.address = 4 * (offset >> 2) + Math.min(offset & 3, 4 - tlp.sizeBytes);
  } else if (isMessage(tlp)) {
    tlp.sizeBytes = kind === TlpKind.MsgD ? 4 + (size & 0x7fc) : 0;
  } else if (isCompletion(tlp)) {
    tlp.sizeBytes = kind === TlpKind.CplD ? Math.min(size, 4096 - (offset & 3)) : 0;
  }
}

/** A lawful record of the kind, with what the arbitrary says as far as the kind allows it. */
function make(want: typeof anyRecord extends fc.Arbitrary<infer R> ? R : never): Tlp {
  const { kind, flags, page, offset, size, id, word } = want;
  const tlp = pool.take();
  tlp.kind = kind;
  tlp.requester = id;
  tlp.completer = id ^ 0xff;
  tlp.targetId = id ^ 0x1234;
  tlp.tag = want.tag;
  tlp.pasid = want.pasid;
  tlp.address = page + offset;
  tlp.sizeBytes = Math.min(size, 4096 - offset);
  tlp.status = isCompletion(tlp) ? 4 : 0;
  tlp.byteCount = 1 + offset;
  tlp.lowerAddress = offset & 0x7f;
  tlp.messageCode = 0x7f;
  tlp.routing = offset & 7;
  tlp.thirdWord = word;
  tlp.fourthWord = word ^ 1 ? (word ^ 1) >>> 0 : 0;
  tlp.flags = isConfig(tlp) || isIo(tlp) ? flags & (IDO | EP | TD | Pasid) : flags;
  shape(tlp, offset, size);
  arena.u8.fill(offset, tlp.payloadAt, tlp.payloadAt + 4096);
  tlp.seal();
  return tlp;
}

describe('a record of any kind', () => {
  it('has bytes that decode to what it says, as many as the hot path counts', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(anyRecord, (want) => {
        const tlp = make(want);
        const description = describeTlp(tlp);
        const wire = wireTlp(tlp);
        assert.deepEqual(decodeTlp(wire), description);
        assert.equal(wire.length + FRAMING_BYTES, tlp.wireBytes);
        assert.equal(description.type, TLP_NAMES[tlp.kind]);
        const data = 'data' in description ? description.data.length : 0;
        assert.equal(tlp.dataCredits, Math.ceil(data / 16));
        seen.add(description.type);
        pool.give(tlp);
      }),
      { numRuns: 1500 },
    );
    assert.equal(seen.size, KINDS.length);
  });

  it('keeps its attributes', () => {
    fc.assert(
      fc.property(anyRecord, (want) => {
        const tlp = make(want);
        const said = describeTlp(tlp);
        const has = (flag: number): boolean => (tlp.flags & flag) !== 0;
        assert.deepEqual(
          [said.relaxedOrdering, said.noSnoop, said.idOrdering, said.poisoned, said.tc, said.tag],
          [has(RO), has(NS), has(IDO), has(EP), trafficClass(tlp), want.tag],
        );
        assert.equal(said.digest !== null, has(TD));
        assert.ok(ecrcMatches(said), 'digest');
        if ('addressType' in said) assert.equal(said.addressType, addressType(tlp));
        const prefix = { pasid: want.pasid, execute: has(Execute), privileged: has(Privileged) };
        assert.deepEqual(pasidOf(said), has(Pasid) ? prefix : null);
        pool.give(tlp);
      }),
    );
  });

  it('belongs to one group', () => {
    for (const kind of KINDS) {
      const tlp = new (pool.take().constructor as new (at: number) => Tlp)(0);
      tlp.kind = kind;
      const { layout } = TLP_FORMS[TLP_NAMES[kind] as TlpType];
      assert.deepEqual(
        [isMemory(tlp), isAtomic(tlp), isIo(tlp), isConfig(tlp), isMessage(tlp), isCompletion(tlp)],
        [layout === 'memory' || layout === 'atomic', layout === 'atomic', layout === 'io'].concat([
          layout === 'config',
          layout === 'message',
          layout === 'completion',
        ]),
        layout,
      );
    }
  });
});

describe('a damaged record', () => {
  it('has a digest that does not fit, or bytes that are malformed, by its own fault where it has one', () => {
    fc.assert(
      fc.property(anyRecord, (want) => {
        const bad = make({ ...want, flags: want.flags | TD });
        bad.flags |= BadDigest;
        assert.ok(!ecrcMatches(describeTlp(bad)), 'digest');
        assert.equal(malformationOf(bad), null);
        bad.flags |= Malformed;
        assert.ok(isMalformed(decodeTlp(wireTlp(bad))), 'malformed');
        assert.equal(malformationOf(bad)?.malformed, 'reserved-type');
        assert.deepEqual(loggedRecord(bad).header, malformationOf(bad)?.header);
        pool.give(bad);
      }),
    );
    const atomic = make({ ...SAMPLE, kind: TlpKind.Swap, flags: Malformed });
    atomic.address += 1;
    atomic.seal();
    assert.equal(malformationOf(atomic)?.malformed, 'atomic-length');
    atomic.address += 3;
    atomic.sizeBytes = 8;
    atomic.seal();
    assert.equal(malformationOf(atomic)?.malformed, 'atomic-alignment');
  });
});

const SAMPLE = {
  ...{ kind: TlpKind.MRd, flags: 0, page: 0x1000, offset: 0, size: 4, tag: 0, pasid: 0 },
  ...{ id: 0x100, word: 0 },
} as const;

describe('completions of a read', () => {
  it('have the byte count and lower address that the byte enables say, at every alignment', () => {
    const cpl = pool.take();
    fc.assert(
      fc.property(fc.nat(4095), fc.nat(4096), fc.constantFrom(64, 128), (offset, size, rcb) => {
        const request = make({ ...SAMPLE, offset, size: Math.min(size, 4096 - offset) });
        const first = firstByteEnables(request.address, request.sizeBytes);
        const last = lastByteEnables(request.address, request.sizeBytes);
        const dw = lengthDw(request.address, request.sizeBytes);
        let left = byteCount(dw, first, last);
        let low = lowerAddress(request.address, first);
        if (request.sizeBytes === 0) low = request.address & 0x7f;
        for (let done = 0; done === 0 || done < request.sizeBytes; ) {
          const at = request.address + done;
          const bytes = completionBytes(at, request.sizeBytes - done, 256, rcb);
          fillCompletionData(cpl, request, 0x200, done, bytes);
          assert.deepEqual([cpl.byteCount, cpl.lowerAddress], [left, low]);
          left -= bytes;
          low = (low + bytes) & 0x7f;
          done += bytes || 1;
        }
        assert.ok(left === 0 || request.sizeBytes === 0, 'all bytes are announced');
        pool.give(request);
      }),
    );
    pool.give(cpl);
  });

  it('are 4 bytes at 0 of a register, and the operand at 0 of an atomic', () => {
    const cpl = pool.take();
    for (const [kind, size, count] of [
      [TlpKind.CfgRd0, 1, 4],
      [TlpKind.IORd, 2, 4],
      [TlpKind.FetchAdd, 1, 8],
      [TlpKind.CAS, 2, 16],
    ] as const) {
      const request = make({ ...SAMPLE, kind, offset: 0x64, size });
      fillCompletionData(cpl, request, 0x200, 0, count);
      assert.deepEqual([cpl.byteCount, cpl.lowerAddress, cpl.dataCredits], [count, 0, 1]);
    }
  });

  it('carry one DW when nothing was asked for, and so does a write of nothing', () => {
    const cpl = pool.take();
    const read = make({ ...SAMPLE, size: 0 });
    fillCompletionData(cpl, read, 0x200, 0, 0);
    assert.deepEqual([read.wireBytes, cpl.wireBytes, cpl.dataCredits], [20, 24, 1]);
    assert.deepEqual([cpl.byteCount, cpl.payloadBytes], [1, 0]);
    const write = make({ ...SAMPLE, kind: TlpKind.MWr, size: 0 });
    assert.deepEqual([write.wireBytes, write.dataCredits, write.payloadBytes], [24, 1, 0]);
  });
});
