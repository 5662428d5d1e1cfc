/** What each end of a link reports when bits are damaged or credits not kept, and what it costs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ackLatencyPs, replayTimerSymbols } from '#emu/pcie/link/ack-timing.ts';
import { DataLink, DataLinkCounter, RETRAIN_PS } from '#emu/pcie/link/data-link.ts';
import { flightPs, type LinkSpec, psPerByte } from '#emu/pcie/link/link.ts';
import { isLinkError, LINK_ERRORS, LinkError } from '#emu/pcie/link/link-error.ts';
import { dllpBytes, symbolPs } from '#emu/pcie/link/link-timing.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { type Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import { BAR_BYTES, type SmallFabric, smallFabric } from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const WORST = 1e-5;

/** Draws that come out as given, then high: no error. */
const draws = (...values: readonly number[]) => {
  const random = new Kernel({ seed: 1 }).random('draws');
  const left = [...values];
  random.u32 = () => left.shift() ?? 0xffff_ffff;
  return random;
};

function dataLink(link: LinkSpec, ...values: readonly number[]): DataLink {
  const made = new DataLink(draws(...values));
  made.train(link, 256);
  return made;
}

test('numbers and names of link errors agree', () => {
  assert.deepEqual(
    Object.values(LinkError).map((error) => LINK_ERRORS[error]),
    [
      'receiver-error',
      'bad-tlp',
      'bad-dllp',
      'replay-timeout',
      'replay-rollover',
      'data-link-protocol',
      'surprise-down',
      'receiver-overflow',
      'flow-control-protocol',
    ],
  );
  assert.equal(isLinkError(8), true);
  assert.equal(isLinkError(9), false);
});

test('a damaged TLP costs the Nak, a lost Nak the replay timer, the fourth replay a retraining', () => {
  const link: LinkSpec = { gen: 3, width: 4, bitErrorRate: WORST };
  const again = 1000 + 2 * flightPs(link) + Math.round(dllpBytes(3) * psPerByte(link));
  assert.equal(dataLink(link).replayPs(1, 1000), again);
  const timer = Math.round(3 * ackLatencyPs(link, 256));
  assert.equal(timer, Math.round(replayTimerSymbols(link, 256).least * symbolPs(3)));
  const lost = dataLink(link, 0);
  assert.equal(lost.replayPs(1, 1000), 1000 + timer);
  assert.equal(lost.counters[DataLinkCounter.timeouts], 1);
  assert.equal(lost.counters[DataLinkCounter.badDllps], 1);
  const four = dataLink(link);
  assert.equal(four.replayPs(4, 1000), 4 * again + RETRAIN_PS);
  assert.equal(four.counters[DataLinkCounter.retrains], 1);
});

test('an Ack and an UpdateFC are twice as likely to be hit as a Nak', () => {
  const hits = 64 * WORST * 2 ** 32;
  const link: LinkSpec = { gen: 3, width: 4, bitErrorRate: WORST };
  assert.equal(dataLink(link, 2 * hits - 1).losesDllp(), true);
  assert.equal(dataLink(link, 2 * hits + 1).losesDllp(), false);
  assert.equal(dataLink({ gen: 3, width: 4 }, 0).losesDllp(), false);
});

test('training to another rate keeps the counts and takes the new times', () => {
  const link: LinkSpec = { gen: 3, width: 4, bitErrorRate: WORST };
  const one = dataLink(link, 0);
  one.replayPs(1, 1000);
  one.train({ ...link, gen: 1 }, 256);
  assert.equal(one.counters[DataLinkCounter.timeouts], 1);
  assert.ok(one.replayPs(1, 1000) > dataLink(link).replayPs(1, 1000));
});

/** Errors by `path name` after a stream of writes at the highest rate of bit errors. */
function damaged(gen: 1 | 3, overheads: boolean): ReadonlyMap<string, number> {
  const one = smallFabric({ link: { gen, width: 1, bitErrorRate: WORST, overheads } });
  const [a, b] = one.endpoints;
  a!.endpoint.write(b!.bar, BAR_BYTES, a!.memory, 0, Data, null, 0);
  b!.endpoint.write(a!.bar, BAR_BYTES, b!.memory, 0, Data, null, 0);
  one.kernel.run();
  const counters = a!.endpoint.port.wire.dataLink!.counters;
  const { errors } = one.fabric;
  assert.equal(errors.get('sw0.down0 bad-tlp'), counters[DataLinkCounter.badTlps]);
  assert.equal(errors.get('ep0 replay-timeout') ?? 0, counters[DataLinkCounter.timeouts]);
  one.dispose();
  return errors;
}

test('the receiver reports bad TLPs, of 8b/10b symbols receiver errors too, and DLLPs are hit too', () => {
  const symbols = damaged(1, false);
  assert.ok(symbols.get('sw0.down0 bad-tlp')! > 20, `${symbols.get('sw0.down0 bad-tlp')}`);
  assert.equal(symbols.get('sw0.down0 receiver-error'), symbols.get('sw0.down0 bad-tlp'));
  const blocks = damaged(3, true);
  assert.equal(blocks.get('sw0.down0 receiver-error'), undefined);
  const badDllps = [...blocks].filter(([key]) => key.endsWith(' bad-dllp'));
  const count = badDllps.reduce((sum, [, times]) => sum + times, 0);
  assert.ok(count > 0 && count < 40, `${count}`);
});

test('a REPLAY_NUM rollover is told by the sender and holds up both directions', () => {
  const one = smallFabric({ link: { gen: 3, width: 4, bitErrorRate: WORST } });
  const [a, b] = one.endpoints;
  const { port } = a!.endpoint;
  const { dataLink: layer } = port.wire;
  // Four times in a row damaged.
  layer!.replays = () => 4;
  a!.endpoint.write(b!.bar, 4, a!.memory, 0, Data, null, 0);
  assert.ok(port.peer!.wire.busyUntil >= RETRAIN_PS);
  layer!.replays = () => 0;
  one.kernel.run();
  assert.equal(one.fabric.errors.get('ep0 replay-rollover'), 1);
  assert.equal(one.fabric.errors.get('sw0.down0 bad-tlp'), 4);
  assert.ok(one.kernel.now > RETRAIN_PS);
  assert.equal(port.counters[1], 5 * (8 + 16 + 4));
});

/** A write of 256 bytes to the first endpoint's neighbour. */
function write(one: SmallFabric): Tlp {
  const tlp = one.fabric.tlps.take();
  tlp.kind = TlpKind.MWr;
  tlp.requester = one.endpoints[0]!.bus << 8;
  tlp.address = one.endpoints[1]!.bar;
  tlp.sizeBytes = 256;
  tlp.flags = 0;
  tlp.seal();
  return tlp;
}

test('TLPs sent without credits overflow the receiver: dropped, reported, and credits stay right', () => {
  const one = smallFabric({ link: { gen: 3, width: 8, upperCredits: { PH: 4 } } });
  const { port } = one.endpoints[0]!.endpoint;
  for (let i = 0; i < 7; i++) port.overrun(write(one));
  one.kernel.run();
  assert.deepEqual([...one.fabric.errors], [['sw0.down0 receiver-overflow', 3]]);
  assert.equal(port.losses[0], 3);
  assert.equal(port.creditsAtRest(), true);
  assert.equal(port.credits(0).headers, 4);
  assert.equal(one.fabric.tlps.inUse, 0);
  assert.equal(one.fabric.delivered, 4);
});

test('rest is not claimed while credits are out', () => {
  const one = smallFabric();
  const port: Port = one.endpoints[0]!.endpoint.port;
  assert.equal(port.creditsAtRest(), true);
  const held = write(one);
  port.send(held);
  assert.equal(port.creditsAtRest(), false);
  one.kernel.run();
  assert.equal(port.creditsAtRest(), true);
  port.channels.vc0.spend(held);
  assert.equal(port.creditsAtRest(), false);
});
