/** `npm run conformance:make`: writes `clients/conformance/*.json`. A test compares them with what this would write. */
import { writeFile } from 'node:fs/promises';
import { vectorFiles } from './vectors.ts';

const directory = new URL('../../clients/conformance/', import.meta.url);
for (const [name, content] of Object.entries(await vectorFiles())) {
  await writeFile(new URL(name, directory), content);
}
