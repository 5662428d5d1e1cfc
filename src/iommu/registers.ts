/**
 * The register page as a table, and typed access to it for the parts of the unit. Side effects of writes are
 * the owner's. [RVIOMMU] 5.1
 * @module
 */
import { RegisterFile, type RegisterSpec } from '#emu/base/registers.ts';
import {
  CAPABILITIES_LO,
  Capabilities,
  Cqcsr,
  Ddtp,
  Fqcsr,
  Icvec,
  Ipsr,
  MsiCfg,
  ppnToAddress,
  QueueBase,
  REGISTER_PAGE_BYTES,
  Reg,
  VECTORS,
} from './spec.ts';

const PPN_LO = 0xffff_fc00;
const CQCSR_W1C = Cqcsr.cqmf.mask | Cqcsr.cmd_to.mask | Cqcsr.cmd_ill.mask | Cqcsr.fence_w_ip.mask;
const VECTOR_MASK = VECTORS - 1;

/** Writable bits of the high half of a PPN field when addresses have `bits` bits. */
const ppnHiMask = (bits: number): number => 2 ** Math.max(0, bits - 12 - 22) - 1;
/** Bits 63:32 of an address of `bits` bits. */
const addressHiMask = (bits: number): number => 2 ** Math.max(0, bits - 32) - 1;

/** A register of 64 bits as two rows. */
const pair = (name: string, offset: number, lo: number, hi: number): RegisterSpec[] => [
  { name, offset, width: 32, writable: lo },
  { name: `${name}[63:32]`, offset: offset + 4, width: 32, writable: hi },
];

/** All registers of a unit with physical addresses of `bits` bits. */
function registerTable(bits: number): readonly RegisterSpec[] {
  const ppnHi = ppnHiMask(bits);
  const queueLo = PPN_LO | QueueBase.log2szMinus1.mask;
  const csr = (name: string, offset: number, w1c: number): RegisterSpec => ({
    name,
    offset,
    width: 32,
    writable: 3,
    w1c,
  });
  const vectors: RegisterSpec[] = [];
  for (let i = 0; i < VECTORS; i++) {
    const offset = Reg.msiCfgTbl + MsiCfg.SIZE * i;
    vectors.push(
      ...pair(`msi_addr_${i}`, offset, 0xffff_fffc, addressHiMask(bits)),
      { name: `msi_data_${i}`, offset: offset + MsiCfg.data, width: 32, writable: 0xffff_ffff },
      { name: `msi_vec_ctl_${i}`, offset: offset + MsiCfg.control, width: 32, writable: 1 },
    );
  }
  return [
    { name: 'capabilities', offset: Reg.capabilities, width: 32, reset: CAPABILITIES_LO },
    {
      name: 'capabilities[63:32]',
      offset: Reg.capabilities + 4,
      width: 32,
      reset: Capabilities.PAS.of(bits),
    },
    { name: 'fctl', offset: Reg.fctl, width: 32 },
    ...pair('ddtp', Reg.ddtp, PPN_LO | Ddtp.iommuMode.mask, ppnHi),
    ...pair('cqb', Reg.cqb, queueLo, ppnHi),
    { name: 'cqh', offset: Reg.cqh, width: 32 },
    { name: 'cqt', offset: Reg.cqt, width: 32, writable: 0xffff_ffff },
    ...pair('fqb', Reg.fqb, queueLo, ppnHi),
    { name: 'fqh', offset: Reg.fqh, width: 32, writable: 0xffff_ffff },
    { name: 'fqt', offset: Reg.fqt, width: 32 },
    csr('cqcsr', Reg.cqcsr, CQCSR_W1C),
    csr('fqcsr', Reg.fqcsr, Fqcsr.fqmf.mask | Fqcsr.fqof.mask),
    { name: 'ipsr', offset: Reg.ipsr, width: 32, w1c: Ipsr.cip.mask | Ipsr.fip.mask },
    ...pair('icvec', Reg.icvec, Icvec.civ.of(VECTOR_MASK) | Icvec.fiv.of(VECTOR_MASK), 0),
    ...vectors,
  ];
}

export class IommuRegisters {
  readonly file: RegisterFile;

  /** @param addressBits capabilities.PAS */
  constructor(addressBits: number) {
    this.file = new RegisterFile(REGISTER_PAGE_BYTES, registerTable(addressBits));
  }

  /** The 32 bits at `offset`. */
  get(offset: number): number {
    return this.file.view.getUint32(offset, true);
  }

  /** Sets the 32 bits at `offset` as hardware does. */
  set(offset: number, value: number): void {
    this.file.view.setUint32(offset, value, true);
  }

  setBits(offset: number, mask: number): void {
    this.set(offset, (this.get(offset) | mask) >>> 0);
  }

  clearBits(offset: number, mask: number): void {
    this.set(offset, (this.get(offset) & ~mask) >>> 0);
  }

  /** Address that the PPN in bits 53:10 of the 64-bit register at `offset` stands for. */
  pageAt(offset: number): number {
    return ppnToAddress(this.get(offset), this.get(offset + 4));
  }

  /** Mask of an index into the queue whose base register is at `offset`. */
  indexMask(offset: number): number {
    // A shift costs a tenth of a power, and this is done for every command.
    return 0xffff_ffff >>> (31 - QueueBase.log2szMinus1.get(this.get(offset)));
  }
}
