/**
 * Admin commands one at a time, as bring-up and shutdown issue them. [NVME] 5
 * @module
 */

import { AdminOpcode, SetFeaturesCdw10 } from '#devices/nvme/spec.ts';
import { IdentifyCdw10 } from '#devices/nvme/spec-identify.ts';
import { EmuError } from '#emu/base/errors.ts';
import type { CoherentMemory } from '#emu/dma/providers/coherent-memory.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import { CommandFields } from './command-fields.ts';
import type { QueuePair } from './queue-pair.ts';
import { type NvmeResult, resultOf } from './result.ts';

export class AdminQueue {
  readonly pair: QueuePair;
  readonly #kernel: Kernel;
  readonly #fields = new CommandFields();

  constructor(pair: QueuePair, kernel: Kernel) {
    this.pair = pair;
    this.#kernel = kernel;
  }

  /** Fields for the next command. */
  prepare(opcode: number, nsid = 0): CommandFields {
    return this.#fields.clear(opcode, nsid);
  }

  /** Submits the prepared command and waits for its result. @throws SCENARIO when no slot is left */
  *run(): Process<NvmeResult> {
    const slot = this.pair.reserve();
    if (slot < 0) throw new EmuError('SCENARIO', `${this.pair.path}: every admin command is lost`);
    const pending = this.#kernel.pending<NvmeResult>('nvme admin command');
    this.pair.submit(
      slot,
      this.#fields,
      {
        commandDone: (_arg, code, dw0, latencyPs) =>
          pending.complete(resultOf(code, dw0, latencyPs)),
      },
      0,
    );
    return yield* wait(pending);
  }

  /** As {@link run}. @throws SCENARIO, naming `what`, when the controller refuses */
  *expect(what: string): Process<NvmeResult> {
    const result = yield* this.run();
    if (result.ok) return result;
    throw new EmuError('SCENARIO', `${this.pair.path}: ${what}: ${result.status}`, {
      status: result.code,
    });
  }

  /** Identify into the whole of `buffer`. [NVME] 5.17 */
  *identify(cns: number, nsid: number, buffer: CoherentMemory): Process<void> {
    const fields = this.prepare(AdminOpcode.Identify, nsid);
    fields.pointTo(buffer.dma);
    fields.cdw10 = IdentifyCdw10.CNS.of(cns);
    yield* this.expect(`Identify ${cns}`);
  }

  /** Sets a feature and gives dword 0 of the answer. [NVME] 5.27 */
  *setFeature(feature: number, value: number): Process<number> {
    const fields = this.prepare(AdminOpcode.SetFeatures);
    fields.cdw10 = SetFeaturesCdw10.FID.of(feature);
    fields.cdw11 = value;
    const result = yield* this.expect(`Set Features ${feature}`);
    return result.dw0;
  }
}
