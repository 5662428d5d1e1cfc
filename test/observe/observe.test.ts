/**
 * Observers: what they see, and that a run is the same with and without them.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edu, openEdu } from '#devices/edu/index.ts';
import { dmaAddr } from '#emu/base/units.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { ErrorRecord } from '#emu/host/services/error-record.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { observe } from '#emu/observe/observe.ts';
import type { FaultRecord, InterruptRecord, TlpRecord } from '#emu/observe/records.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';

const MASK = { dmaMaskBits: 40 };

/** A booted machine with a teaching device. */
function booted(fidelity: Fidelity = 'timed', iommu = false): Machine {
  const host = machine({ iommu, rootPorts: [{ device: edu(MASK) }] }).build({ fidelity });
  host.boot();
  host.kernel.run();
  return host;
}

/** A factorial and a transfer to the device and back. */
function work(host: Machine): void {
  const opened = openEdu(host, 'edu0', MASK);
  host.kernel.run();
  const device = opened.value;
  const result = device.factorial(5);
  host.kernel.run();
  assert.equal(result.value, 120);
  const address = host.mm.allocate(4096);
  host.mm.memory.fill(address, 4096, 0x5a);
  const mapping = device.function.dma.map(host.mm.pin(address, 4096), Direction.Bidirectional);
  assert.ok(!isRefusal(mapping));
  device.toDevice(mapping);
  host.kernel.run();
}

test('TLPs are seen where they start and where they arrive', () => {
  const host = booted();
  const seen: TlpRecord[] = [];
  observe(host).on('tlp', (record) => seen.push(record));
  const before = host.fabric.delivered;
  work(host);
  const delivered = seen.filter((record) => record.event === 'delivered');
  assert.equal(delivered.length, host.fabric.delivered - before);
  const reads = delivered.filter(({ type, purpose }) => type === 'MRd' && purpose === 'data');
  assert.equal(
    reads.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    4096,
  );
  assert.ok(seen.some(({ event, path }) => event === 'sent' && path.includes('edu0')));
  assert.ok(seen.every((record, i) => i === 0 || record.timePs >= (seen[i - 1]?.timePs ?? 0)));
  host.dispose();
});

test('interrupts are seen with their path', () => {
  const host = booted('functional');
  const seen: InterruptRecord[] = [];
  observe(host).on('interrupt', (record) => seen.push(record));
  work(host);
  assert.equal(seen.length, 2);
  assert.match(seen[0]?.path ?? '', /edu0/);
  host.dispose();
});

for (const iommu of [false, true]) {
  test(`refusals are faults, ${iommu ? 'with' : 'without'} an IOMMU`, () => {
    const host = booted('timed', iommu);
    const seen: FaultRecord[] = [];
    observe(host).on('fault', (record) => seen.push(record));
    openEdu(host, 'edu0', MASK);
    host.kernel.run();
    const endpoint = host.endpoint('edu0');
    const nowhere = dmaAddr(0x3_0000_0000_0000);
    endpoint.write(nowhere, 4, new SparseMemory(4096, 'data'), 0, Purpose.Data, null, 0);
    host.kernel.run();
    assert.ok(seen.length >= 1);
    assert.equal(seen[0]?.write, true);
    assert.equal(seen[0]?.address, nowhere);
    assert.equal(seen[0]?.requester, endpoint.id);
    host.dispose();
  });
}

test('errors are seen as host software reads them', () => {
  const host = booted('timed');
  const seen: ErrorRecord[] = [];
  const observer = observe(host).on('error', (record) => seen.push(record));
  openEdu(host, 'edu0', MASK);
  host.kernel.run();
  const write = (): void => {
    const nowhere = dmaAddr(0x3_0000_0000_0000);
    const data = new SparseMemory(4096, 'data');
    host.endpoint('edu0').write(nowhere, 4, data, 0, Purpose.Data, null, 0);
    host.kernel.run();
  };
  write();
  assert.deepEqual(seen, host.errors?.records);
  assert.deepEqual(seen[0]?.errors, ['UnsupReq']);
  assert.notEqual(seen[0], host.errors?.records[0]);
  observer.close();
  assert.equal(host.errors?.probe, null);
  write();
  assert.equal(seen.length, 1);
  host.dispose();
});

test('a run is the same observed or not, whatever an observer does with its records', () => {
  const digest = (watch: (host: Machine) => void): string => {
    const host = booted();
    watch(host);
    work(host);
    const { digest: found } = host.fabric.traceHash;
    host.dispose();
    return found;
  };
  const plain = digest(() => {});
  assert.equal(
    digest((host) => observe(host).on('tlp', (record) => Object.assign(record, { tag: 9 }))),
    plain,
  );
  assert.equal(
    digest((host) =>
      observe(host)
        .on('interrupt', () => {})
        .on('fault', () => {})
        .on('error', () => {}),
    ),
    plain,
  );
});

test('observers come and go without disturbing one another, and leave no probe', () => {
  const host = booted();
  const counts = [0, 0];
  const first = observe(host).on('tlp', () => counts[0]!++);
  const second = observe(host)
    .on('tlp', () => counts[1]!++)
    .on('command', () => {});
  work(host);
  first.close();
  work(host);
  assert.ok((counts[1] ?? 0) > (counts[0] ?? 0) && (counts[0] ?? 0) > 0);
  assert.notEqual(host.fabric.probe, null);
  second.close();
  assert.equal(host.fabric.probe, null);
  assert.equal(host.interrupts.probe, null);
  host.dispose();
});
