/**
 * The end of a stream, for its last line: at most twice `keptBytes` in memory, whatever comes in.
 *
 * A line whose beginning was dropped is dropped whole: half a line may read as JSON that nobody wrote.
 */
export class OutputTail {
  readonly #keptBytes: number;
  #chunks: Buffer[] = [];
  #heldBytes = 0;
  #cut = false;
  totalBytes = 0;

  constructor(keptBytes: number) {
    this.#keptBytes = keptBytes;
  }

  push(chunk: Buffer): void {
    this.totalBytes += chunk.length;
    this.#heldBytes += chunk.length;
    this.#chunks.push(chunk);
    if (this.#heldBytes > 2 * this.#keptBytes) this.#trim();
  }

  /** Whole lines of the last `keptBytes`; the last one may lack its newline. */
  lines(): Buffer {
    if (this.#heldBytes > this.#keptBytes) this.#trim();
    const tail = Buffer.concat(this.#chunks);
    if (!this.#cut) return tail;
    const newline = tail.indexOf(0x0a);
    return newline === -1 ? tail.subarray(tail.length) : tail.subarray(newline + 1);
  }

  #trim(): void {
    const held = Buffer.concat(this.#chunks);
    // Copied, so that the large buffer can go.
    const kept = Buffer.from(held.subarray(-this.#keptBytes));
    this.#cut ||= kept.length < held.length;
    this.#chunks = [kept];
    this.#heldBytes = kept.length;
  }
}
