/**
 * The smallest scenario with a device: finds it, lets it compute, and sends bytes through its memory and back.
 * [EDU]
 * @module
 */
import { Direction, defineScenario, isRefusal, type Machine, machine, ns, param } from 'pcie-emu';
import { edu, openEdu } from 'pcie-emu/devices/edu';

/** The device as documented reaches 28 bits of address, which is less than where this host's memory begins. */
const DMA_MASK_BITS = 40;
const BUFFER_BYTES = 4096;

/** n! modulo 2^32, as the device computes it. */
function factorial(n: number): number {
  let product = 1;
  for (let i = 2; i <= n; i++) product = Math.imul(product, i);
  return product >>> 0;
}

/** Host memory with `bytes` in it, mapped for the device. */
function mapped(host: Machine, name: string, bytes: Uint8Array) {
  const address = host.mm.allocate(bytes.length);
  host.mm.memory.write(address, bytes);
  const list = host.mm.pin(address, bytes.length);
  const mapping = host.function(name).dma.map(list, Direction.Bidirectional);
  if (isRefusal(mapping)) throw new Error(`host memory cannot be mapped: ${mapping.reason}`);
  return { address, mapping };
}

export default defineScenario({
  summary: 'the teaching device: registers, a factorial, DMA and interrupts',
  params: {
    n: param.int(10, 'the number whose factorial the device computes', { min: 0, max: 100_000 }),
    size: param.int(BUFFER_BYTES, 'bytes to send to the device and back', {
      min: 1,
      max: BUFFER_BYTES,
    }),
  },
  topology: () =>
    machine({
      rootPorts: [{ link: { gen: 3, width: 4 }, device: edu({ dmaMaskBits: DMA_MASK_BITS }) }],
    }),
  async run({ machine: host, params, check, metric, random }) {
    const device = await openEdu(host, 'edu0', { dmaMaskBits: DMA_MASK_BITS });
    check.equal('identification', (await device.identification()) & 0xffff, 0x00ed);
    check.ok('it answers with the inversion of what it is told', await device.isAlive());
    check.equal(`${params.n}!`, await device.factorial(params.n), factorial(params.n));

    const sent = new Uint8Array(params.size);
    random('data').fill(sent);
    const from = mapped(host, 'edu0', sent);
    const to = mapped(host, 'edu0', new Uint8Array(params.size));
    const start = host.kernel.now;
    await device.toDevice({ ranges: from.mapping.ranges });
    await device.fromDevice({ ranges: to.mapping.ranges });
    const timed = host.fabric.fidelity === 'timed';
    metric('roundTrip', timed ? (host.kernel.now - start) / ns(1) : null, 'ns');

    for (const { mapping } of [from, to]) await device.function.dma.unmap(mapping);
    // Before unmap the memory is the device's.
    const returned = new Uint8Array(params.size);
    host.mm.memory.read(to.address, returned);
    check.bytes('the bytes came back', returned, sent);
    for (const { address } of [from, to]) host.mm.free(address, params.size);
    await device.close();
  },
});
