/**
 * Metrics: every name in one table, and the Prometheus text they are read as.
 *
 * Labels are fixed per metric by type, and their values are short words of ours (a status, an outcome,
 * a configured name): never text from a caller. A metric that grows past a thousand series anyway
 * counts the rest under `other` rather than eating the process.
 * Own code rather than a client library: this is all that is needed of one.
 */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const counter = <const L extends readonly string[]>(help: string, labels: L) =>
  ({ type: 'counter', help, labels }) as const;
const gauge = <const L extends readonly string[]>(help: string, labels: L) =>
  ({ type: 'gauge', help, labels }) as const;
const histogram = <const L extends readonly string[]>(
  help: string,
  labels: L,
  buckets: readonly number[] = SECONDS,
) => ({ type: 'histogram', help, labels, buckets }) as const;

export const METRICS = {
  interlock_build_info: gauge('1; the version is the label', ['version']),
  interlock_http_requests_total: counter('Requests answered', ['method', 'route', 'status']),
  interlock_http_request_duration_seconds: histogram('Time to answer', ['method', 'route']),
  interlock_http_refusals_total: counter('Requests refused, by problem code', ['code', 'status']),
  interlock_authentication_failures_total: counter('Credentials refused', ['method', 'reason']),
  interlock_http_in_flight: gauge('Requests being answered', []),
  interlock_http_streams: gauge('Open event streams', []),
  interlock_event_loop_delay_seconds: gauge('How late the event loop runs', []),
  interlock_checkpoints_total: counter('Checkpoints recorded', ['disposition']),
  interlock_heartbeats_total: counter('Heartbeats answered', ['directive']),
  interlock_permits_total: counter('Permits issued', []),
  interlock_verdicts_total: counter('Verdicts reached', ['verdict']),
  interlock_evaluations_total: counter('Evaluation attempts ended', ['outcome']),
  interlock_evaluation_duration_seconds: histogram(
    'Time of an evaluation attempt',
    ['outcome'],
    [1, 5, 15, 60, 300, 900, 3600, 7200, 21600],
  ),
  interlock_halts_total: counter('Halts ordered', ['cause']),
  interlock_halt_evidence_to_order_seconds: histogram('From recorded evidence to the recorded order', []),
  interlock_halt_order_to_sent_seconds: histogram('From the recorded order to the first request', ['kind']),
  interlock_halt_order_to_stopped_seconds: histogram(
    'From the recorded order to the confirmed stop',
    [],
    [0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600],
  ),
  interlock_halt_steps_total: counter('Steps taken towards a stop', ['kind', 'outcome']),
  interlock_alert_deliveries_total: counter('Alerts sent', ['channel', 'outcome']),
  interlock_ledger_events_total: counter('Events appended by this process', ['kind']),
  interlock_ledger_size: gauge('Events in the ledger', []),
  interlock_database_up: gauge('1 while the database answers', []),
  interlock_queue_refusals: gauge('Work items the queue refused or did not take in time, since start', []),
  interlock_reconciler_sweeps: gauge('Passes of the reconciler since start', []),
  interlock_reconciler_sweep_failures: gauge('Passes that failed, since start', []),
  interlock_reconciler_direct_runs: gauge('Items the reconciler ran itself, since start', []),
} as const;

export type MetricName = keyof typeof METRICS;
type NamesOf<T extends string> = {
  [N in MetricName]: (typeof METRICS)[N]['type'] extends T ? N : never;
}[MetricName];
export type Labels<N extends MetricName> = { [L in (typeof METRICS)[N]['labels'][number]]: string | number };

export interface Metrics {
  count<N extends NamesOf<'counter'>>(name: N, labels: Labels<N>, by?: number): void;
  set<N extends NamesOf<'gauge'>>(name: N, labels: Labels<N>, value: number): void;
  observe<N extends NamesOf<'histogram'>>(name: N, labels: Labels<N>, seconds: number): void;
  /** Asked for at each scrape. */
  collect<N extends NamesOf<'gauge'>>(name: N, read: () => number): void;
  render(): string;
}

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

const SERIES_MAX = 1_000;
const LABEL_LENGTH_MAX = 96;

interface Series {
  labels: string;
  value: number;
  /** Cumulative counts per bucket, for histograms. */
  buckets: number[];
  count: number;
}

export function createMetrics(): Metrics {
  const all = new Map<MetricName, Map<string, Series>>();
  const reads = new Map<MetricName, () => number>();

  const series = (name: MetricName, labels: Readonly<Record<string, string | number>>): Series => {
    const known = all.get(name) ?? new Map<string, Series>();
    all.set(name, known);
    const names: readonly string[] = METRICS[name].labels;
    let key = names.map((label) => `${label}="${escapeLabel(labels[label])}"`).join(',');
    if (!known.has(key) && known.size >= SERIES_MAX) key = names.map((label) => `${label}="other"`).join(',');
    const found = known.get(key) ?? {
      labels: key,
      value: 0,
      buckets: bucketsOf(name).map(() => 0),
      count: 0,
    };
    known.set(key, found);
    return found;
  };

  return {
    count(name, labels, by = 1) {
      if (by >= 0) series(name, labels).value += by;
    },
    set(name, labels, value) {
      series(name, labels).value = value;
    },
    observe(name, labels, seconds) {
      if (!Number.isFinite(seconds)) return;
      const one = series(name, labels);
      one.value += seconds;
      one.count += 1;
      for (const [index, bound] of bucketsOf(name).entries()) {
        if (seconds <= bound) one.buckets[index] = (one.buckets[index] ?? 0) + 1;
      }
    },
    collect(name, read) {
      reads.set(name, read);
    },
    render() {
      for (const [name, read] of reads) series(name, {}).value = read();
      return [...all].map(([name, known]) => renderMetric(name, [...known.values()])).join('');
    },
  };
}

function bucketsOf(name: MetricName): readonly number[] {
  const metric = METRICS[name];
  return metric.type === 'histogram' ? metric.buckets : [];
}

function renderMetric(name: MetricName, series: readonly Series[]): string {
  const { type, help } = METRICS[name];
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
  for (const { labels, value, buckets, count } of series) {
    const braces = labels === '' ? '' : `{${labels}}`;
    if (type !== 'histogram') {
      lines.push(`${name}${braces} ${value}`);
      continue;
    }
    const prefix = labels === '' ? '' : `${labels},`;
    for (const [index, bound] of bucketsOf(name).entries()) {
      lines.push(`${name}_bucket{${prefix}le="${bound}"} ${buckets[index] ?? 0}`);
    }
    lines.push(`${name}_bucket{${prefix}le="+Inf"} ${count}`);
    lines.push(`${name}_sum${braces} ${value}`, `${name}_count${braces} ${count}`);
  }
  return `${lines.join('\n')}\n`;
}

function escapeLabel(value: string | number | undefined): string {
  return String(value ?? '')
    .slice(0, LABEL_LENGTH_MAX)
    .replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`));
}
