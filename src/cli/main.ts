/**
 * The command line's entry: `interlock <command>`, from the sources or from the build.
 *
 * Runs when it is loaded; what can be imported without running is in program.ts.
 */
import { run } from './program.ts';
import { processTerminal } from './terminal.ts';

/** A handle that somebody forgot must not keep a finished command from ending. */
const LINGER_MAX_MS = 5_000;

process.exitCode = await run(process.argv.slice(2), processTerminal());
setTimeout(() => process.exit(), LINGER_MAX_MS).unref();
