/**
 * Puts a table that a command wrote (`--markdown FILE`) into a page of docs/ (guarantees.md unless named), between the
 * two comments of its name:
 *
 *   node scripts/publish-figures.mjs torture torture.md
 *   node scripts/publish-figures.mjs forecast forecast.md forecasting.md
 *
 * So that the page's figures are what a command printed, and nobody types one.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const [name, file, pageName = 'guarantees.md'] = process.argv.slice(2);
if (name === undefined || file === undefined) {
  console.error('usage: node scripts/publish-figures.mjs NAME FILE [PAGE]');
  process.exit(2);
}
const page = new URL(`../docs/${pageName}`, import.meta.url);
const text = readFileSync(page, 'utf8');
const [begin, end] = [`<!-- figures: ${name} -->\n`, `<!-- end: ${name} -->\n`];
const from = text.indexOf(begin);
const to = text.indexOf(end);
if (from < 0 || to < from) {
  console.error(
    `docs/${pageName} has no place for "${name}": it needs the lines ${begin.trim()} and ${end.trim()}`,
  );
  process.exit(2);
}
const table = readFileSync(file, 'utf8').trim();
writeFileSync(page, `${text.slice(0, from + begin.length)}\n${table}\n\n${text.slice(to)}`);
