/** What simulated links carry: flit mode, cut-through, credit loops, and the limits of what may be advertised. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flitPs } from '#emu/pcie/link/flit-timing.ts';
import {
  advertisedCredits,
  checkLink,
  FULL_CREDITS,
  flightPs,
  type LinkSpec,
  serialisationTable,
} from '#emu/pcie/link/link.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { Outcomes, pattern, smallFabric } from '#test/support/small-fabric.ts';

const { Data } = Purpose;

/** GB/s of a stream of writes between two devices, its beginning left out. */
function streamRate(link: LinkSpec, maxPayloadBytes: 128 | 256 | 512 = 256): number {
  const time = (sizeBytes: number): number => {
    const one = smallFabric({ link, maxPayloadBytes });
    const [a, b] = one.endpoints;
    pattern(a!.memory, 0, sizeBytes);
    a!.endpoint.write(b!.bar, sizeBytes, a!.memory, 0, Data, null, 0);
    one.kernel.run();
    const { now } = one.kernel;
    one.dispose();
    return now;
  };
  const [few, many] = [64 * 1024, 1024 * 1024];
  return ((many - few) * 1000) / (time(many) - time(few));
}

const near = (actual: number, expected: number, share: number): void =>
  assert.ok(Math.abs(actual / expected - 1) <= share, `${actual}, expected ${expected}`);

test('flit mode: generation 6 x16 carries 111.06 GB/s of 256-byte writes, Acks and all', () => {
  near(streamRate({ gen: 6, width: 16 }), 111.0588, 0.01);
  near(streamRate({ gen: 6, width: 16, overheads: true }), 111.0588, 0.01);
  near(streamRate({ gen: 6, width: 4 }), 111.0588 / 4, 0.01);
});

test('flit mode: no framing, and a flit more until what is in it counts', () => {
  const link: LinkSpec = { gen: 6, width: 16 };
  // 16 bytes of header and 256 of data at 118 GB/s; the record counts 8 of framing.
  near(serialisationTable(link)[(8 + 16 + 256) / 4]!, (272 / 118) * 1000, 0.001);
  assert.equal(serialisationTable(link)[0], 0);
  assert.equal(flitPs(16), 2000);
  assert.equal(flightPs(link) - flightPs({ gen: 5, width: 16 }), 2000);
});

test('generations 1, 3 and 5 carry what the closed forms say', () => {
  near(streamRate({ gen: 3, width: 8 }), 7.2018, 0.005);
  near(streamRate({ gen: 1, width: 1 }, 128), 0.210526, 0.005);
  near(streamRate({ gen: 5, width: 16 }, 512), 60.1938, 0.005);
});

/** ps from asking for 64 bytes to their arrival. */
function readRoundTrip(switchLatencyPs: number, cutThrough: boolean, link: LinkSpec): number {
  const one = smallFabric({ link, switchLatencyPs, cutThrough });
  const [a, b] = one.endpoints;
  a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, new Outcomes(), 0);
  one.kernel.run();
  const { now } = one.kernel;
  one.dispose();
  return now;
}

test('a switch adds 105 ns one way and 210 ns to a read, and a cut-through one no more', () => {
  const link: LinkSpec = { gen: 4, width: 16, propagationPs: 0 };
  const none = readRoundTrip(0, true, link);
  assert.equal(readRoundTrip(105_000, true, link) - none, 210_000);
  // Direct: completer latency, request of 24 and completion of 84 bytes, once each; the switch adds 24 bytes' time
  // of header each way.
  const table = serialisationTable(link);
  const direct = 50_000 + table[6]! + table[21]!;
  const hop = none - direct;
  assert.ok(hop >= 2 * table[6]! - 2 && hop <= 2 * table[6]! + 2, `${hop}`);
});

test('store and forward adds the whole TLP at each switch', () => {
  const link: LinkSpec = { gen: 1, width: 1, propagationPs: 0 };
  const table = serialisationTable(link);
  const cut = readRoundTrip(105_000, true, link);
  const stored = readRoundTrip(105_000, false, link);
  // The request is all header; of the completion, 12 + 8 + 64 bytes, what follows the first 24.
  assert.equal(stored - cut, table[21]! - table[6]!);
});

test('ten writes in flight a microsecond carry 2.56 GB/s', () => {
  // The loop: 280 bytes at 7.877 GB/s, two flights, and 4 ns until the credits are used.
  const propagationPs = Math.round((1_000_000 - 35_547 - 4_000) / 2);
  const link: LinkSpec = {
    gen: 3,
    width: 8,
    propagationPs,
    upperCredits: { PH: 32, PD: 160 },
    lowerCredits: { PH: 32, PD: 160 },
  };
  const one = smallFabric({ link, switchLatencyPs: 0, cutThrough: false });
  const [a, b] = one.endpoints;
  const size = 512 * 1024;
  a!.endpoint.write(b!.bar, size, a!.memory, 0, Data, null, 0);
  one.kernel.run();
  near((size * 1000) / (one.kernel.now - 2_000_000), 2.56, 0.01);
});

test('what is advertised fits the counters and the largest TLP', () => {
  const check = (credits: object, link: Partial<LinkSpec> = {}): unknown =>
    advertisedCredits(
      FULL_CREDITS,
      { gen: 4, width: 16, upperCredits: credits, ...link },
      true,
      512,
      'rc0.port0',
    );
  const refuse = (credits: object, text: RegExp, link: Partial<LinkSpec> = {}): void =>
    assert.throws(() => check(credits, link), { code: 'USAGE', message: text });
  assert.deepEqual(check({ PH: 5 }), { ...FULL_CREDITS, PH: 5 });
  assert.deepEqual(check({ CplH: 0, CplD: 0 }), { ...FULL_CREDITS, CplH: 0, CplD: 0 });
  refuse({ PH: 128 }, /rc0.port0: PH must be 0 \(infinite\) or 1 to 127; got 128/);
  refuse({ PD: 31 }, /PD must be 0 \(infinite\) or 32 to 2047; got 31/);
  refuse({ CplD: 2048 }, /CplD .* 32 to 2047/);
  refuse({ NPD: 1.5 }, /NPD must be .*got 1.5/);
  refuse({ NPH: -1 }, /NPH must be/);
  check({ PH: 508, PD: 8188 }, { creditScale: 4 });
  check({ PH: 2032, PD: 32_752 }, { creditScale: 16 });
  refuse({ PH: 509 }, /1 to 508/, { creditScale: 4 });
  refuse({ PD: 32_753 }, /32 to 32752/, { creditScale: 16 });
});

test('credits are scaled from generation 4 on, by 4 or 16', () => {
  const refuse = (link: object, text: RegExp): void =>
    assert.throws(() => checkLink(link as LinkSpec, 'port0'), { code: 'USAGE', message: text });
  refuse({ gen: 3, width: 8, creditScale: 4 }, /creditScale 4 needs gen 4 or more; got 3/);
  refuse({ gen: 4, width: 8, creditScale: 2 }, /creditScale must be one of 1, 4, 16; got 2/);
  checkLink({ gen: 6, width: 16, creditScale: 16 }, 'port0');
});
