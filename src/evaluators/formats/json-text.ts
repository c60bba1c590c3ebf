/**
 * One whole small document of JSON as Python writes it: the same leniency and the same strictness as json-select.ts.
 */
import { JsonScanner, type JsonValue } from './json-select.ts';

/** Throws LogFault: `log-too-large` over `limit` bytes, `log-empty`, `log-truncated`, `log-unreadable`. */
export function parseHarnessJson(bytes: Uint8Array, limit: number): JsonValue {
  let parsed: JsonValue = null;
  const scanner = new JsonScanner(
    [
      {
        path: [],
        onValue: (value) => {
          parsed = value;
        },
      },
    ],
    { valueBytes: limit },
  );
  scanner.write(bytes);
  scanner.end();
  return parsed;
}
