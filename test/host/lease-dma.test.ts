/**
 * Peer memory lent and taken back on machines whose devices really use it: pools, leases and pins together with
 * mappings and the requests that go by them. [P2PDMA]
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal, MapType } from '#emu/dma/mapping.ts';
import { mapType } from '#emu/dma/p2p/p2p.ts';
import { AddressSpace } from '#emu/host/memory/address-space.ts';
import { Access } from '#emu/host/memory/area-map.ts';
import { PinLedger } from '#emu/host/memory/pin-ledger.ts';
import { pinUserPages, unpinUserPages } from '#emu/host/memory/pinning.ts';
import type { PeerLease } from '#emu/host/peer/peer-lease.ts';
import { PeerMemory } from '#emu/host/peer/peer-memory.ts';
import type { LeaseRequest } from '#emu/host/peer/peer-provider.ts';
import { Command, Header } from '#emu/pcie/config/config-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { type BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';
import { domainOf, drive, PAGE } from '#test/support/requester-rig.ts';
import { build, CLIENT, type Mode } from '#test/support/route-rig.ts';
import { granted, MiB, refusedCode } from '#test/support/user-rig.ts';

const FIDELITIES = ['timed', 'functional'] as const;
const SIZE = 2 * PAGE;
const { BusAddress, ThruHostBridge } = MapType;

/** Leases of the memory of b, below the same switch as the client. */
class LeaseMachine {
  readonly rig: BridgesRig;
  readonly peers: PeerMemory;
  readonly revoked: PeerLease[] = [];
  readonly request: LeaseRequest;
  readonly owner;
  readonly client;

  constructor(mode: Mode, fidelity: Fidelity) {
    const acs = mode === 'off' ? 'off' : 'linux';
    this.rig = build(mode, fidelity, { acs });
    const { kernel, pci } = this.rig.built;
    this.peers = new PeerMemory({
      kernel,
      view: pci,
      route: (provider, client) => mapType(pci, provider, client, true),
      random: kernel.random('peer-memory'),
      callSites: true,
    });
    const onRevoke = (lease: PeerLease): void => void this.revoked.push(lease);
    this.request = { importer: CLIENT, peerMemory: true, onRevoke };
    this.owner = this.rig.built.function('b').bdf;
    this.client = this.rig.built.function(CLIENT);
  }

  get provider() {
    return granted(this.peers.provider(this.owner, 0));
  }

  /** Pages of BAR 0, and as many with a gap between. */
  lease(rest: Partial<LeaseRequest> = {}): PeerLease {
    const ranges = [
      { offset: PAGE, sizeBytes: SIZE },
      { offset: MiB / 2, sizeBytes: SIZE },
    ];
    return granted(this.provider.lease(ranges, { ...this.request, ...rest }));
  }

  /** The code of the refusal to map a list, or null. */
  refusal(list: PeerLease['list']): string | null {
    const answer = this.client.dma.map(list, Direction.Bidirectional);
    return isRefusal(answer) ? answer.refused : null;
  }

  dispose(): void {
    this.rig.dispose();
  }
}

const MODES = [
  ['off', BusAddress],
  ['on', ThruHostBridge],
] as const;

for (const fidelity of FIDELITIES) {
  for (const [mode, type] of MODES) {
    describe(`leases by ${type}, ${fidelity}`, () => {
      it('are mapped and used, and counted until their mappings end', () => {
        const one = new LeaseMachine(mode, fidelity);
        const { rig } = one;
        const lease = one.lease();
        const mapping = rig.map(CLIENT, lease.list);
        const part = rig.map(CLIENT, lease.list.slice(PAGE, PAGE));
        assert.deepEqual([mapping.mapType, lease.mappings], [type, 2]);
        const { local } = rig.memory(CLIENT);
        const { shown } = rig.memory('b');
        const sent = mark(local, 0, 2 * SIZE, 1);
        assert.deepEqual(drive(rig, CLIENT, true, mapping.ranges), [DmaStatus.Ok]);
        assert.deepEqual(bytesAt(shown, PAGE, SIZE), sent.subarray(0, SIZE));
        assert.deepEqual(bytesAt(shown, MiB / 2, SIZE), sent.subarray(SIZE));
        assert.equal(shown.residentBytes, 2 * SIZE);
        assert.deepEqual(drive(rig, CLIENT, false, part.ranges), [DmaStatus.Ok]);
        assert.deepEqual(bytesAt(local, 0, PAGE), sent.subarray(PAGE, SIZE));
        rig.unmap(CLIENT, part);
        assert.throws(() => lease.release(), /release of a lease with 1 mappings/);
        rig.unmap(CLIENT, mapping);
        lease.release();
        assert.deepEqual(one.provider.leases, []);
        one.dispose();
      });

      it('are not mapped after revoke, whole or in part, by anyone', () => {
        const one = new LeaseMachine(mode, fidelity);
        const { rig } = one;
        const lease = one.lease();
        const parts = [lease.list.slice(0, PAGE), lease.list.coalesced()];
        const before = [...lease.list];
        const done = lease.revoke();
        assert.deepEqual([one.revoked, done.done], [[lease], true]);
        for (const list of [lease.list, ...parts, lease.list.slice(PAGE, PAGE)]) {
          assert.equal(one.refusal(list), 'ENODEV');
          const answer = rig.built.function('c').dma.map(list, Direction.ToDevice);
          assert.ok(isRefusal(answer) && answer.refused === 'ENODEV');
          assert.equal(list.mappings, 0);
        }
        assert.deepEqual([...lease.list], before);
        assert.deepEqual([lease.mappings, one.client.dma.liveMappings], [0, 0]);
        // Only the lease is gone: another one may be had.
        const next = one.lease();
        assert.equal(one.refusal(next.list), null);
        one.dispose();
      });
    });

    describe(`revoked leases by ${type}, ${fidelity}`, () => {
      it('end when the last mapping does, and removal with them', () => {
        const one = new LeaseMachine(mode, fidelity);
        const { rig } = one;
        const { kernel } = rig.built;
        const lease = one.lease();
        const mapping = rig.map(CLIENT, lease.list);
        const removed = one.peers.remove(one.owner);
        assert.deepEqual([one.revoked, lease.isRevoked], [[lease], true]);
        assert.equal(one.refusal(lease.list), 'ENODEV');
        assert.equal(refusedCode(one.peers.provider(one.owner, 0)), 'ENODEV');
        // What was mapped still is: the importer has to stop its device.
        assert.ok(mapping.source.hold?.isRevoked);
        kernel.run();
        assert.deepEqual([removed.done, lease.mappings], [false, 1]);
        const unmapped = one.client.dma.unmap(mapping);
        // A cache may hold the addresses until it is told otherwise.
        assert.deepEqual([unmapped.done, removed.done], [mode === 'off', mode === 'off']);
        kernel.run();
        assert.deepEqual([unmapped.done, removed.done, lease.mappings], [true, true, 0]);
        one.dispose();
      });

      it('let the importer stop and unmap while it is told', () => {
        const one = new LeaseMachine(mode, fidelity);
        const { rig } = one;
        const { dma } = one.client;
        const onRevoke = (lease: PeerLease): void => {
          assert.equal(one.refusal(lease.list), 'ENODEV');
          void dma.unmap(mapping);
        };
        const lease = one.lease({ onRevoke });
        const mapping = rig.map(CLIENT, lease.list);
        const removed = one.peers.remove(one.owner);
        rig.built.kernel.run();
        assert.deepEqual([removed.done, dma.liveMappings], [true, 0]);
        one.dispose();
      });
    });
  }

  describe(`requests after a lease has ended, ${fidelity}`, () => {
    it('fault by I/O virtual addresses as soon as the unmap is done', () => {
      const one = new LeaseMachine('on', fidelity);
      const { rig } = one;
      const lease = one.lease();
      const mapping = rig.map(CLIENT, lease.list);
      assert.deepEqual(drive(rig, CLIENT, true, mapping.ranges), [DmaStatus.Ok]);
      const faults = rig.built.faults!;
      const done = lease.revoke();
      rig.unmap(CLIENT, mapping);
      assert.ok(done.done && faults.count === 0);
      rig.memory('b').shown.discard(0, MiB);
      mark(rig.memory(CLIENT).local, 0, 2 * SIZE, 8);
      drive(rig, CLIENT, true, mapping.ranges);
      assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.UnsupportedRequest]);
      assert.equal(rig.memory('b').shown.residentBytes, 0);
      assert.ok(faults.count > 0);
      one.dispose();
    });

    it('are refused by bus addresses once the device decodes its memory no more', () => {
      const one = new LeaseMachine('off', fidelity);
      const { rig } = one;
      const lease = one.lease();
      const mapping = rig.map(CLIENT, lease.list);
      lease.revoke();
      // No translation stands in between: only the owner can end it.
      assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.Ok]);
      const owner = rig.built.function('b');
      const command = rig.run(owner.configRead16(Header.Command));
      rig.run(owner.configWrite16(Header.Command, Command.MSE.put(command, 0)));
      assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.UnsupportedRequest]);
      rig.unmap(CLIENT, mapping);
      one.dispose();
    });
  });

  describe(`lazy unmaps, ${fidelity}`, () => {
    // Whoever owns leased memory may give it to others once revoke is done: then no cache may let the importer in.
    it('have no window, even where unmap is lazy: revoke is done when no cache holds the addresses', () => {
      const one = new LeaseMachine('lazy', fidelity);
      const { rig } = one;
      const { kernel } = rig.built;
      const lease = one.lease();
      const mapping = rig.map(CLIENT, lease.list);
      assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.Ok]);
      const done = lease.revoke();
      const unmapped = one.client.dma.unmap(mapping);
      assert.deepEqual([unmapped.done, done.done], [false, false]);
      assert.equal(domainOf(rig, CLIENT).flushQueue!.count, 0);
      const endedAt: number[] = [];
      done.onDone(() => endedAt.push(kernel.now));
      kernel.run();
      assert.deepEqual([unmapped.done, done.done], [true, true]);
      assert.ok(kernel.now - endedAt[0]! < 10e9, 'long before a flush');
      assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.UnsupportedRequest]);
      one.dispose();
    });

    it('of host memory still arrive in the window of a lazy unmap, and fault behind the flush', () => {
      const one = new LeaseMachine('lazy', fidelity);
      const { rig } = one;
      const { kernel } = rig.built;
      const mapping = rig.map(CLIENT, PhyRangeList.of(rig.built.mm.allocate(PAGE), PAGE));
      assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.Ok]);
      assert.ok(one.client.dma.unmap(mapping).done);
      const queue = domainOf(rig, CLIENT).flushQueue!;
      assert.ok(queue.holds(mapping.ranges.address(0)));
      const statuses: number[] = [];
      const client = { dmaDone: (status: number) => statuses.push(status) };
      const read = (): void =>
        rig.built
          .endpoint(CLIENT)
          .read(mapping.ranges.address(0), 64, rig.memory(CLIENT).local, 0, 0, client, 0);
      read();
      kernel.runUntil(kernel.now + 1e9);
      assert.deepEqual(statuses, [DmaStatus.Ok]);
      kernel.run();
      assert.equal(queue.count, 0);
      read();
      kernel.run();
      assert.deepEqual(statuses, [DmaStatus.Ok, DmaStatus.UnsupportedRequest]);
      one.dispose();
    });
  });

  describe(`pools of peer memory, ${fidelity}`, () => {
    it('the nearest one is allocated from, mapped and used; removal waits for all of it', () => {
      const one = new LeaseMachine('off', fidelity);
      const { rig, peers } = one;
      for (const name of ['c', 'b']) {
        const { bdf } = rig.built.function(name);
        granted(peers.addResource(bdf, 0));
        peers.publish(bdf);
      }
      const pool = peers.findNearest([one.client.bdf])!;
      assert.equal(pool.owner, one.owner);
      const list = granted(pool.allocateList(SIZE));
      const mapping = rig.map(CLIENT, list);
      assert.equal(Number(mapping.ranges.address(0)), Number(pool.busAddress(list.address(0))));
      const sent = mark(rig.memory(CLIENT).local, 0, SIZE, 2);
      assert.deepEqual(drive(rig, CLIENT, true, mapping.ranges), [DmaStatus.Ok]);
      const at = list.address(0) - rig.built.function('b').bar(0).address;
      assert.deepEqual(bytesAt(rig.memory('b').shown, at, SIZE), sent);
      const removed = peers.remove(one.owner);
      assert.equal(removed.done, false);
      rig.unmap(CLIENT, mapping);
      pool.free(list.address(0), SIZE);
      assert.deepEqual([removed.done, pool.availableBytes], [true, pool.sizeBytes]);
      one.dispose();
    });

    for (const [mode, type] of MODES) {
      it(`pages pinned in a process are used by ${type}, and not unpinned meanwhile`, () => {
        const one = new LeaseMachine(mode, fidelity);
        const { rig, peers } = one;
        const pool = granted(peers.addResource(one.owner, 0));
        const pins = new PinLedger({ callSites: true });
        const { mm } = rig.built;
        const space = new AddressSpace({ mm, pins });
        const usedBytes = mm.usedBytes;
        const user = granted(space.mapPeer(pool, 2 * SIZE));
        space.protect(user, 2 * SIZE, Access.ReadWrite);
        const list = granted(pinUserPages(space, user, SIZE, { peerMemory: true, write: true }));
        const mapping = rig.map(CLIENT, list);
        assert.equal(mapping.mapType, type);
        const sent = mark(rig.memory(CLIENT).local, 0, SIZE, 3);
        assert.deepEqual(drive(rig, CLIENT, true, mapping.ranges), [DmaStatus.Ok]);
        const at = list.address(0) - rig.built.function('b').bar(0).address;
        assert.deepEqual(bytesAt(rig.memory('b').shown, at, SIZE), sent);
        // The device goes away: its pages leave the process, but not those in use.
        const removed = peers.remove(one.owner);
        assert.equal(space.translate(user), null);
        assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.Ok]);
        assert.throws(
          () => unpinUserPages(space, list),
          (error) => error instanceof EmuError && error.code === 'CHECKER',
        );
        rig.unmap(CLIENT, mapping);
        assert.equal(removed.done, false);
        unpinUserPages(space, list);
        assert.equal(removed.done, true);
        assert.throws(() => one.client.dma.map(list, Direction.ToDevice), /CHECKER|pin/);
        space.dispose();
        if (mode === 'off') assert.equal(mm.usedBytes, usedBytes);
        one.dispose();
      });
    }
  });
}
