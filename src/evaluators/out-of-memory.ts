/**
 * Whether a program said that it had no memory left, told by what runtimes print then, and by nothing else of it.
 *
 * A control group counts whom its limit killed. A limit per process (RLIMIT_DATA) only refuses the next page, and the
 * kernel keeps no record of that: the program dies in its own way (SIGABRT, an exit code, an exception), and only
 * its own words tell a limit from a crash. They go into a failure's detail and decide nothing.
 */

/** V8 and Node, the C library, C++, Python and NumPy, the JVM, GNU tools. */
const WORDS = new RegExp(
  [
    'out of memory|outofmemory|process oom|memoryerror|bad_alloc|\\benomem\\b',
    "allocation failed|check failed: allocation|(failed|unable) to allocate|can(no|')t allocate|memory exhausted|insufficient memory",
  ].join('|'),
  'i',
);
/** Longer than any of them: words may be cut by the end of a chunk. */
const CARRIED_CHARACTERS = 32;

export class OutOfMemoryWords {
  #end = '';
  seen = false;

  push(chunk: Buffer): void {
    if (this.seen) return;
    const text = this.#end + chunk.toString('latin1');
    this.seen = WORDS.test(text);
    this.#end = this.seen ? '' : text.slice(-CARRIED_CHARACTERS);
  }
}
