/** What was thrown, with the place that threw it: for reports that go on after it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [where] = (error.stack ?? '').split('\n').filter((line) => /^\s+at .*\/test\//.test(line));
  return where === undefined ? error.message : `${error.message} (${where.trim()})`;
}
