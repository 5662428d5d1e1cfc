/**
 * Misspelt options are refused wherever a user writes them, with the key, what there is, and what was got.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edu } from '#devices/edu/index.ts';
import { exerciser } from '#devices/exerciser/index.ts';
import { gpu } from '#devices/gpu/index.ts';
import { nvme } from '#devices/nvme/index.ts';
import { checkKeys } from '#emu/base/known-keys.ts';
import { machine } from '#emu/host/machine.ts';
import { pcieSwitch } from '#emu/host/machine-spec.ts';

/** What a user of JavaScript may write: the compiler does not see it. */
const given = <T>(options: unknown): T => options as T;
const port = { device: edu() };

const machines: readonly (readonly [wrong: object, message: RegExp])[] = [
  [{ foo: 1 }, /machine: expected one of name, .*, got 'foo'/],
  [{ rootPort: [] }, /machine: .* got 'rootPort', did you mean 'rootPorts'\?/],
  [{ memory: { size: 1 } }, /memory: expected one of sizeBytes, .* got 'size'/],
  [{ iommu: 'yes' }, /iommu: expected true, false or an options object, got 'yes'/],
  [{ iommu: { flsh: 'lazy' } }, /iommu: .* got 'flsh', did you mean 'flush'\?/],
  [{ dma: { providr: 'direct' } }, /dma: .* got 'providr', did you mean 'provider'\?/],
  [{ peerForwarding: { allow: true } }, /peerForwarding: expected one of from, to, .* got 'allow'/],
  [{ rootPorts: [{ foo: 1 }] }, /rootPorts\[0\]: expected one of name, link, .* got 'foo'/],
  [
    { rootPorts: [{ link: { gen: 3, lanes: 4 } }] },
    /rootPorts\[0\]\.link: expected one of gen, width, .* got 'lanes'/,
  ],
  [
    { rootPorts: [{ link: { gen: 3, width: 4, overheads: 'lazy' } }] },
    /rootPorts\[0\]\.link: overheads must be true, false or 'eager'; got lazy/,
  ],
  [
    { rootPorts: [{ link: { gen: 3, width: 4, upperCredits: { P: 1 } } }] },
    /rootPorts\[0\]\.link\.upperCredits: expected one of PH, .* got 'P'/,
  ],
  [
    { rootPorts: [{ hotplug: { suprise: true } }] },
    /rootPorts\[0\]\.hotplug: .* got 'suprise', did you mean 'surprise'\?/,
  ],
  [
    { rootPorts: [{ device: pcieSwitch(given({ ports: [port], foo: 1 })) }] },
    /rootPorts\[0\]\.device: .* got 'foo'/,
  ],
  [{ hostBridges: [{ rootPorts: [port], foo: 1 }] }, /hostBridges\[0\]: .* got 'foo'/],
];
for (const [wrong, message] of machines) {
  test(`machine(${JSON.stringify(wrong)?.slice(0, 70)}) is refused`, () => {
    const spec = 'hostBridges' in wrong ? wrong : { rootPorts: [port], ...wrong };
    assert.throws(() => machine(given(spec)), { code: 'USAGE', message });
  });
}

test('devices refuse options that they do not have', () => {
  const wrong = { code: 'USAGE' };
  assert.throws(() => edu(given({ dmaMask: 3 })), { ...wrong, message: /edu: .* got 'dmaMask'/ });
  assert.throws(() => gpu(given({ vrm: 3 })), { ...wrong, message: /gpu: .* got 'vrm'/ });
  assert.throws(() => exerciser(given({ tag: 3 })), {
    ...wrong,
    message: /exerciser: .* did you mean 'tags'\?/,
  });
  assert.throws(() => nvme(given({ stor: 1 })), {
    ...wrong,
    message: /nvme: .* got 'stor', did you mean 'store'\?/,
  });
  assert.throws(() => nvme(given({})), { ...wrong, message: /nvme store: expected a BlockStore/ });
  assert.throws(() => nvme(given(undefined)), {
    ...wrong,
    message: /nvme: expected an object, got undefined/,
  });
});

test('known keys pass, whatever their values', () => {
  checkKeys('x', { a: undefined }, { a: true });
  assert.throws(() => checkKeys('x', given<{ a?: 1 }>({ b: 1 }), { a: true }), {
    code: 'USAGE',
    message: /x: expected one of a, got 'b'/,
  });
});
