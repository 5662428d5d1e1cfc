/**
 * The register BAR: a megabyte of which few pages have registers, kept a page at a time.
 * Partial and spanning accesses are RegisterFile's business. Nothing here knows what a register means.
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { RegisterFile, type RegisterSpec } from '#emu/base/registers.ts';
import { PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import type { BarHandler } from '#emu/pcie/endpoint/endpoint.ts';

/** Called after a write to the register. */
type Written = () => void;

export class RegisterSpace implements BarHandler {
  readonly #pages: (RegisterFile | null)[];
  readonly #written = new Map<string, Written>();

  /** Registers with offsets from the BAR's start. */
  constructor(sizeBytes: number, registers: readonly RegisterSpec[]) {
    this.#pages = new Array<RegisterFile | null>(sizeBytes / PAGE_SIZE).fill(null);
    for (const register of registers) {
      this.#page(register).define({ ...register, offset: pageOffset(register.offset) });
    }
  }

  get(register: RegisterSpec): number {
    return this.#file(register).view.getUint32(pageOffset(register.offset), true);
  }

  /** Sets a register as hardware does, past its write mask. */
  set(register: RegisterSpec, value: number): void {
    this.#file(register).view.setUint32(pageOffset(register.offset), value, true);
  }

  /** Registers `written` for driver writes of one register. */
  onWrite(register: RegisterSpec, written: Written): void {
    this.#written.set(register.name, written);
  }

  /** Puts every register back to its reset value. */
  reset(): void {
    for (const file of this.#pages) file?.reset();
  }

  mmioRead(offset: number, size: number, out: DataView, at: number): void {
    for (let done = 0; done < size; ) {
      const file = this.#pages[(offset + done) >>> 12];
      const bytes = Math.min(size - done, PAGE_SIZE - pageOffset(offset + done));
      if (file) file.read(pageOffset(offset + done), bytes, out, at + done);
      else for (let i = 0; i < bytes; i++) out.setUint8(at + done + i, 0);
      done += bytes;
    }
  }

  mmioWrite(offset: number, size: number, data: DataView, at: number): void {
    for (let done = 0; done < size; ) {
      const bytes = Math.min(size - done, PAGE_SIZE - pageOffset(offset + done));
      const file = this.#pages[(offset + done) >>> 12];
      file?.write(pageOffset(offset + done), bytes, data, at + done);
      done += bytes;
    }
  }

  /** The file of the register's page, made when it is the first one there. */
  #page(register: RegisterSpec): RegisterFile {
    const index = register.offset >>> 12;
    invariant(index < this.#pages.length, `register ${register.name} is outside the BAR`);
    const page = this.#pages[index] ?? new RegisterFile(PAGE_SIZE);
    page.onWrite = (written) => this.#written.get(written.name)?.();
    this.#pages[index] = page;
    return page;
  }

  #file(register: RegisterSpec): RegisterFile {
    const file = this.#pages[register.offset >>> 12];
    invariant(file != null, `no register ${register.name}`);
    return file;
  }
}
