/**
 * Messages between components: sent in either fidelity, and handed to whoever has asked for their code.
 * [PCIE] 2.2.8
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import { Decision, Verdict } from '#emu/pcie/component.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { countPayload } from '#emu/pcie/link/link-counters.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import { Purpose } from './dma-status.ts';
import { Tlp, TlpFlag, TlpKind } from './tlp.ts';
import { MessageCode, MessageRouting, messageRule } from './tlp-messages.ts';

/** Takes a message that has ended at a component; the record is good only during the call. */
export type MessageHandler = (ingress: Port, tlp: Tlp) => void;

/** What a message carries beside its code; all 0 and without data by default. */
export interface MessageBody {
  readonly tag?: number;
  /** Target function, of a message by ID; in the upper half of the third header DW. */
  readonly targetId?: number;
  /** Third and fourth header DW, of the third only what `targetId` leaves. */
  readonly thirdWord?: number;
  readonly fourthWord?: number;
  /** Makes it a MsgD: whole DWs in wire order. */
  readonly data?: Uint8Array;
  /** `TlpFlag` bits and traffic class, see `tlpFlags`. */
  readonly flags?: number;
  readonly pasid?: number;
}

/** Makes `tlp` a message. The data must fit the record's payload slot. */
export function fillMessage(
  tlp: Tlp,
  code: number,
  routing: number,
  requester: number,
  body: MessageBody = {},
): void {
  const { data } = body;
  tlp.kind = data === undefined ? TlpKind.Msg : TlpKind.MsgD;
  tlp.requester = requester;
  tlp.tag = body.tag ?? 0;
  tlp.messageCode = code;
  tlp.routing = routing;
  tlp.targetId = body.targetId ?? 0;
  tlp.thirdWord = body.thirdWord ?? 0;
  tlp.fourthWord = body.fourthWord ?? 0;
  tlp.flags = body.flags ?? 0;
  tlp.pasid = body.pasid ?? 0;
  tlp.sizeBytes = data?.length ?? 0;
  tlp.purpose = Purpose.Control;
  if (data !== undefined) arena.u8.set(data, tlp.payloadAt);
  tlp.seal();
}

/**
 * Sends a message out of `port`, behind what waits there already. An endpoint's messages that must stay behind
 * its own writes go through `Endpoint.sendMessage` instead.
 * @param code a `MessageCode`, or any other of 0 to 255
 * @param requester ID of the function that sends it
 */
export function sendMessage(
  port: Port,
  code: number,
  routing: MessageRouting,
  requester: number,
  body: MessageBody = {},
): void {
  const tlp = port.fabric.tlps.take();
  fillMessage(tlp, code, routing, requester, body);
  launch(port, tlp);
}

/** Sends a copy of a message on, as a broadcast needs one for each port. */
export function passMessageOn(port: Port, message: Tlp): void {
  const { messageCode, routing, requester, tag, targetId, thirdWord, fourthWord } = message;
  const { flags, pasid, payloadAt, payloadBytes } = message;
  const carried = { tag, targetId, thirdWord, fourthWord, flags, pasid };
  const data = arena.u8.slice(payloadAt, payloadAt + payloadBytes);
  const body = message.kind === TlpKind.MsgD ? { ...carried, data } : carried;
  const tlp = port.fabric.tlps.take();
  fillMessage(tlp, messageCode, routing, requester, body);
  launch(port, tlp);
}

function launch(port: Port, tlp: Tlp): void {
  const { fabric } = port;
  if (!fabric.functional) return port.send(tlp);
  let courier = couriers.get(fabric);
  if (!courier) {
    courier = new Courier(fabric);
    couriers.set(fabric, courier);
  }
  courier.carry(port, tlp);
}

/** Negative: dispatched apart from the classes of the TLP path. */
const CARRY = -4;

/** Functional fidelity: carries messages without time, each in an event of its own. */
class Courier implements Target {
  readonly path = 'messages';
  readonly #fabric: Fabric;
  readonly #decision = new Decision();

  constructor(fabric: Fabric) {
    this.#fabric = fabric;
  }

  carry(port: Port, tlp: Tlp): void {
    tlp.egress = port;
    this.#fabric.kernel.schedule(0, this, CARRY, tlp);
  }

  handle(_op: number, arg: EventArg): void {
    if (!(arg instanceof Tlp)) return;
    this.#walk(arg);
    this.#fabric.tlps.give(arg);
  }

  #walk(tlp: Tlp): void {
    const decision = this.#decision;
    const { injector } = this.#fabric;
    let out = tlp.egress;
    while (out !== null && out.peer !== null) {
      const ingress = out.peer;
      if (injector !== null && !injector.passes(out, tlp)) return;
      countPayload(out.counters, tlp);
      if ((tlp.flags & TlpFlag.Malformed) !== 0) {
        return this.#fabric.refuse(ingress.path, 'malformed-tlp', tlp);
      }
      ingress.owner.decide(ingress, tlp, decision);
      if (decision.verdict === Verdict.Local) return ingress.owner.message(ingress, tlp);
      if (decision.verdict === Verdict.Swallow) return;
      if (decision.verdict !== Verdict.Forward) {
        return this.#fabric.refuse((decision.site ?? ingress).path, decision.error, tlp);
      }
      out = decision.port;
    }
  }
}
const couriers = new WeakMap<Fabric, Courier>();

/** Who wants which messages that end at a component; several may want the same. */
export class MessageInbox {
  readonly #handlers = new Map<number, MessageHandler[]>();

  /** Calls `handler` for each message with this code. */
  on(code: MessageCode, handler: MessageHandler): void {
    const others = this.#handlers.get(code);
    if (others) others.push(handler);
    else this.#handlers.set(code, [handler]);
  }

  /** Hands a message out; false when it is an Unsupported Request. [PCIE] 2.3.1, 2.2.8.6 */
  deliver(ingress: Port, tlp: Tlp): boolean {
    const handlers = this.#handlers.get(tlp.messageCode);
    if (!handlers) return isIgnorable(tlp.messageCode);
    for (const handler of handlers) handler(ingress, tlp);
    return true;
  }
}

/** Receivers may ignore what the specification knows, and vendor-defined messages of type 1. [PCIE] 2.2.8.6 */
const isIgnorable = (code: number): boolean =>
  messageRule(code) !== null || code === MessageCode.Vendor_Defined_1;

/** Whether a message that came to a function with `id` from above is for it. [PCIE] 2.2.8 */
export function endsAtFunction(tlp: Tlp, id: number): boolean {
  const { routing } = tlp;
  if (routing === MessageRouting.ById) return tlp.targetId === id;
  return routing === MessageRouting.Broadcast || routing === MessageRouting.Local;
}
