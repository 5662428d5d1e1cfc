/**
 * Asynchronous Event Requests: held until there is an event, one event of a type until its log page is
 * read. [NVME] 5.2
 * @module
 */
import { AsyncEvent, type AsyncEventType, Status } from '#devices/nvme/spec.ts';
import { LogPage } from '#devices/nvme/spec-logs.ts';
import type { Command } from './command.ts';
import { MAX_PARKED } from './staging.ts';

export interface AsyncEventOwner {
  park(command: Command): void;
  unpark(command: Command): void;
  complete(command: Command, status: Status): void;
}

/** Log page whose reading lets the next event of a type through. */
const LOG_OF_TYPE = [LogPage.Error, LogPage.Smart] as const;
type EventType = (typeof AsyncEventType)['Error' | 'Smart'];

export class AsyncEvents {
  readonly #owner: AsyncEventOwner;
  readonly #requests: Command[] = [];
  /** Events that wait for a request: information by type. */
  readonly #events = new Map<EventType, number>();
  readonly #masked = new Set<EventType>();

  constructor(owner: AsyncEventOwner) {
    this.#owner = owner;
  }

  /** Takes a request, which stays until there is an event. */
  request(command: Command): void {
    if (this.#requests.length === MAX_PARKED) {
      this.#owner.complete(command, Status.AsyncEventLimitExceeded);
      return;
    }
    this.#requests.push(command);
    this.#owner.park(command);
    this.#deliver();
  }

  /** Reports an event; one that is masked, or waits already, is dropped. */
  raise(type: EventType, info: number): void {
    if (this.#masked.has(type) || this.#events.has(type)) return;
    this.#events.set(type, info);
    this.#deliver();
  }

  /** The host has read a log page without retaining its event. [NVME] 5.16 */
  logRead(page: number): void {
    for (const type of this.#masked) {
      if (LOG_OF_TYPE[type] === page) this.#masked.delete(type);
    }
  }

  /** Aborts the request with this command identifier; false when there is none. */
  abort(cid: number): boolean {
    const index = this.#requests.findIndex((request) => request.cid === cid);
    const [request] = index < 0 ? [] : this.#requests.splice(index, 1);
    if (!request) return false;
    this.#owner.unpark(request);
    this.#owner.complete(request, Status.AbortRequested);
    return true;
  }

  /** Forgets requests, events and masks, as a reset does. */
  reset(): void {
    this.#requests.length = 0;
    this.#events.clear();
    this.#masked.clear();
  }

  #deliver(): void {
    for (const [type, info] of this.#events) {
      const request = this.#requests.shift();
      if (!request) return;
      this.#events.delete(type);
      this.#masked.add(type);
      const page = LOG_OF_TYPE[type];
      request.dw0 =
        AsyncEvent.Type.of(type) | AsyncEvent.Info.of(info) | AsyncEvent.LogPage.of(page);
      this.#owner.unpark(request);
      this.#owner.complete(request, Status.Success);
    }
  }
}
