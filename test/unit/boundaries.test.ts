/**
 * The boundaries of the architecture, held by `npm run lint` (biome.json and src/domain/purity.grit): here each rule
 * meets a file that breaks it. All files of the table are linted at once, under the committed settings, elsewhere.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';

const root = fileURLToPath(new URL('../../', import.meta.url));
const biome = createRequire(import.meta.url).resolve('@biomejs/biome/bin/biome');

const LAYERS = {
  foundation: ['outbound', 'signing', 'database', 'telemetry', 'config', 'subprocess'],
  adapter: ['evaluators', 'evidence', 'orchestrators', 'isolation', 'alerts', 'queue', 'ledger'],
};
const OUTWARDS = 'boundary: src/domain imports zod and its own files, nothing else.';
const FOUNDATION = 'boundary: a foundation imports src/domain and src/errors.ts, no other folder.';
const ADAPTERS_MEET = 'boundary: adapters never meet each other.';
const ADAPTER_UP = 'boundary: imports point down, to foundations and the domain.';
const SERVICE_UP = 'boundary: imports point down; the service knows neither HTTP nor the command line.';
const BUTTON = 'boundary: the red button needs neither database nor queue nor service.';
const HTTP_UP = 'boundary: imports point down; only main.ts with its composition/, and cli, know everything.';
const TESTS = 'boundary: src imports neither tests nor benchmarks.';
const CLOCK = 'domain-purity: time comes in as an argument.';
const RANDOM = 'domain-purity: randomness comes in as an argument.';
const POWER = 'domain-purity: powers differ between V8 versions.';
const OUTSIDE = 'domain-purity: what is outside comes in as an argument.';

type Row = [folder: string, code: string, refusal: string | null];

const domainImports: Row[] = [
  ['src/domain', `import { InterlockError } from '../errors.ts';`, OUTWARDS],
  ['src/domain', `import type { Ledger } from '../ledger/ledger.ts';`, OUTWARDS],
  ['src/domain', `import { type Ledger } from '../ledger/ledger.ts';`, OUTWARDS],
  ['src/domain', `import '../telemetry/logger.ts';`, OUTWARDS],
  ['src/domain', `export * from '../config/schema.ts';`, OUTWARDS],
  ['src/domain', `export type { Secret } from '../config/secret.ts';`, OUTWARDS],
  ['src/domain', `export const later = import('../queue/queues.ts');`, OUTWARDS],
  [
    'src/domain',
    `export type Secret = import('../config/secret.ts').Secret;`,
    'domain-purity: import the type at the head of the file.',
  ],
  ['src/domain', `import { readFileSync } from 'node:fs';`, OUTWARDS],
  ['src/domain', `import { createHash } from 'crypto';`, OUTWARDS],
  ['src/domain', `import type { Pool } from 'pg';`, OUTWARDS],
  ['src/domain', `import { z } from 'zod/mini';`, OUTWARDS],
  ['src/domain', `import { InterlockError } from './../errors.ts';`, OUTWARDS],
  [
    'src/domain',
    `import { InterlockError } from './run/../../errors.ts';`,
    'domain-purity: write the shortest path.',
  ],
  ['src/domain/run', `import { InterlockError } from '../../errors.ts';`, OUTWARDS],
  ['src/domain/run', `import type { Ledger } from '../../ledger/ledger.ts';`, OUTWARDS],
  [
    'src/domain/run',
    `import { InterlockError } from '../run/../../errors.ts';`,
    'domain-purity: write the shortest path.',
  ],
  ['src/domain/run/deep', `import { InterlockError } from '../../../errors.ts';`, OUTWARDS],
  ['src/domain/run/deep/er', `import { InterlockError } from '../../../../errors.ts';`, OUTWARDS],
  ['src/domain', `import { z } from 'zod';`, null],
  ['src/domain', `import type { RunState } from './run/state.ts';`, null],
  ['src/domain/run', `import type { Compute } from '../compute.ts';`, null],
  ['src/domain/run/deep', `import type { Compute } from '../../compute.ts';`, null],
];

const domainActs: Row[] = [
  ['src/domain', `export const at = Date.now();`, CLOCK],
  ['src/domain', `export const clock = Date.now;`, CLOCK],
  ['src/domain', `export const at = Date?.now();`, CLOCK],
  ['src/domain', `export const at = new Date();`, CLOCK],
  ['src/domain', `export const at = new Date;`, CLOCK],
  ['src/domain', `export const at = Date();`, CLOCK],
  ['src/domain/run', `export const at = [1].map(() => new Date());`, CLOCK],
  ['src/domain', `export const draw = Math.random();`, RANDOM],
  ['src/domain', `export const draws = [1].map(Math.random);`, RANDOM],
  ['src/domain', `export const eight = Math.pow(2, 3);`, POWER],
  ['src/domain', `export const eight = Math?.pow(2, 3);`, POWER],
  ['src/domain', `export const eight = 2 ** 3;`, POWER],
  ['src/domain/forecast', `export const eight = 1 + 2 ** 3;`, POWER],
  ['src/domain', `let two = 2; two **= 3; export const eight = two;`, POWER],
  ['src/domain', `export const eight = Math['pow'](2, 3);`, 'domain-purity: name the function.'],
  [
    'src/domain',
    `const { pow } = Math; export const eight = pow(2, 3);`,
    'domain-purity: Math and Date keep their names.',
  ],
  [
    'src/domain',
    `const M = Math; export const eight = M.log(3);`,
    'domain-purity: Math and Date keep their names.',
  ],
  [
    'src/domain',
    `const { now } = Date; export const at = now();`,
    'domain-purity: Math and Date keep their names.',
  ],
  ['src/domain', `export const at = globalThis.performance.now();`, OUTSIDE],
  ['src/domain', `export const at = performance.now();`, OUTSIDE],
  ['src/domain', `export const id = crypto.randomUUID();`, OUTSIDE],
  ['src/domain', `export const home = process.env['HOME'];`, OUTSIDE],
  ['src/domain', `export const reply = fetch('http://localhost');`, OUTSIDE],
  ['src/domain', `export const timer = setTimeout(() => {}, 1);`, OUTSIDE],
  ['src/domain', `export const later = (now: Date) => new Date(now.getTime() + Math.round(1.5));`, null],
  ['src/domain', `export const words = 'Date.now() and 2 ** 3'; // Math.random()`, null],
];

const others = (all: readonly string[], one: string): string[] => all.filter((name) => name !== one);

const layers: Row[] = [
  ...LAYERS.adapter.flatMap((own) =>
    others(LAYERS.adapter, own).map(
      (other): Row => [`src/${own}`, `import type { X } from '../${other}/x.ts';`, ADAPTERS_MEET],
    ),
  ),
  ['src/evaluators/formats', `import { encodeJobId } from '../../queue/job-id.ts';`, ADAPTERS_MEET],
  ...LAYERS.adapter.flatMap((own) =>
    ['service/run-service', 'http/route', 'cli/main', 'main'].map(
      (upper): Row => [`src/${own}`, `import type { X } from '../${upper}.ts';`, ADAPTER_UP],
    ),
  ),
  ...LAYERS.adapter.map((own): Row => [`src/${own}`, `import { InterlockError } from '../errors.ts';`, null]),
  ...LAYERS.foundation.flatMap((own) =>
    [...others(LAYERS.foundation, own), ...LAYERS.adapter, 'service', 'http', 'cli'].map(
      (other): Row => [`src/${own}`, `import type { X } from '../${other}/x.ts';`, FOUNDATION],
    ),
  ),
  ['src/database/embedded', `import type { Ledger } from '../../ledger/ledger.ts';`, FOUNDATION],
  ['src/config', `import { startInterlock } from '../main.ts';`, FOUNDATION],
  ...LAYERS.foundation.map(
    (own): Row => [`src/${own}`, `import type { Json } from '../domain/canonical-json.ts';`, null],
  ),
  ['src/database/embedded', `import type { DatabaseLogger } from '../logger.ts';`, null],
  ...['http/route', 'cli/main', 'main', 'composition/store'].map(
    (upper): Row => ['src/service', `import type { X } from '../${upper}.ts';`, SERVICE_UP],
  ),
  ...['ledger/ledger', 'queue/work-queue', 'signing/tokens', 'config/identities'].map(
    (lower): Row => ['src/service', `import type { X } from '../${lower}.ts';`, null],
  ),
  ['src/http', `import { main } from '../main.ts';`, HTTP_UP],
  ['src/http/routes', `import type { Terminal } from '../../cli/terminal.ts';`, HTTP_UP],
  ['src/http/routes', `import type { RunService } from '../../service/run-service.ts';`, null],
  ['src/http', `import { openStore } from '../composition/store.ts';`, HTTP_UP],
  ['src/composition', `import { createLedger } from '../ledger/ledger.ts';`, null],
  ['src/composition', `import { startRedis } from '../../test/support/redis.ts';`, TESTS],
  ['src/http', `import { fieldErrors } from '../domain/field-errors.ts';`, null],
  ['src/service', `import { startRedis } from '../../test/support/redis.ts';`, TESTS],
  ['src/cli', `import { startRedis } from '../../test/support/redis.ts';`, TESTS],
  [
    'clients/typescript',
    `import { canonicalJson } from '../../src/domain/canonical-json.ts';`,
    'boundary: the client stands alone, for people who copy it.',
  ],
];

const button: Row[] = [
  ...[
    'database/pool',
    'ledger/ledger',
    'queue/queues',
    'service/run-service',
    'alerts/registry',
    'cli/main',
    'main',
  ].map((other): Row => ['src/button', `import type { X } from '../${other}.ts';`, BUTTON]),
  ...['pg', 'bullmq', 'ioredis'].map(
    (name): Row => ['src/button', `import type { X } from '${name}';`, BUTTON],
  ),
  ['src/button', `import { startRedis } from '../../test/support/redis.ts';`, TESTS],
  ['src/button', `import type { Orchestrator } from '../orchestrators/orchestrator.ts';`, null],
];

const rows: Row[] = [...domainImports, ...domainActs, ...layers, ...button];
const fileOf = (row: number, folder: string) => `${folder}/case-${row}.ts`;

const Report = z.object({
  summary: z.object({ diagnosticsNotPrinted: z.literal(0) }),
  diagnostics: z.array(
    z.object({ category: z.string(), message: z.string(), location: z.object({ path: z.string() }) }),
  ),
});

let directory: string;
const refusals = new Map<string, string[]>();

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-boundaries-'));
  mkdirSync(join(directory, 'src/domain'), { recursive: true });
  for (const file of ['biome.json', 'src/domain/purity.grit'])
    cpSync(join(root, file), join(directory, file));
  for (const [row, [folder, code]] of rows.entries()) {
    mkdirSync(join(directory, folder), { recursive: true });
    writeFileSync(join(directory, fileOf(row, folder)), `${code}\n`);
  }
  writeFileSync(
    join(directory, 'src/errors.ts'),
    `import { z } from 'zod';\nexport const InterlockError = z;\n`,
  );
  const run = spawnSync(
    process.execPath,
    [biome, 'lint', '--vcs-enabled=false', '--reporter=json', '--max-diagnostics=none', '.'],
    { cwd: directory, encoding: 'utf8', maxBuffer: 64 * 2 ** 20 },
  );
  for (const { category, message, location } of Report.parse(JSON.parse(run.stdout)).diagnostics) {
    if (!/^plugin$|noRestricted/.test(category)) continue;
    const file = location.path;
    refusals.set(file, [...(refusals.get(file) ?? []), `${category}: ${message}`]);
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the lint', () => {
  it.each(rows.map(([folder, code, refusal], row) => ({ row, folder, code, refusal })))(
    'in $folder: $code -> $refusal',
    ({ row, folder, refusal }) => {
      const said = refusals.get(fileOf(row, folder)) ?? [];
      if (refusal === null) expect(said).toEqual([]);
      else if (refusal === OUTSIDE) expect(said).toEqual([expect.stringContaining('noRestrictedGlobals')]);
      else expect(said).toEqual([expect.stringContaining(refusal)]);
    },
  );

  it('lets src/errors.ts import nothing', () => {
    expect(refusals.get('src/errors.ts')).toEqual([
      expect.stringContaining('boundary: src/errors.ts imports nothing.'),
    ]);
  });

  it('has a rule for every folder of src', () => {
    const known = [
      ...LAYERS.foundation,
      ...LAYERS.adapter,
      'domain',
      'service',
      'http',
      'cli',
      'button',
      'composition',
    ];
    const folders = readdirSync(join(root, 'src'), { withFileTypes: true }).filter((entry) =>
      entry.isDirectory(),
    );
    expect(folders.map(({ name }) => name).filter((name) => !known.includes(name))).toEqual([]);
  });

  it('is not silenced anywhere in src', () => {
    const silencing =
      /biome-ignore\S*\s+(?:lint(?:\/plugin|\/style(?:\/noRestricted|[^/])|[^/])|plugin)|@ts-(?:ignore|nocheck)/;
    const silenced = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .filter((file) => silencing.test(readFileSync(join(root, 'src', file), 'utf8')));
    expect(silenced).toEqual([]);
  });
});
