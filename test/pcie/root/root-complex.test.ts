/** The root complex: translation in front of memory, ordering across slow translations, and CPU requests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bdf, dmaAddr, physAddr } from '#emu/base/units.ts';
import { AcsBit, Header } from '#emu/pcie/config/config-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { LinkCounter } from '#emu/pcie/link/link-counters.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { Translator } from '#emu/pcie/translator.ts';
import type { Pending } from '#emu/sim/pending.ts';
import {
  bytesOf,
  DOORBELL,
  DRAM,
  Outcomes,
  pattern,
  type SmallFabric,
  smallFabric,
} from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const IOVA = 0x10_0000;

/** Maps `IOVA` on to `target`; the page at IOVA misses and is slow, others hit. */
function slowFirstPage(target: number): Translator & { seen: number[] } {
  const seen: number[] = [];
  return {
    seen,
    translate(requester, address, write, out) {
      seen.push(requester, address, write ? 1 : 0);
      const offset = address - IOVA;
      out.fault = offset < 0 || offset >= 2 ** 20;
      out.address = physAddr(out.fault ? 0 : target + offset);
      out.latencyPs = offset < 4096 ? 400_000 : 0;
    },
  };
}

const redirect = (one: SmallFabric): void => {
  for (const bridge of [...one.root.bridges, ...one.switch.bridges.slice(1)]) {
    bridge.write(bridge.extendedCapability(0x000d) + 6, 2, AcsBit.SV | AcsBit.RR | AcsBit.UF);
  }
};
const answer = <T>(one: SmallFabric, pending: Pending<T>): T => {
  one.kernel.run();
  return pending.value;
};

for (const fidelity of ['timed', 'functional'] as const satisfies Fidelity[]) {
  test(`${fidelity}: device addresses go through the translator, and faults answer UR`, () => {
    const one = smallFabric({ fidelity });
    const [a] = one.endpoints;
    one.root.translator = slowFirstPage(DRAM);
    const client = new Outcomes();
    const sent = pattern(a!.memory, 0, 10_000);
    a!.endpoint.write(dmaAddr(IOVA + 10), 10_000, a!.memory, 0, Data, client, 0);
    a!.endpoint.read(dmaAddr(DRAM), 64, a!.memory, 20_000, Data, client, 1);
    one.kernel.run();
    assert.deepEqual(bytesOf(one.host, DRAM + 10, 10_000), sent);
    assert.equal(client.ended.find(({ arg }) => arg === 1)?.status, DmaStatus.UnsupportedRequest);
    assert.equal(one.fabric.errors.get('rc0.port0 translation-fault'), 1);
  });

  test(`${fidelity}: redirected peer traffic reaches a BAR by its IOVA`, () => {
    const one = smallFabric({ fidelity });
    const [a, b, far] = one.endpoints;
    redirect(one);
    for (const target of [b!, far!]) {
      one.root.translator = slowFirstPage(target.bar);
      const sent = pattern(a!.memory, 0, 9000, target.bus);
      const client = new Outcomes();
      a!.endpoint.write(dmaAddr(IOVA), 9000, a!.memory, 0, Data, client, 0);
      one.kernel.run();
      assert.deepEqual(bytesOf(target.memory, 0, 9000), sent);
      // The bus address itself is no IOVA: what software that ignored the redirect would see.
      a!.endpoint.read(target.bar, 64, a!.memory, 0, Data, client, 1);
      one.kernel.run();
      assert.equal(client.ended.at(-1)?.status, DmaStatus.UnsupportedRequest);
    }
  });

  test(`${fidelity}: CPU loads, stores and configuration reach BARs, and nothing answers all ones`, () => {
    const one = smallFabric({ fidelity });
    const [a, , far] = one.endpoints;
    const { root } = one;
    root.mmioWrite(physAddr(a!.bar + 12), 8, 0x1234_5678, 0x9abc_def0);
    assert.equal(answer(one, root.mmioRead(physAddr(a!.bar + 16), 4)), 0x9abc_def0);
    assert.equal(answer(one, root.mmioRead(physAddr(a!.bar + 13), 1)), 0x56);
    root.mmioWrite(physAddr(far!.bar + 2), 2, 0xbeef);
    assert.equal(answer(one, root.mmioRead(physAddr(far!.bar), 4)), 0xbeef_0000);
    assert.equal(answer(one, root.mmioRead(physAddr(0x100), 4)), 0xffff_ffff);
    assert.equal(answer(one, root.configRead(bdf(a!.bus, 0, 0), 0, 4)), 0x0001_1234);
    assert.equal(answer(one, root.configRead(bdf(a!.bus, 0, 0), 2, 2)), 1);
    assert.equal(answer(one, root.configRead(bdf(2, 1, 0), 0x19, 1)), 4);
    assert.equal(answer(one, root.configRead(bdf(0, 1, 0), 0x19, 1)), 1);
    const absent = [
      bdf(a!.bus, 0, 1),
      bdf(a!.bus, 1, 0),
      bdf(2, 7, 0),
      bdf(0, 9, 0),
      bdf(77, 0, 0),
    ];
    for (const id of absent) {
      assert.equal(answer(one, root.configRead(id, 0, 4)), 0xffff_ffff, `${id}`);
    }
    answer(one, root.configWrite(bdf(a!.bus, 0, 0), 0x3c, 1, 0x5a));
    assert.equal(answer(one, root.configRead(bdf(a!.bus, 0, 0), 0x3c, 1)), 0x5a);
    one.kernel.run();
    assert.equal(one.fabric.tlps.inUse, 0);
  });

  test(`${fidelity}: host memory up to its end, aligned words for the doorbell, and nothing else`, () => {
    const one = smallFabric({ fidelity });
    const { endpoint, memory } = one.endpoints[2]!;
    let interrupts = 0;
    one.root.onInterrupt = () => {
      interrupts++;
    };
    const end = DRAM + 2 ** 30;
    /** Unsupported requests that a transfer leads to. */
    const refusals = (isWrite: boolean, address: number, sizeBytes: number): number => {
      const key = 'rc0.port1 unsupported-request';
      const before = one.fabric.errors.get(key) ?? 0;
      const to = dmaAddr(address);
      if (isWrite) endpoint.write(to, sizeBytes, memory, 0, Data, null, 0);
      else endpoint.read(to, sizeBytes, memory, 0, Data, new Outcomes(), 0);
      one.kernel.run();
      return (one.fabric.errors.get(key) ?? 0) - before;
    };
    for (const isWrite of [true, false]) {
      assert.equal(refusals(isWrite, DRAM, 64), 0);
      assert.equal(refusals(isWrite, end - 64, 64), 0);
      assert.equal(refusals(isWrite, end, 4), 1);
      assert.equal(refusals(isWrite, DRAM - 4, 4), 1);
    }
    assert.equal(refusals(true, DOORBELL + 4092, 4), 0);
    assert.equal(interrupts, 1);
    for (const [address, sizeBytes] of [
      [DOORBELL, 2],
      [DOORBELL, 8],
      [DOORBELL + 2, 4],
      [DOORBELL + 4096, 4],
    ] as const) {
      assert.equal(refusals(true, address, sizeBytes), 1, `${sizeBytes} at ${address}`);
    }
    assert.equal(refusals(false, DOORBELL, 4), 1);
    assert.equal(interrupts, 1);
    // A root port without Bus Master Enable passes no memory request up. [PCIE] 7.5.1.1.3
    one.root.bridges[1]!.write(Header.Command, 2, 2);
    assert.equal(refusals(true, DRAM, 64), 1);
    assert.equal(refusals(false, DRAM, 64), 1);
  });

  test(`${fidelity}: registers inside the root complex are found before any window`, () => {
    const one = smallFabric({ fidelity });
    const written: number[] = [];
    one.root.addInternal(physAddr(0x1000_0000), 4096, {
      mmioRead: (offset, _size, out, at) => out.setUint32(at, offset + 7, true),
      mmioWrite: (offset, size, data, at) => written.push(offset, size, data.getUint32(at, true)),
    });
    one.root.mmioWrite(physAddr(0x1000_0010), 8, 99, 0);
    assert.equal(answer(one, one.root.mmioRead(physAddr(0x1000_0020), 4)), 0x27);
    assert.deepEqual(written, [0x10, 8, 99]);
  });
}

test('a posted write waits for the slow translation of an earlier one; interrupts too', () => {
  const one = smallFabric();
  const [a] = one.endpoints;
  one.root.translator = {
    translate(requester, address, write, out) {
      if (address !== DOORBELL)
        return slowFirstPage(DRAM).translate(requester, address, write, out);
      out.fault = false;
      out.address = physAddr(address);
      out.latencyPs = 0;
    },
  };
  const sent = pattern(a!.memory, 0, 4096);
  let orderKept = false;
  one.root.onInterrupt = () => {
    orderKept = Buffer.compare(bytesOf(one.host, DRAM, 4096), sent) === 0;
  };
  a!.endpoint.write(dmaAddr(IOVA), 4096, a!.memory, 0, Data, null, 0);
  a!.endpoint.write(dmaAddr(DOORBELL), 4, a!.memory, 0, Data, null, 0);
  one.kernel.run();
  assert.ok(orderKept, 'the interrupt overtook the data');
});

test('a translated address above 4 GiB makes the header longer', () => {
  const one = smallFabric();
  const [a, , far] = one.endpoints;
  one.root.translator = slowFirstPage(far!.bar);
  const bytes = (): number => one.root.ports[1]!.counters[LinkCounter.wireBytes]!;
  a!.endpoint.write(dmaAddr(IOVA), 256, a!.memory, 0, Data, null, 0);
  one.kernel.run();
  assert.equal(one.switch.upstream.counters[LinkCounter.wireBytes], 256 + 12 + 8);
  assert.equal(bytes(), 256 + 16 + 8);
});

test('more CPU reads than tags wait their turn', () => {
  const one = smallFabric();
  const [a] = one.endpoints;
  pattern(a!.memory, 0, 4096);
  const reads = Array.from({ length: 600 }, (_, i) =>
    one.root.mmioRead(physAddr(a!.bar + 4 * i), 4),
  );
  one.kernel.run();
  for (const [i, read] of reads.entries()) assert.equal(read.value, a!.memory.getU32(4 * i));
});

test('configuration accesses count the same bytes on every link in both fidelities', () => {
  const counted = (['timed', 'functional'] as const).map((fidelity) => {
    const one = smallFabric({ fidelity });
    const [a] = one.endpoints;
    answer(one, one.root.configWrite(bdf(a!.bus, 0, 0), 0x3c, 1, 7));
    answer(one, one.root.configRead(bdf(a!.bus, 0, 0), 0, 4));
    answer(one, one.root.configRead(bdf(2, 1, 0), 0, 2));
    answer(one, one.root.configRead(bdf(2, 9, 0), 0, 4));
    const ports = [...one.root.ports, ...one.switch.ports, a!.endpoint.port];
    return ports.map(({ counters }) => [counters[2], counters[3]]);
  });
  assert.deepEqual(counted[0], counted[1]);
  assert.deepEqual(counted[0]?.[0], [0, 1]);
});
