/**
 * What a command may touch of the outside: two streams, the environment, and whether colours are wanted.
 *
 * Standard output carries the answer and nothing else, so that it can be piped; everything said about the work
 * goes to standard error. A reader that stops reading (`| head`) ends a command quietly.
 */
import type { Environment } from '../config/environment.ts';
import { type Style, styleFor } from './output.ts';

export interface Terminal {
  readonly env: Environment;
  readonly style: Style;
  /** Columns of standard output; 100 where it is no terminal. */
  readonly width: number;
  /** A line, or several, on standard output. */
  print(text: string): void;
  /** A line, or several, on standard error. */
  complain(text: string): void;
  /** Draws over the last line of standard error; absent where that is no terminal. */
  readonly redraw?: (text: string) => void;
  /** Bytes on standard output, as fast as their reader takes them. */
  write(chunk: Uint8Array): Promise<void>;
}

export function processTerminal(): Terminal {
  const { stdout, stderr, env } = process;
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    throw error;
  });
  return {
    env,
    style: styleFor({ isTty: stdout.isTTY === true, env }),
    width: stdout.isTTY === true && stdout.columns > 0 ? stdout.columns : 100,
    print: (text) => void stdout.write(`${text}\n`),
    complain: (text) => void stderr.write(`${text}\n`),
    ...(stderr.isTTY === true ? { redraw: (text: string) => void stderr.write(`\r\u001b[K${text}`) } : {}),
    write: (chunk) =>
      new Promise((resolve, reject) => {
        stdout.write(chunk, (error) => (error ? reject(error) : resolve()));
      }),
  };
}
