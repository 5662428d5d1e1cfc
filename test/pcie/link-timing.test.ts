/** Closed forms of the link against every row of the fixture and against published limits. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  ackLatencyPs,
  ackLatencySymbols,
  dllpShare,
  REPLAY_WINDOW,
  REPLAYS_BEFORE_RETRAIN,
  replayTimerSymbols,
  SEQUENCE_NUMBERS,
  UPDATE_FC_PERIOD_EXTENDED_PS,
  UPDATE_FC_PERIOD_PS,
  UPDATE_FC_TIMEOUT_PS,
  updateFcLatencyPs,
  updateFcLatencySymbols,
} from '#emu/pcie/link/ack-timing.ts';
import {
  FLIT_BYTES,
  FLIT_CRC_BYTES,
  FLIT_DLP_BYTES,
  FLIT_FEC_BYTES,
  FLIT_TLP_BYTES,
  flitPs,
  flitsFor,
  flitTlpBytes,
} from '#emu/pcie/link/flit-timing.ts';
import { DEFAULT_LINK, psPerByte } from '#emu/pcie/link/link.ts';
import {
  bytesPerNs,
  dllpBytes,
  framingBytes,
  type Generation,
  HEADER_3DW,
  HEADER_4DW,
  payloadFraction,
  payloadRate,
  serialisationPs,
  skipFactor,
  symbolPs,
  type TimedLink,
  wireBytes,
} from '#emu/pcie/link/link-timing.ts';
import { pasidPrefix } from '#emu/pcie/tlp/pasid-prefix.ts';
import { PLAIN, type TlpDescription } from '#emu/pcie/tlp/tlp-description.ts';
import { SAMPLE_TLPS } from '#test/support/any-tlp.ts';

const csv = readFileSync(new URL('../fixtures/timing-closed-form.csv', import.meta.url), 'utf8');
const [header = '', ...lines] = csv.trim().split(/\r?\n/);
const columns = header.split(',');
const rows = lines.map((line) => {
  const cells = line.split(',');
  return Object.fromEntries(columns.map((name, i) => [name, cells[i] ?? '']));
});
const GENERATIONS = [1, 2, 3, 4, 5, 6] as const;
const WIDTHS = [1, 2, 4, 8, 16] as const;
const near = (got: number, expected: number, tolerance: number, what: string): void =>
  assert.ok(Math.abs(got - expected) <= tolerance, `${what}: expected ${expected}, got ${got}`);
const find = <T extends number>(all: readonly T[], text: string | undefined): T => {
  const found = all.find((n) => n === Number(text?.replace(/^\D+/, '')));
  assert.ok(found !== undefined, `no number in ${text}`);
  return found;
};
const full = (payloadBytes: number) => ({ headerBytes: HEADER_4DW, payloadBytes });

describe('timing-closed-form.csv', () => {
  it('holds in every row and column', () => {
    assert.equal(rows.length, 6 * 5 * 2 * 6);
    for (const row of rows) {
      const link: TimedLink = { gen: find(GENERATIONS, row.gen), width: find(WIDTHS, row.width) };
      const headerBytes = row.tlp?.includes('4DW') ? HEADER_4DW : HEADER_3DW;
      const tlp = { headerBytes, payloadBytes: Number(row.payload_B) };
      const wire = wireBytes(link.gen, tlp);
      const what = `${row.gen} ${row.width} ${row.tlp} ${row.payload_B}`;
      assert.equal(wire - tlp.payloadBytes, Number(row.overhead_B), what);
      assert.equal(wire, Number(row.wire_B), what);
      near(bytesPerNs(link), Number(row.link_GBps), 1e-6, what);
      near(payloadFraction(link.gen, tlp), Number(row.payload_fraction), 1e-6, what);
      const rate = payloadRate(link, tlp);
      near(rate, Number(row.payload_GBps_noSKP), 1e-6, what);
      const skipped = rate * skipFactor(link.gen).most;
      near(skipped, Number(row.payload_GBps_maxintervalSKP), 1e-6, what);
      near(serialisationPs(link, wire) / 1000, Number(row.serialization_ns), 1e-4, what);
    }
  });
});

describe('a link', () => {
  it('moves bytes at the rate that the simulated one has', () => {
    near(1000 / bytesPerNs(DEFAULT_LINK), psPerByte(DEFAULT_LINK), 1e-9, 'ps per byte');
  });

  it('has symbols of 4, 2, 1, 1/2, 1/4 and 1/8 ns', () => {
    assert.deepEqual(GENERATIONS.map(symbolPs), [4000, 2000, 1000, 500, 250, 125]);
  });

  it('pays 8 bytes of framing and 8 a DLLP, and nothing in flits', () => {
    assert.deepEqual(GENERATIONS.map(framingBytes), [8, 8, 8, 8, 8, 0]);
    assert.deepEqual(GENERATIONS.map(dllpBytes), [8, 8, 8, 8, 8, 0]);
    assert.equal(wireBytes(3, { headerBytes: 16, payloadBytes: 256, extraBytes: 8 }), 288);
  });

  it('loses 0.26 to 0.34 % to symbol skips, 0.27 % to block skips', () => {
    for (const [gens, least, most] of [
      [[1, 2], 0.99661, 0.9974],
      [[3, 4, 5], 0.9973, 0.99734],
      [[6], 1, 1],
    ] as const) {
      for (const gen of gens) {
        near(skipFactor(gen).least, least, 1e-5, `gen ${gen}`);
        near(skipFactor(gen).most, most, 1e-5, `gen ${gen}`);
      }
    }
  });
});

describe('Ack and UpdateFC limits', () => {
  const published = [
    [1, 1, 128, 237],
    [1, 1, 256, 416],
    [1, 1, 512, 559],
    [1, 8, 512, 86],
    [1, 16, 256, 72],
    [1, 16, 1024, 150],
    [2, 4, 128, 124],
    [3, 4, 256, 214],
    [3, 8, 256, 203],
    [3, 16, 256, 168],
    [3, 16, 512, 182],
    [5, 16, 256, 168],
  ] as const;

  for (const [gen, width, mps, symbols] of published) {
    it(`gen ${gen} x${width}, payload ${mps}: ${symbols} symbols`, () => {
      const link = { gen, width };
      assert.equal(ackLatencySymbols(link, mps), symbols);
      assert.equal(updateFcLatencySymbols(link, mps), symbols);
      assert.equal(ackLatencyPs(link, mps), symbols * symbolPs(gen));
      assert.equal(updateFcLatencyPs(link, mps), symbols * symbolPs(gen));
    });
  }

  it('replay after three of them up to generation 3, then in one range', () => {
    assert.deepEqual(replayTimerSymbols({ gen: 1, width: 1 }, 128), { least: 711, most: 1422 });
    assert.deepEqual(replayTimerSymbols({ gen: 3, width: 4 }, 256), { least: 642, most: 1284 });
    for (const gen of [4, 5] as const) {
      const range = { least: 24_000, most: 31_000 };
      assert.deepEqual(replayTimerSymbols({ gen, width: 16 }, 128), range);
    }
    assert.deepEqual([REPLAYS_BEFORE_RETRAIN, SEQUENCE_NUMBERS, REPLAY_WINDOW], [4, 4096, 2048]);
  });

  it('UpdateFC at least every 30 us, 120 with extended synchronisation, given up after 200', () => {
    const limits = [UPDATE_FC_PERIOD_PS, UPDATE_FC_PERIOD_EXTENDED_PS, UPDATE_FC_TIMEOUT_PS];
    assert.deepEqual(limits, [30e6, 120e6, 200e6]);
  });

  it('DLLPs take 1.9 % of gen 3 x4, 0.6 % of x16', () => {
    near(dllpShare({ gen: 3, width: 4 }, 256), 0.0187, 5e-5, 'x4');
    near(dllpShare({ gen: 3, width: 16 }, 256), 0.00595, 5e-6, 'x16');
    near(dllpShare({ gen: 3, width: 4 }, 256, 1), 0.00935, 5e-6, 'Acks alone');
  });
});

describe('rates of 256-byte writes', () => {
  const oracle = [
    [3, 4, 3.52, 3.6, 0.005],
    [4, 4, 7.05, 7.2, 0.005],
    [3, 16, 14.28, 14.4, 0.005],
    [4, 16, 28.56, 28.81, 0.005],
    [5, 16, 57.1, 57.6, 0.05],
  ] as const;

  for (const [gen, width, saturated, oneWay, half] of oracle) {
    it(`gen ${gen} x${width}: ${saturated} GB/s saturated both ways, ${oneWay} one way`, () => {
      const link = { gen, width };
      const rate = payloadRate(link, full(256));
      near(rate, oneWay, half, 'one way');
      const both = rate * skipFactor(gen).most * (1 - dllpShare(link, 256));
      near(both, saturated, half, 'both ways');
    });
  }
});

describe('rows of the validation table that are formulas', () => {
  const rates: readonly (readonly [string, Generation, TimedLink['width'], number, number])[] = [
    ['A01', 3, 8, 256, 7.2018],
    ['A03', 1, 1, 128, 0.210526],
    ['A05', 5, 16, 512, 60.1938],
    ['A07', 6, 16, 256, 111.0588],
  ];
  for (const [id, gen, width, payload, expected] of rates) {
    it(`${id}: ${expected} GB/s`, () => {
      near(payloadRate({ gen, width }, full(payload)), expected, expected * 1e-4, id);
    });
  }

  it('A10: a read request takes 3.047 ns, a 256-byte write 35.547', () => {
    const link = { gen: 3, width: 8 } as const;
    near(serialisationPs(link, wireBytes(3, full(0))), 3047, 1, 'MRd64');
    near(serialisationPs(link, wireBytes(3, full(256))), 35_547, 1, 'MWr64');
  });

  it('B04: 256 bytes with three header DWs are 0.9275 of the rate', () => {
    const tlp = { headerBytes: HEADER_3DW, payloadBytes: 256 };
    near(payloadFraction(3, tlp), 0.9275, 1e-4, 'B04');
  });
});

describe('flits', () => {
  it('are 256 bytes, 236 of them for TLPs, and take 2 ns on sixteen lanes', () => {
    const parts = [FLIT_TLP_BYTES, FLIT_DLP_BYTES, FLIT_CRC_BYTES, FLIT_FEC_BYTES];
    assert.equal(
      parts.reduce((sum, n) => sum + n),
      FLIT_BYTES,
    );
    assert.equal(flitPs(16), 2000);
    assert.equal(flitPs(1), 32_000);
    assert.deepEqual([0, 1, 236, 237, 472].map(flitsFor), [0, 1, 1, 2, 2]);
    near((1000 * FLIT_TLP_BYTES) / flitPs(16), bytesPerNs({ gen: 6, width: 16 }), 1e-9, 'rate');
  });

  const write = (over: Partial<typeof SAMPLE_TLPS.MWr> = {}): TlpDescription => ({
    ...SAMPLE_TLPS.MWr,
    address: 2 ** 40,
    lastBe: 0xf,
    data: new Uint8Array(256),
    ...over,
  });

  it('carry a plain TLP without extra content', () => {
    assert.equal(flitTlpBytes(write()), 272);
    assert.equal(flitTlpBytes(write({ address: 0x1000 })), 268);
    assert.equal(flitTlpBytes(SAMPLE_TLPS.MRd), 12);
    assert.equal(flitTlpBytes(SAMPLE_TLPS.CplD), 16);
    assert.equal(flitTlpBytes(SAMPLE_TLPS.Msg), 16);
    assert.equal(flitTlpBytes(SAMPLE_TLPS.FetchAdd), 16);
  });

  it('take a DW more for byte enables, PASID, hint, digest, and for I/O, configuration and errors', () => {
    const pasid = [pasidPrefix({ pasid: 1, execute: false, privileged: false })];
    assert.equal(flitTlpBytes(write({ firstBe: 0xe })), 276);
    assert.equal(flitTlpBytes(write({ lastBe: 0x7 })), 276);
    assert.equal(flitTlpBytes(write({ prefixes: pasid })), 276);
    assert.equal(flitTlpBytes(write({ hint: 0 })), 276);
    assert.equal(flitTlpBytes(write({ digest: 0 })), 276);
    assert.equal(flitTlpBytes(write({ prefixes: pasid, firstBe: 0xe, hint: 1, digest: 1 })), 284);
    assert.equal(flitTlpBytes({ ...SAMPLE_TLPS.Msg, prefixes: pasid }), 20);
    assert.equal(flitTlpBytes({ ...SAMPLE_TLPS.Swap, prefixes: pasid }), 20);
    assert.equal(flitTlpBytes(SAMPLE_TLPS.CfgRd0), 16);
    assert.equal(flitTlpBytes(SAMPLE_TLPS.CfgWr1), 20);
    assert.equal(flitTlpBytes(SAMPLE_TLPS.IORd), 16);
    assert.equal(flitTlpBytes({ ...SAMPLE_TLPS.Cpl, status: 1 }), 16);
    assert.equal(flitTlpBytes({ ...SAMPLE_TLPS.CplD, lowerAddress: 2 }), 20);
    assert.equal(flitTlpBytes({ ...PLAIN, ...SAMPLE_TLPS.CplD, lowerAddress: 4 }), 16);
  });
});
