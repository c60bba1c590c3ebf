/** `interlock demo`: reserved; the story is being built. */
export async function runDemo(_options: { exit: boolean }): Promise<number> {
  process.stderr.write('interlock: the demo is being built and is not part of this version yet\n');
  return 2;
}
