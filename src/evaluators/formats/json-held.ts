/** The bytes of a value or a name that a scanner keeps (json-select.ts), out of as many chunks as it takes. */
import type { JsonValue } from './json-select.ts';
import { LogFault } from './log-fault.ts';

/** A larger buffer is given back once its value was read. */
const KEPT_BUFFER = 1024 * 1024;

export class HeldJson {
  readonly #most: number;
  readonly #what: string;
  #bytes = Buffer.alloc(0);
  #length = 0;
  #active = false;
  #chunk: Uint8Array = new Uint8Array();
  /** Where in the chunk that which is not copied yet begins; -1 while paused. */
  #from = -1;

  constructor(most: number, what: string) {
    this.#most = most;
    this.#what = what;
  }

  chunk(chunk: Uint8Array): void {
    this.#chunk = chunk;
    if (this.#active && this.#from >= 0) this.#from = 0;
  }

  chunkEnd(): void {
    if (this.#active && this.#from >= 0) {
      this.#append(this.#chunk.subarray(this.#from));
      this.#from = 0;
    }
  }

  start(at: number): void {
    this.#active = true;
    this.#length = 0;
    this.#from = at;
  }

  pause(at: number): void {
    this.#append(this.#chunk.subarray(this.#from, at));
    this.#from = -1;
  }

  resume(text: string, at: number): void {
    this.#append(Buffer.from(text, 'latin1'));
    this.#from = at;
  }

  finish(end: number): JsonValue {
    this.#append(this.#chunk.subarray(this.#from, end));
    this.#active = false;
    this.#from = -1;
    const value: JsonValue = JSON.parse(this.#bytes.toString('utf8', 0, this.#length));
    if (this.#bytes.length > KEPT_BUFFER) this.#bytes = Buffer.alloc(0);
    return value;
  }

  #append(bytes: Uint8Array): void {
    const length = this.#length + bytes.length;
    if (length > this.#most) throw new LogFault('log-too-large', `${this.#what} of over ${this.#most} bytes`);
    if (length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.min(this.#most, Math.max(1024, length * 2)));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = length;
  }
}
