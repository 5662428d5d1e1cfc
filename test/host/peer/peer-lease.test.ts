/**
 * Leases of peer memory taken back, and the removal of a provider, which waits for everything that uses it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { Access } from '#emu/host/memory/area-map.ts';
import { pinUserPages, unpinUserPages } from '#emu/host/memory/pinning.ts';
import type { PeerLease } from '#emu/host/peer/peer-lease.ts';
import type { PeerMemory } from '#emu/host/peer/peer-memory.ts';
import type { LeaseRequest, PeerProvider } from '#emu/host/peer/peer-provider.ts';
import {
  Device,
  GPU_BAR,
  granted,
  MiB,
  PAGE,
  peerRig,
  pinned,
  rangesOf,
  refusedCode,
  userSpace,
} from '#test/support/user-rig.ts';

const { gpu, nic } = Device;

interface LeaseRig {
  readonly peers: PeerMemory;
  readonly provider: PeerProvider;
  readonly revoked: PeerLease[];
  readonly request: LeaseRequest;
}

function leaseRig(): LeaseRig {
  const { peers } = peerRig();
  const provider = granted(peers.provider(gpu, 0));
  const revoked: PeerLease[] = [];
  const onRevoke = (lease: PeerLease): void => void revoked.push(lease);
  return { peers, provider, revoked, request: { importer: 'nic0', peerMemory: true, onRevoke } };
}

describe('leases', () => {
  it('cover pages of the BAR, as a list with the lease behind it', () => {
    const { provider, request } = leaseRig();
    const ranges = [
      { offset: PAGE, sizeBytes: PAGE },
      { offset: 2 * PAGE, sizeBytes: PAGE },
      { offset: MiB, sizeBytes: 2 * PAGE },
    ];
    const lease = granted(provider.lease(ranges, request));
    assert.deepEqual(rangesOf(lease.list), [
      [GPU_BAR + PAGE, 2 * PAGE],
      [GPU_BAR + MiB, 2 * PAGE],
    ]);
    assert.equal(lease.list.hold, lease);
    assert.deepEqual([lease.admit(), lease.isWritable, lease.importer], [null, true, 'nic0']);
    assert.deepEqual(provider.leases, [lease]);
    lease.release();
    assert.deepEqual(provider.leases, []);
    const readOnly = granted(provider.lease(ranges, { ...request, writable: false }));
    assert.equal(readOnly.isWritable, false);
  });

  it('are refused for wrong ranges and for importers without peer memory', () => {
    const { provider, request } = leaseRig();
    const lease = (offset: number, sizeBytes: number): string =>
      refusedCode(provider.lease([{ offset, sizeBytes }], request));
    assert.equal(refusedCode(provider.lease([], request)), 'EINVAL');
    assert.equal(lease(0, 0), 'EINVAL');
    assert.equal(lease(100, PAGE), 'EINVAL');
    assert.equal(lease(0, 100), 'EINVAL');
    assert.equal(lease(-PAGE, PAGE), 'EINVAL');
    assert.equal(lease(16 * MiB - PAGE, 2 * PAGE), 'EOVERFLOW');
    const ranges = [{ offset: 0, sizeBytes: PAGE }];
    const refusal = provider.lease(ranges, { ...request, peerMemory: false });
    assert.equal(refusedCode(refusal), 'EOPNOTSUPP');
  });

  it('can be taken back: told once, no new mapping, done when the last mapping ends', () => {
    const { provider, request, revoked } = leaseRig();
    const lease = granted(provider.lease([{ offset: 0, sizeBytes: PAGE }], request));
    lease.mapped();
    lease.mapped();
    const done = lease.revoke();
    assert.equal(lease.revoke(), done);
    assert.deepEqual(revoked, [lease]);
    assert.equal(refusedCode(lease.admit()), 'ENODEV');
    lease.unmapped();
    assert.deepEqual([done.done, lease.isRevoked, lease.mappings], [false, true, 1]);
    lease.unmapped();
    assert.deepEqual([done.done, provider.leases.length], [true, 0]);
    lease.release();
  });

  it('end at once when the importer unmaps while it is told, or has nothing mapped', () => {
    const { provider, request } = leaseRig();
    const ranges = [{ offset: 0, sizeBytes: PAGE }];
    const onRevoke = (lease: PeerLease): void => lease.unmapped();
    const prompt = granted(provider.lease(ranges, { ...request, onRevoke }));
    prompt.mapped();
    assert.equal(prompt.revoke().done, true);
    assert.equal(granted(provider.lease(ranges, request)).revoke().done, true);
    const released = granted(provider.lease(ranges, request));
    released.release();
    assert.equal(released.revoke().done, true);
  });

  it('that the importer gave back are revoked at once, and nobody is told', () => {
    const { provider, request, revoked } = leaseRig();
    const lease = granted(provider.lease([{ offset: 0, sizeBytes: PAGE }], request));
    lease.release();
    assert.ok(lease.revoke().done);
    assert.equal(lease.revoke(), lease.revoke());
    assert.deepEqual([revoked, provider.leases], [[], []]);
  });
});

describe('leases at their end', () => {
  it('are used as they must be, or the checker names the lease and the call', () => {
    const { provider, request } = leaseRig();
    const lease = granted(provider.lease([{ offset: 0, sizeBytes: PAGE }], request));
    const caught = (message: RegExp, attempt: () => void): void => {
      assert.throws(attempt, (error) => {
        assert.ok(error instanceof EmuError && error.code === 'CHECKER', String(error));
        assert.match(error.message, message);
        assert.match(error.message, /4096 bytes of BAR0 .* for nic0, leased at .*test\.ts:\d+/);
        assert.match(error.message, /wrong call at .*test\.ts:\d+/);
        return true;
      });
    };
    caught(/unmap of a lease that is not mapped/, () => lease.unmapped());
    lease.mapped();
    caught(/release of a lease with 1 mappings/, () => lease.release());
    lease.unmapped();
    lease.release();
    caught(/second release/, () => lease.release());
    caught(/map of a lease that was released/, () => lease.admit());
  });
});

describe('removal', () => {
  it('waits for allocations, pins and leases, and takes user mappings away', () => {
    const { peers, provider, request, revoked } = leaseRig();
    const pool = granted(peers.addResource(gpu, 0));
    peers.publish(gpu);
    const space = userSpace();
    const at = granted(space.mapPeer(pool, 2 * PAGE));
    space.protect(at, PAGE, Access.Read);
    const list = pinned(space, at, PAGE, { peerMemory: true });
    const own = granted(pool.allocate(PAGE));
    const lease = granted(provider.lease([{ offset: MiB, sizeBytes: PAGE }], request));
    lease.mapped();

    const done = peers.remove(gpu);
    assert.equal(peers.remove(gpu), done);
    assert.deepEqual([revoked.length, pool.isPublished, pool.isClosed], [1, false, true]);
    assert.equal(space.translate(at), null);
    assert.equal(refusedCode(pinUserPages(space, at, 8, { peerMemory: true })), 'EFAULT');
    unpinUserPages(space, list);
    pool.free(own, PAGE);
    assert.equal(done.done, false);
    lease.unmapped();
    assert.equal(done.done, true);
    space.dispose();
    assert.equal(pool.availableBytes, pool.sizeBytes);
  });

  it('gives nothing new out meanwhile, and lets the driver come again afterwards', () => {
    const { peers, provider, request } = leaseRig();
    const pool = granted(peers.addResource(gpu, 0));
    const own = granted(pool.allocate(PAGE));
    const done = peers.remove(gpu);
    const ranges = [{ offset: 0, sizeBytes: PAGE }];
    const answers = [
      pool.allocate(PAGE),
      pool.hold(own, PAGE),
      userSpace().mapPeer(pool, PAGE),
      peers.provider(gpu, 0),
      peers.addResource(gpu, 0),
      peers.publish(gpu),
      provider.lease(ranges, request),
    ];
    assert.deepEqual(answers.map(refusedCode), Array(7).fill('ENODEV'));
    pool.free(own, PAGE);
    assert.equal(done.done, true);
    assert.notEqual(granted(peers.addResource(gpu, 0)), pool);
    assert.equal(peers.remove(nic).done, true);
  });

  it('is not needed to take leases back before a reset', () => {
    const { peers, provider, request, revoked } = leaseRig();
    const ranges = [{ offset: 0, sizeBytes: PAGE }];
    const first = granted(provider.lease(ranges, request));
    peers.revokeLeases(gpu);
    peers.revokeLeases(nic);
    assert.deepEqual(revoked, [first]);
    assert.equal(granted(provider.lease(ranges, request)).admit(), null);
  });
});
