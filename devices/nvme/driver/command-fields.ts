/**
 * The fields of a command that a driver fills in, and how they become a submission queue entry. [NVME] 3.3.3.1
 * @module
 */

import { Psdt, Sqe, SqeFlags } from '#devices/nvme/spec.ts';
import { type DmaAddr, dmaAddr } from '#emu/base/units.ts';
import { putDescriptor } from './sgl-descriptor.ts';

/** One record is filled again and again; {@link clear} first. */
export class CommandFields {
  opcode = 0;
  nsid = 0;
  cdw10 = 0;
  cdw11 = 0;
  cdw12 = 0;
  #psdt: number = Psdt.Prp;
  /** PRP1 and PRP2, or the descriptor of an SGL. */
  #pointer: DmaAddr = dmaAddr(0);
  #prp2: DmaAddr = dmaAddr(0);
  #sglLength = 0;
  #sglType = 0;

  /** Starts over with an opcode. */
  clear(opcode: number, nsid = 0): this {
    this.opcode = opcode;
    this.nsid = nsid;
    this.cdw10 = 0;
    this.cdw11 = 0;
    this.cdw12 = 0;
    this.pointTo(dmaAddr(0));
    return this;
  }

  /** Whether the data is described by an SGL. */
  get isSgl(): boolean {
    return this.#psdt !== Psdt.Prp;
  }

  /** Sets the data pointer to PRPs. */
  pointTo(prp1: DmaAddr, prp2: DmaAddr = dmaAddr(0)): void {
    this.#psdt = Psdt.Prp;
    this.#pointer = prp1;
    this.#prp2 = prp2;
  }

  /** Sets the data pointer to an SGL descriptor. */
  pointToSgl(address: DmaAddr, length: number, type: number): void {
    this.#psdt = Psdt.Sgl;
    this.#pointer = address;
    this.#sglLength = length;
    this.#sglType = type;
  }

  /** Writes the whole entry, fields that the driver never uses as zeros. */
  encode(view: DataView, at: number, cid: number): void {
    Sqe.opcode.set(view, at, this.opcode);
    Sqe.flags.set(view, at, SqeFlags.PSDT.of(this.#psdt));
    Sqe.cid.set(view, at, cid);
    Sqe.nsid.set(view, at, this.nsid);
    view.setFloat64(at + RESERVED_AT, 0);
    Sqe.mptr.set(view, at, 0);
    if (this.isSgl) {
      putDescriptor(view, at + Sqe.prp1.at, this.#pointer, this.#sglLength, this.#sglType);
    } else {
      Sqe.prp1.set(view, at, this.#pointer);
      Sqe.prp2.set(view, at, this.#prp2);
    }
    Sqe.cdw10.set(view, at, this.cdw10);
    Sqe.cdw11.set(view, at, this.cdw11);
    Sqe.cdw12.set(view, at, this.cdw12);
    Sqe.cdw13.set(view, at, 0);
    Sqe.cdw14.set(view, at, 0);
    Sqe.cdw15.set(view, at, 0);
  }
}

/** Dwords 2 and 3. */
const RESERVED_AT = 8;
