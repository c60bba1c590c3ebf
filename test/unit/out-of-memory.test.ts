import { describe, expect, it } from 'vitest';
import { OutOfMemoryWords } from '../../src/evaluators/out-of-memory.ts';

const seenIn = (...chunks: string[]): boolean => {
  const words = new OutOfMemoryWords();
  for (const chunk of chunks) words.push(Buffer.from(chunk));
  return words.seen;
};

describe('a program that is out of memory is known by its words', () => {
  it.each([
    ['V8, its heap', 'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n'],
    ['V8, at its start', '# Fatal process OOM in Failed to reserve virtual memory for CodeRange\n'],
    ['V8, within itself', '# Fatal error in , line 0\n# Check failed: allocation.\n#\n'],
    ['Node, a buffer', 'RangeError: Array buffer allocation failed\n'],
    ['Node 24, a buffer', "RangeError: Failed to allocate memory\n  code: 'ERR_MEMORY_ALLOCATION_FAILED'\n"],
    ['NumPy', 'numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array\n'],
    ['C++', "terminate called after throwing an instance of 'std::bad_alloc'\n"],
    ['Python', 'Traceback (most recent call last):\nMemoryError\n'],
    ['a shell', 'sh: 1: Cannot fork: Cannot allocate memory\n'],
    ['GNU tools', 'tail: memory exhausted\n'],
    ['the JVM', 'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space\n'],
    ['Node, a child', 'Error: spawn ENOMEM\n'],
  ])('%s', (_, text) => {
    expect(seenIn(text)).toBe(true);
    // Wherever the stream is cut.
    for (let at = 1; at < text.length; at += 1) expect(seenIn(text.slice(0, at), text.slice(at))).toBe(true);
    expect(seenIn('x'.repeat(100_000), text, 'and more')).toBe(true);
  });

  it.each([
    ['nothing', ''],
    ['another error', 'TypeError: memory is not a function\n'],
    ['a report of memory', 'peak memory: 3.1 GiB of 512 MiB\n'],
  ])('and %s is none of them', (_, text) => expect(seenIn(text)).toBe(false));
});
