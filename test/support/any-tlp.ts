/**
 * TLPs for tests: one small legal TLP of every type, and an arbitrary that gives any legal one.
 * @module
 */
import fc from 'fast-check';
import { bdf, bdfFromId } from '#emu/base/units.ts';
import { firstByteEnables, lastByteEnables, lengthDw } from '#emu/pcie/tlp/byte-enables.ts';
import { PLAIN, type TlpDescription } from '#emu/pcie/tlp/tlp-description.ts';
import type { TlpType } from '#emu/pcie/tlp/tlp-header.ts';
import { MessageCode } from '#emu/pcie/tlp/tlp-messages.ts';

const source = { ...PLAIN, requester: bdf(1, 0, 0), tag: 1 };
const addressed = {
  ...source,
  address: 0x1000,
  firstBe: 0xf,
  lastBe: 0,
  addressType: 0,
  hint: null,
};
const config = { ...source, target: bdf(2, 0, 0), register: 0, firstBe: 0xf };
const message = {
  ...source,
  routing: 0,
  code: MessageCode.Vendor_Defined_1,
  words: [0, 0],
} as const;
const completion = {
  ...source,
  completer: bdf(2, 0, 0),
  status: 0,
  byteCountModified: false,
  byteCount: 4,
  lowerAddress: 0,
};
const data = new Uint8Array(4);

/** A small legal TLP of each type. */
export const SAMPLE_TLPS: { readonly [T in TlpType]: TlpDescription & { readonly type: T } } = {
  MRd: { ...addressed, type: 'MRd', lengthDw: 1 },
  MRdLk: { ...addressed, type: 'MRdLk', lengthDw: 1 },
  MWr: { ...addressed, type: 'MWr', data },
  DMWr: { ...addressed, type: 'DMWr', data },
  IORd: { ...source, type: 'IORd', address: 0x3f8, firstBe: 1 },
  IOWr: { ...source, type: 'IOWr', address: 0x3f8, firstBe: 1, data },
  CfgRd0: { ...config, type: 'CfgRd0' },
  CfgWr0: { ...config, type: 'CfgWr0', data },
  CfgRd1: { ...config, type: 'CfgRd1' },
  CfgWr1: { ...config, type: 'CfgWr1', data },
  Msg: { ...message, type: 'Msg' },
  MsgD: { ...message, type: 'MsgD', data },
  Cpl: { ...completion, type: 'Cpl' },
  CplD: { ...completion, type: 'CplD', data },
  CplLk: { ...completion, type: 'CplLk' },
  CplDLk: { ...completion, type: 'CplDLk', data },
  FetchAdd: { ...addressed, type: 'FetchAdd', data },
  Swap: { ...addressed, type: 'Swap', data },
  CAS: { ...addressed, type: 'CAS', lastBe: 0xf, data: new Uint8Array(8) },
};

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const id = fc.integer({ min: 0, max: 0xffff }).map(bdfFromId);
const dwords = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => {
    const whole = new Uint8Array(4 * Math.max(1, bytes.length));
    whole.set(bytes);
    return whole;
  });
const attributes = fc.record({
  relaxedOrdering: fc.boolean(),
  idOrdering: fc.boolean(),
  noSnoop: fc.boolean(),
  lightweight: fc.boolean(),
  poisoned: fc.boolean(),
  tc: fc.integer({ min: 0, max: 7 }),
  prefixes: fc
    .tuple(
      fc.array(fc.constantFrom(0x8000_0001, 0x8e12_3456), { maxLength: 2 }),
      fc.array(fc.constantFrom(0x9012_0000, 0x9100_0007, 0x9e00_0000), { maxLength: 4 }),
    )
    .map((parts) => parts.flat()),
  digest: fc.option(u32),
});
const own = fc.record({ requester: id, tag: fc.integer({ min: 0, max: 1023 }) });
const hints = fc.record({
  addressType: fc.integer({ min: 0, max: 3 }),
  hint: fc.option(fc.integer({ min: 0, max: 3 })),
});
const pageStart = fc
  .oneof(fc.integer({ min: 0, max: 0xf_ffff }), fc.integer({ min: 0, max: 2 ** 40 - 1 }))
  .map((page) => page * 4096);

const requestRange = fc
  .tuple(pageStart, fc.integer({ min: 0, max: 4095 }), fc.integer({ min: 0, max: 4096 }))
  .map(([page, offset, size]) => {
    const sizeBytes = Math.min(size, 4096 - offset);
    return {
      address: page + offset - (offset & 3),
      lengthDw: lengthDw(offset, sizeBytes),
      firstBe: firstByteEnables(offset, sizeBytes),
      lastBe: lastByteEnables(offset, sizeBytes),
    };
  });
const lawful = { tc: 0, relaxedOrdering: false, noSnoop: false };

/** Any TLP that receivers accept. */
export const anyTlp: fc.Arbitrary<TlpDescription> = fc.oneof(
  fc
    .tuple(attributes, own, hints, requestRange, fc.constantFrom('MRd', 'MRdLk'))
    .map(([a, o, h, range, type]) => ({ ...a, ...o, ...h, ...range, type })),
  fc
    .tuple(attributes, own, hints, requestRange, fc.constantFrom('MWr', 'DMWr'), fc.nat(255))
    .map(([a, o, h, { lengthDw: dw, ...range }, type, fill]) => {
      return { ...a, ...o, ...h, ...range, type, data: new Uint8Array(4 * dw).fill(fill) };
    }),
  fc
    .tuple(
      attributes,
      own,
      hints,
      pageStart,
      fc.constantFrom(
        ...(['FetchAdd', 'Swap'] as const).flatMap((type) => [
          { type, dw: 1, operand: 4 },
          { type, dw: 2, operand: 8 },
        ]),
        { type: 'CAS' as const, dw: 2, operand: 4 },
        { type: 'CAS' as const, dw: 4, operand: 8 },
        { type: 'CAS' as const, dw: 8, operand: 16 },
      ),
      fc.nat(255),
    )
    .map(([a, o, h, page, { type, dw, operand }, n]) => {
      const data = new Uint8Array(4 * dw).fill(n);
      return { ...a, ...o, ...h, address: page + n * operand, firstBe: 0xf, lastBe: 0, type, data };
    }),
  fc
    .tuple(attributes, own, u32, fc.nat(15), fc.option(dwords(0, 1)))
    .map(([a, o, address, firstBe, data]) => {
      const io = { ...a, ...lawful, ...o, address: (address & ~3) >>> 0, firstBe };
      return data ? { ...io, type: 'IOWr' as const, data } : { ...io, type: 'IORd' as const };
    }),
  fc
    .tuple(attributes, own, id, fc.nat(1023), fc.nat(15), fc.boolean(), fc.option(dwords(0, 1)))
    .map(([a, o, target, dw, firstBe, far, data]) => {
      const config = { ...a, ...lawful, ...o, target, register: 4 * dw, firstBe };
      const reads = far ? ('CfgRd1' as const) : ('CfgRd0' as const);
      const writes = far ? ('CfgWr1' as const) : ('CfgWr0' as const);
      return data ? { ...config, type: writes, data } : { ...config, type: reads };
    }),
  fc
    .tuple(attributes, own, fc.nat(7), fc.constantFrom(0x7e, 0x7f, 0xee), u32, u32)
    .chain(([a, o, routing, code, x, y]) =>
      fc.option(dwords(0, 64)).map((data) => {
        const message = { ...a, ...o, routing, code, words: [x, y] as const };
        return data
          ? { ...message, type: 'MsgD' as const, data }
          : { ...message, type: 'Msg' as const };
      }),
    ),
  fc
    .record({
      attributes,
      own,
      completer: id,
      status: fc.nat(7),
      byteCountModified: fc.boolean(),
      byteCount: fc.integer({ min: 1, max: 4096 }),
      lowerAddress: fc.nat(127),
      locked: fc.boolean(),
      data: fc.option(dwords(0, 128)),
    })
    .map(({ attributes: a, own: o, locked, data, ...completion }) =>
      data
        ? {
            ...a,
            ...o,
            ...completion,
            type: locked ? ('CplDLk' as const) : ('CplD' as const),
            data,
          }
        : { ...a, ...o, ...completion, type: locked ? ('CplLk' as const) : ('Cpl' as const) },
    ),
);
