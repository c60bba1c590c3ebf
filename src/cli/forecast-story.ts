/** Why a checkpoint's forecasts fired or did not, for the demo's story: from what was sealed and found, nothing else. */
import { type Compute, timesText } from '../domain/compute.ts';
import { levelText } from '../domain/levels.ts';
import { percent } from '../domain/run/expert-findings.ts';
import type { Finding } from '../domain/run/finding-documents.ts';
import type { SealedForecast } from '../domain/run/forecast-documents.ts';

export interface ForecastsTold {
  readonly forecasts: readonly SealedForecast[];
  readonly findings: readonly Finding[];
  /** Of the checkpoint. */
  readonly effectiveCompute: Compute;
  readonly titleOf: (category: string) => string;
}

export interface ForecastLine {
  readonly fired: boolean;
  readonly text: string;
}

/** Of every limit the category that comes nearest, or goes furthest beyond it. */
export function forecastLines({
  forecasts,
  findings,
  effectiveCompute,
  titleOf,
}: ForecastsTold): ForecastLine[] {
  const judged = forecasts.flatMap((forecast) =>
    (forecast.reasons ?? []).flatMap((reasons) => {
      const p = forecast.exceedance.find(({ level }) => level === reasons.level)?.p;
      return p === undefined ? [] : [{ forecast, reasons, p }];
    }),
  );
  const limits = new Map<string, (typeof judged)[number]>();
  for (const each of judged) {
    const { level, probability } = each.reasons;
    const { stage, checkpoints } = each.forecast;
    const key = [level, probability, stage, checkpoints].join(' ');
    if (each.p > (limits.get(key)?.p ?? -1)) limits.set(key, each);
  }
  return [...limits.values()].flatMap(({ forecast, reasons, p }) => {
    const { category, stage, horizonCompute } = forecast;
    const { level, probability, facts, unless } = reasons;
    const finding = findings.find(
      (each) =>
        each.kind === 'forecast' &&
        each.category === category &&
        each.stage === stage &&
        each.observed === p &&
        each.threshold === probability,
    );
    const within = `${levelText(level)} within ${timesText(horizonCompute, effectiveCompute)} the compute`;
    const figures = `${titleOf(category)} with ${percent(p)}, the limit is ${percent(probability)}`;
    const fired = finding !== undefined;
    const head = fired
      ? `the forecast FIRED (${finding.then.join(', ')}): ${within}: ${figures}${forecast.basis === 'mostly-prior' ? '; with so few points it is mostly prior' : ''}`
      : `the forecast did not fire: ${within}: nearest is ${figures}`;
    const why = `  because ${facts.join('; ')}`;
    const lines = [head, why, ...(fired && unless !== undefined ? [`  ${unless}`] : [])];
    return lines.map((text) => ({ fired, text }));
  });
}
