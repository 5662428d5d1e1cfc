/**
 * An NVMe controller behind BAR0: its properties and doorbells, and how it is enabled, fails, is reset and
 * shut down. [NVME] 3.1.3, 3.5.1, 3.6.1, 3.7.2, [NVMEPCI] 3.1
 * @module
 */

import {
  Aqa,
  Cc,
  CcCss,
  Csts,
  DOORBELL_SIZE,
  DOORBELLS_AT,
  MIN_PAGE_SIZE,
  PROPERTIES_SIZE,
  Property,
  Shn,
  Shst,
} from '#devices/nvme/spec.ts';
import { RegisterFile, type RegisterSpec } from '#emu/base/registers.ts';
import { ADDR_LIMIT, u64 } from '#emu/base/units.ts';
import { CapabilityId, MsiX, MsiXControl } from '#emu/pcie/config/config-registers.ts';
import type { BarHandler, Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import { Timer } from '#emu/sim/timer.ts';
import { type CommandProbe, CommandProcessor, type Drive } from './command-processor.ts';
import { MPS_MAX, propertyTable } from './property-table.ts';
import type { QueueLimits } from './queue-commands.ts';

/** Where the controller is between CC.EN and CSTS.RDY. */
const Phase = { Disabled: 0, Enabling: 1, Ready: 2, Resetting: 3, Failed: 4 } as const;
type Phase = (typeof Phase)[keyof typeof Phase];

export interface ControllerOptions {
  readonly drive: Drive;
  readonly maxQueueEntries: number;
}

export class NvmeController implements BarHandler {
  readonly endpoint: Endpoint;
  readonly drive: Drive;
  probe: CommandProbe | null = null;
  readonly #registers: RegisterFile;
  readonly #limits: QueueLimits;
  readonly #timer: Timer;
  #processor: CommandProcessor;
  #phase: Phase = Phase.Disabled;
  /** What happens once the timer has fired and no transfer is under way. */
  #step: (() => void) | null = null;
  #elapsed = false;

  constructor(endpoint: Endpoint, options: ControllerOptions) {
    const { drive, maxQueueEntries } = options;
    this.endpoint = endpoint;
    this.drive = drive;
    this.#registers = new RegisterFile(PROPERTIES_SIZE, propertyTable(maxQueueEntries));
    this.#registers.onWrite = (register, previous) => this.#written(register, previous);
    this.#limits = this.#queueLimits(maxQueueEntries);
    this.#timer = new Timer(endpoint.fabric.kernel, endpoint.path, () => this.#timeUp());
    this.#processor = this.#newProcessor();
    endpoint.onReset = () => this.#functionReset();
  }

  mmioRead(offset: number, size: number, out: DataView, at: number): void {
    this.#registers.read(offset, size, out, at);
  }

  mmioWrite(offset: number, size: number, data: DataView, at: number): void {
    if (offset < DOORBELLS_AT) this.#registers.write(offset, size, data, at);
    if (offset + size > DOORBELLS_AT) this.#doorbell(offset, size, data, at);
  }

  /** The host's memory cannot be used: nothing goes on until the host resets the controller. [NVME] 9.5 */
  fatal(): void {
    if (this.#phase !== Phase.Ready) return;
    this.#fail();
  }

  // ------------------------------------------------------------ doorbells

  /** Model: a write that is not one aligned dword, which hosts must not do, counts as an invalid doorbell. */
  #doorbell(offset: number, size: number, data: DataView, at: number): void {
    if (this.#phase !== Phase.Ready || this.#shutdownState !== Shst.Normal) return;
    if (size !== DOORBELL_SIZE || offset % DOORBELL_SIZE !== 0) {
      this.#processor.badDoorbell();
      return;
    }
    const index = (offset - DOORBELLS_AT) / DOORBELL_SIZE;
    const value = data.getUint32(at, true);
    if (index & 1) this.#processor.ringCompletion(index >>> 1, value);
    else this.#processor.ringSubmission(index >>> 1, value);
  }

  // ------------------------------------------------------------ properties

  #written(register: RegisterSpec, previous: number): void {
    const value = this.#registers.get(register);
    if (register === Property.Cc) this.#configured(previous, value);
    // Model: the masks can be set and cleared, but apply to no interrupt: MSI-X has masks of its own.
    else if (register === Property.Intms) this.#setMask((previous | value) >>> 0);
    else if (register === Property.Intmc) this.#setMask(value);
  }

  #setMask(mask: number): void {
    this.#registers.set(Property.Intms, mask);
    this.#registers.set(Property.Intmc, mask);
  }

  #configured(previous: number, value: number): void {
    const was = Cc.EN.get(previous);
    const is = Cc.EN.get(value);
    if (is && !was) this.#enable();
    else if (was && !is) this.#reset();
    if (Cc.SHN.get(value) !== Shn.None && Cc.SHN.get(previous) === Shn.None) this.#shutDown();
  }

  #setStatus(rdy: number, cfs: number): void {
    const value = Csts.CFS.put(Csts.RDY.put(this.#status, rdy), cfs);
    this.#registers.set(Property.Csts, value);
  }

  get #status(): number {
    return this.#registers.get(Property.Csts);
  }
  get #cc(): number {
    return this.#registers.get(Property.Cc);
  }
  get #shutdownState(): number {
    return Csts.SHST.get(this.#status);
  }
  set #shutdownState(state: number) {
    this.#registers.set(Property.Csts, Csts.SHST.put(this.#status, state));
  }

  // ------------------------------------------------------------ enable, reset, shutdown

  #enable(): void {
    // During a reset the new enable is found when the reset is through.
    if (this.#phase === Phase.Resetting) return;
    this.#forgetStep();
    this.#shutdownState = Shst.Normal;
    if (!this.#canEnable()) {
      this.#fail();
      return;
    }
    this.#phase = Phase.Enabling;
    this.#after(this.drive.media.timing.enableLatencyPs, () => this.#ready());
  }

  #ready(): void {
    const { asq, acq } = this.#adminQueues();
    const aqa = this.#registers.get(Property.Aqa);
    this.#phase = Phase.Ready;
    this.#setStatus(1, 0);
    const [asqSize, acqSize] = [Aqa.ASQS.get(aqa) + 1, Aqa.ACQS.get(aqa) + 1];
    this.#processor.start(this.#limits.pageSize, asq, asqSize, acq, acqSize);
  }

  /** Checks of CC, AQA, ASQ and ACQ. Model: reserved bits set in ASQ or ACQ count as misaligned. [NVME] 3.5.1 */
  #canEnable(): boolean {
    const cc = this.#cc;
    const css = Cc.CSS.get(cc);
    if (Cc.MPS.get(cc) > MPS_MAX || Cc.AMS.get(cc) !== 0) return false;
    if (css !== CcCss.Nvm && css !== CcCss.AllSupported) return false;
    const aqa = this.#registers.get(Property.Aqa);
    if (Aqa.ASQS.get(aqa) === 0 || Aqa.ACQS.get(aqa) === 0) return false;
    const low = this.#registers.get(Property.AsqLo) | this.#registers.get(Property.AcqLo);
    return (low & (this.#limits.pageSize - 1)) === 0;
  }

  #fail(): void {
    this.#phase = Phase.Failed;
    this.#setStatus(Csts.RDY.get(this.#status), 1);
    this.#processor.stop();
  }

  /** Controller reset by CC.EN: admin queue properties keep their values. [NVME] 3.7.2 */
  #reset(): void {
    this.#phase = Phase.Resetting;
    this.#processor.stop();
    this.#setMask(0);
    this.#after(this.drive.media.timing.resetLatencyPs, () => this.#disabled());
  }

  #disabled(): void {
    this.#phase = Phase.Disabled;
    this.#registers.set(Property.Csts, 0);
    if (Cc.EN.get(this.#cc)) this.#enable();
  }

  /** Model: normal and abrupt shutdown are alike, since nothing is held back from the medium. [NVME] 3.6.1 */
  #shutDown(): void {
    if (this.#phase === Phase.Resetting || this.#phase === Phase.Enabling) return;
    this.#shutdownState = Shst.Occurring;
    this.#after(this.drive.media.timing.shutdownLatencyPs, () => {
      this.drive.namespace.flush();
      this.#processor.stop();
      this.#shutdownState = Shst.Complete;
    });
  }

  /** Function-level or conventional reset: everything back to how it came up. [NVME] 3.7.2, [PCIE] 6.6 */
  #functionReset(): void {
    this.#forgetStep();
    this.#phase = Phase.Disabled;
    this.#registers.reset();
    this.#processor.stop();
    this.#processor = this.#newProcessor();
  }

  /** Runs `step` after a delay, and not before every transfer under way has ended. */
  #after(delayPs: number, step: () => void): void {
    this.#step = step;
    this.#elapsed = false;
    this.#timer.arm(delayPs);
  }

  #forgetStep(): void {
    this.#timer.disarm();
    this.#step = null;
    this.#elapsed = false;
  }

  #timeUp(): void {
    this.#elapsed = true;
    this.#proceed();
  }

  #proceed(): void {
    if (!this.#elapsed || !this.#processor.port.idle) return;
    const step = this.#step;
    this.#forgetStep();
    step?.();
  }

  // ------------------------------------------------------------ parts

  #newProcessor(): CommandProcessor {
    const processor = new CommandProcessor(this.endpoint, this.drive, this.#limits, this);
    processor.port.onIdle = () => this.#proceed();
    return processor;
  }

  #queueLimits(maxEntries: number): QueueLimits {
    const controller = this;
    return {
      maxEntries,
      vectors: this.drive.vectors,
      get pageSize() {
        return MIN_PAGE_SIZE << Cc.MPS.get(controller.#cc);
      },
      get cc() {
        return controller.#cc;
      },
      get msixEnabled() {
        return controller.#msixEnabled;
      },
    };
  }

  get #msixEnabled(): boolean {
    const { config } = this.endpoint;
    const at = config.capability(CapabilityId.MsiX);
    return at > 0 && MsiXControl.Enable.get(config.read(at + MsiX.Control, 2)) === 1;
  }

  #adminQueues(): { asq: number; acq: number } {
    const { AsqLo, AsqHi, AcqLo, AcqHi } = Property;
    const file = this.#registers;
    // Beyond reach: the first access fails there, as it would on the bus.
    return {
      asq: Math.min(u64(file.get(AsqLo), file.get(AsqHi)), ADDR_LIMIT),
      acq: Math.min(u64(file.get(AcqLo), file.get(AcqHi)), ADDR_LIMIT),
    };
  }
}
