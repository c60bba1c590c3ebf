// Loaded before the service (NODE_OPTIONS=--import): this process's clock is off by as many milliseconds as the file
// of TORTURE_CLOCK says, now. What libfaketime does, for one Node process and without it; monotonic time goes on.
import { readFileSync } from 'node:fs';

const file = process.env.TORTURE_CLOCK;
const RealDate = Date;
const realNow = RealDate.now.bind(RealDate);
let offMs = 0;
let lookedAtMs = Number.NEGATIVE_INFINITY;

function now() {
  if (performance.now() - lookedAtMs > 50) {
    lookedAtMs = performance.now();
    try {
      offMs = Number(readFileSync(file, 'utf8')) || 0;
    } catch {
      offMs = 0;
    }
  }
  return realNow() + offMs;
}

globalThis.Date = class ShiftedDate extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(now());
    else super(...args);
  }
  static now() {
    return now();
  }
};
