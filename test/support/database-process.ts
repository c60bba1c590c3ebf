/**
 * A process that uses an embedded database, for tests that kill one: opens the data directory of its only argument,
 * tells each thing that happens as a line of JSON, and closes when its standard input ends.
 */
import { openDatabase } from '../../src/database/open-database.ts';
import { silentLogger } from './embedded-database.ts';

const tell = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

try {
  const handle = await openDatabase({ dataDir: process.argv[2] ?? '', logger: silentLogger, poolMax: 2 });
  handle.onDown(() => tell({ is: 'down' }));
  handle.onUp(() => tell({ is: 'up' }));
  process.stdin.resume();
  process.stdin.once('end', async () => {
    await handle.close();
    tell({ is: 'closed' });
  });
  tell({ is: 'ready', url: handle.url });
} catch (error) {
  tell({ is: 'failed', code: error instanceof Error && 'code' in error ? error.code : String(error) });
  process.exitCode = 1;
}
