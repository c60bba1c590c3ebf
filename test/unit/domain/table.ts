/** Text tables: one row per case, cells between bars, the expected verdict last. Lines without a bar are comments. */
export function rows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.includes('|'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
}
