/**
 * Host software for one slot, as Linux's pciehp: served by the port's interrupt, it lets a device go when its button
 * is pressed or it has gone, and brings up what comes. Everything is a configuration request. [PCIE] 6.7
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { Bits } from '#emu/base/layout.ts';
import { ConfigIo, type ConfigPort } from '#emu/host/enumeration/config-io.ts';
import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import { CapabilityId, LinkSta, Pcie } from '#emu/pcie/config/config-registers.ts';
import { SlotCtl, SlotSta } from '#emu/pcie/config/slot-registers.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { delay, type Process } from '#emu/sim/process.ts';
import type { PortInterrupts } from './port-interrupts.ts';

/** Time to press the attention button again and take it back, ps. [PCIE] 6.7.1.5 */
export const BUTTON_PS = 5_000_000_000_000;
/** From a link that is up to the first configuration request, ps. [PCIE] 6.6.1 */
const SETTLE_PS = 100_000_000_000;
/** Codes of both indicators. [PCIE] 7.5.3.10 */
const Indicator = { On: 1, Blinking: 2, Off: 3 } as const;
const { AttentionPressed, PresenceChanged, LinkStateChanged } = SlotSta;
const CHANGES = PresenceChanged.mask | LinkStateChanged.mask;
const EVENTS = AttentionPressed.mask | CHANGES;

export interface SlotSoftware {
  readonly kernel: Kernel;
  readonly root: ConfigPort;
  readonly portInterrupts: Pick<PortInterrupts, 'attach'>;
  /** Brings up what is below the port. @throws USAGE when it does not fit */
  arrived(port: PciNode): Process<void>;
  /** Has everybody let go of what is below the port. @param isSurprise it is gone already */
  leaves(port: PciNode, isSurprise: boolean): Process<void>;
}

export class SlotDriver {
  readonly node: PciNode;
  readonly #host: SlotSoftware;
  readonly #io: ConfigIo;
  readonly #at: number;
  /** Whether what is in the slot is in use. */
  #isOn: boolean;
  #isRunning = false;
  #isWanted = false;
  /** Presses of the button that have neither taken effect nor been taken back: 0 or 1. */
  #pressed = 0;
  #presses = 0;
  /** The button has been left alone for its time. */
  #isDue = false;
  #waiters: { readonly isOn: boolean; readonly pending: Pending<void> }[] = [];

  constructor(host: SlotSoftware, node: PciNode) {
    this.node = node;
    this.#host = host;
    this.#io = new ConfigIo(host.root, node.bdf);
    this.#at = node.capabilities.get(CapabilityId.Pcie) ?? 0;
    this.#isOn = node.children.length > 0;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** Forgets what happened so far, and lets the slot interrupt. */
  *start(): Process<void> {
    yield* this.#host.portInterrupts.attach(this.node, () => this.wake());
    yield* this.#io.write(this.#at + Pcie.SlotSta, 2, EVENTS);
    yield* this.#command(
      [SlotCtl.AttentionEnable, 1],
      [SlotCtl.PresenceEnable, 1],
      [SlotCtl.LinkStateEnable, 1],
      [SlotCtl.InterruptEnable, 1],
      [SlotCtl.PowerIndicator, this.#isOn ? Indicator.On : Indicator.Off],
      [SlotCtl.AttentionIndicator, Indicator.Off],
    );
  }

  /** Completes when the slot is in use, or not; fails when what came cannot be brought up. */
  until(isOn: boolean): Pending<void> {
    const pending = this.#host.kernel.pending<void>(`${this.node.path} slot`);
    if (this.#isOn === isOn) pending.complete();
    else this.#waiters.push({ isOn, pending });
    return pending;
  }

  /** Serves the slot, again as long as more comes meanwhile. */
  wake(): void {
    this.#isWanted = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#host.kernel.spawn(`${this.node.path} hot-plug`, this.#run());
  }

  *#run(): Process<void> {
    let events = EVENTS;
    // An event that comes while others wait sends no interrupt of its own. [PCIE] 6.7.3.4
    while (this.#isWanted || events !== 0) {
      this.#isWanted = false;
      events = (yield* this.#io.read(this.#at + Pcie.SlotSta, 2)) & EVENTS;
      if (events !== 0) yield* this.#io.write(this.#at + Pcie.SlotSta, 2, events);
      if (events & AttentionPressed.mask) yield* this.#button();
      if (events & CHANGES) yield* this.#changed(PresenceChanged.get(events) === 1);
      if (this.#isDue) yield* this.#toggle();
    }
    this.#isRunning = false;
  }

  /** The first press asks, the second takes it back. */
  *#button(): Process<void> {
    this.#pressed ^= 1;
    this.#presses++;
    if (this.#pressed === 1) void this.#host.kernel.spawn(`${this.node.path} button`, this.#wait());
    yield* this.#show(this.#pressed === 1 ? Indicator.Blinking : this.#steady);
  }

  *#wait(): Process<void> {
    const press = this.#presses;
    yield* delay(BUTTON_PS);
    if (press !== this.#presses || this.#pressed === 0) return;
    this.#pressed = 0;
    this.#isDue = true;
    this.wake();
  }

  /** The button has its effect: out of use and without power, or the other way round. */
  *#toggle(): Process<void> {
    this.#isDue = false;
    if (!this.#isOn) return yield* this.#command([SlotCtl.PowerOff, 0]);
    yield* this.#host.leaves(this.node, false);
    this.#isOn = false;
    yield* this.#command([SlotCtl.PowerOff, 1], [SlotCtl.PowerIndicator, Indicator.Off]);
    this.#settle();
  }

  /** Looks what is there now, and not what it was that changed: it may have changed back. */
  *#changed(wasPresence: boolean): Process<void> {
    const isPresent = SlotSta.PresenceDetect.get(yield* this.#io.read(this.#at + Pcie.SlotSta, 2));
    const isUp = LinkSta.DllActive.get(yield* this.#io.read(this.#at + Pcie.LinkSta, 2));
    if (this.#isOn && !(isPresent && isUp && !wasPresence)) yield* this.#lost();
    if (this.#isOn || !isPresent) return;
    if (isUp) yield* this.#bringUp();
    else if (wasPresence) yield* this.#command([SlotCtl.PowerOff, 0]);
  }

  *#lost(): Process<void> {
    yield* this.#host.leaves(this.node, true);
    this.#isOn = false;
    this.#pressed = 0;
    yield* this.#show(Indicator.Off);
    this.#settle();
  }

  *#bringUp(): Process<void> {
    yield* delay(SETTLE_PS);
    try {
      yield* this.#host.arrived(this.node);
    } catch (error) {
      if (!(error instanceof EmuError)) throw error;
      return this.#fail(error);
    }
    this.#isOn = true;
    yield* this.#show(Indicator.On);
    this.#settle();
  }

  get #steady(): number {
    return this.#isOn ? Indicator.On : Indicator.Off;
  }

  *#show(indicator: number): Process<void> {
    yield* this.#command([SlotCtl.PowerIndicator, indicator]);
  }

  *#command(...fields: readonly (readonly [Bits, number])[]): Process<void> {
    yield* this.#io.update16(this.#at + Pcie.SlotCtl, ...fields);
    yield* this.#io.write(this.#at + Pcie.SlotSta, 2, SlotSta.CommandCompleted.mask);
  }

  #settle(): void {
    const done = this.#waiters.filter(({ isOn }) => isOn === this.#isOn);
    this.#waiters = this.#waiters.filter(({ isOn }) => isOn !== this.#isOn);
    for (const { pending } of done) pending.complete();
  }

  /** @throws what went wrong when nobody waits for the device */
  #fail(error: EmuError): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    if (waiters.length === 0) throw error;
    for (const { pending } of waiters) pending.fail(error);
  }
}
