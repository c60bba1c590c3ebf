#!/usr/bin/env node
// Runs the command line from the sources (through tsx, so that `npx interlock` works before any
// build) or, where only the build is shipped (the container image), from dist/.
import { existsSync } from 'node:fs';

const sources = new URL('../src/cli/main.ts', import.meta.url);
if (existsSync(sources)) {
  const { register } = await import('tsx/esm/api');
  register();
  await import(sources.href);
} else {
  await import(new URL('../dist/src/cli/main.js', import.meta.url).href);
}
