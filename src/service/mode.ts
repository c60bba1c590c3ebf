/** The deployment's mode, said where people and machines look: log, readiness, metrics. Decides nothing. */
import type { Mode } from '../config/mode.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Check } from './readiness.ts';

export function announceMode(
  logger: { warn(fields: object, message: string): void },
  mode: Mode,
  until: string | null,
): void {
  if (mode.kind === 'armed') return;
  if (until === null) {
    logger.warn({ until: mode.until }, 'armed: the shadow that the configuration names is over');
  } else {
    logger.warn(
      { until },
      `SHADOW MODE until ${until}: of runs that are registered until then everything is decided and recorded, and nothing is stopped but by the red button`,
    );
  }
}

/** Ready all the same: this instance does what it is told to. */
export function modeCheck(until: string | null): Check {
  const detail = until === null ? 'armed' : `SHADOW MODE until ${until}: runs registered now are not stopped`;
  return { name: 'mode', ok: true, detail };
}

export function observeMode(metrics: Pick<Metrics, 'collect'>, until: () => string | null): void {
  metrics.collect('interlock_shadow_until_timestamp_seconds', () => {
    const instant = until();
    return instant === null ? null : Date.parse(instant) / 1000;
  });
}
