/**
 * Metrics: every name in one table, and the Prometheus text they are read as.
 *
 * Labels are fixed per metric by type, and their values are short words of ours (a status, an outcome,
 * a configured name): never text from a caller. A metric that grows past a thousand series anyway
 * counts the rest under `other` rather than eating the process.
 * Unlabelled counters and histograms begin at 0 rather than with their first event, so that a rate sees the first one.
 * docs/metrics.md is the contract; a test compares. Own code rather than a client library: decision 0015 says why.
 */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const LONG_SECONDS = [1, 5, 15, 60, 300, 900, 3600, 7200, 21600];
const STOP_SECONDS = [0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600];

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
  interlock_process_start_time_seconds: gauge('When this process started, Unix time', []),
  interlock_process_resident_memory_bytes: gauge('Memory of this process', []),
  interlock_event_loop_delay_seconds: gauge('How late the event loop runs', []),
  interlock_clock_offset_seconds: gauge(
    'This clock minus that of the database; beyond 2 s either way the workers rest',
    [],
  ),
  interlock_http_requests_total: counter('Requests answered', ['method', 'route', 'status']),
  interlock_http_request_duration_seconds: histogram('Time to answer', ['method', 'route']),
  interlock_http_refusals_total: counter('Requests refused, by problem code', ['code', 'status']),
  interlock_authentication_failures_total: counter('Credentials refused', ['method', 'reason']),
  interlock_retiring_secret_uses_total: counter(
    'Messages signed with a webhook secret that is being retired',
    ['identity'],
  ),
  interlock_http_in_flight: gauge('Requests being answered', []),
  interlock_http_streams: gauge('Open event streams', []),
  interlock_checkpoints_total: counter('Checkpoints accepted and recorded', ['disposition']),
  interlock_heartbeats_total: counter('Heartbeats answered', ['directive']),
  interlock_permits_issued_total: counter('Permits issued', []),
  interlock_permits_refused_total: counter('Heartbeats that got no permit, by what was said instead', [
    'directive',
  ]),
  interlock_permits_lapsed: gauge(
    'Runs that may train and whose last permit has surely expired: no heartbeat for an hour',
    [],
  ),
  interlock_runs: gauge('Runs by what they may do', ['status']),
  interlock_holds_open: gauge('Holds that nobody has lifted yet', []),
  interlock_halts_open: gauge('Latched halts, by whether the stop is confirmed', ['stopped']),
  interlock_verdicts_total: counter('Verdicts reached', ['verdict']),
  interlock_evaluations_total: counter('Evaluation attempts ended', ['outcome']),
  interlock_evaluation_duration_seconds: histogram(
    'Time of an evaluation attempt',
    ['outcome'],
    LONG_SECONDS,
  ),
  interlock_evaluations_running: gauge('Evaluation attempts that run in this process', []),
  interlock_halts_total: counter('Halts ordered', ['cause']),
  interlock_would_have_halted_total: counter('Halts that a run in shadow was spared', ['cause']),
  interlock_would_have_held_total: counter('Holds that a run in shadow was spared', []),
  interlock_runs_in_shadow: gauge('Runs that are in shadow: nothing stops them but a person', []),
  interlock_shadow_until_timestamp_seconds: gauge(
    'Until when this deployment registers runs in shadow, Unix time; no sample while it is armed',
    [],
  ),
  interlock_halt_evidence_to_order_seconds: histogram(
    'From the result that made a halt due to the recorded order',
    [],
  ),
  interlock_halt_order_to_delivery_seconds: histogram(
    'From the recorded order to the first acceptance by a target',
    ['kind'],
  ),
  interlock_halt_order_to_stop_seconds: histogram(
    'From the recorded order, or from the reopening of a halt, to the confirmed stop',
    [],
    STOP_SECONDS,
  ),
  interlock_halt_steps_total: counter('Steps taken towards a stop', ['kind', 'outcome']),
  interlock_alert_deliveries_total: counter('Alerts sent', ['channel', 'outcome']),
  interlock_ledger_events_total: counter('Events appended by this process', ['kind']),
  interlock_ledger_size: gauge('Events in the ledger', []),
  interlock_signed_head_age_seconds: gauge('Since the ledger was last signed', []),
  interlock_signed_head_lag_events: gauge('Events that no signed head covers yet', []),
  interlock_identities_stale: gauge(
    '1 while the identities file as it stands is refused, and an older one in force',
    [],
  ),
  interlock_database_up: gauge('1 while the database answers', []),
  interlock_queue_up: gauge('1 while the store of the queue answers and meets every condition', []),
  interlock_queue_jobs: gauge('Jobs in the queue, by kind of work', ['kind', 'state']),
  interlock_outstanding_due: gauge('Work that the ledger called due at the last sweep', ['kind']),
  interlock_outstanding_not_queued: gauge(
    'Due work that was in no queue at the last sweep, beyond what runs without one',
    [],
  ),
  interlock_due_lag_seconds: gauge('How long the longest overdue run has been due; 0 when none is', []),
  interlock_reconcile_lag_seconds: gauge('Since the last pass of the reconciler', []),
  interlock_queue_refusals_total: counter('Work items that the queue refused or did not take in time', []),
  interlock_reconciler_sweeps_total: counter('Passes of the reconciler', []),
  interlock_reconciler_sweep_failures_total: counter('Passes of the reconciler that failed', []),
  interlock_reconciler_direct_runs_total: counter('Work items that the reconciler ran itself', []),
  interlock_button_up: gauge("1 while the red button's own process answers", []),
  interlock_button_restarts_total: counter("Times the red button's own process was started again", []),
  interlock_spool_orders: gauge('Presses of the red button that are not in the ledger yet', []),
} as const;

export type MetricName = keyof typeof METRICS;
type NamesOf<T extends string> = {
  [N in MetricName]: (typeof METRICS)[N]['type'] extends T ? N : never;
}[MetricName];
export type Labels<N extends MetricName> = { [L in (typeof METRICS)[N]['labels'][number]]: string | number };

export interface Sample<N extends MetricName> {
  readonly labels: Labels<N>;
  readonly value: number;
}

export interface Metrics {
  count<N extends NamesOf<'counter'>>(name: N, labels: Labels<N>, by?: number): void;
  set<N extends NamesOf<'gauge'>>(name: N, labels: Labels<N>, value: number): void;
  observe<N extends NamesOf<'histogram'>>(name: N, labels: Labels<N>, seconds: number): void;
  /** Asked for at each scrape; null where it is not known: then there is no sample, rather than an old one. */
  collect<N extends NamesOf<'gauge' | 'counter'>>(name: N, read: () => number | null): void;
  /** All series of a gauge at each scrape: what is not given any more is gone. */
  collectAll<N extends NamesOf<'gauge'>>(name: N, read: () => readonly Sample<N>[]): void;
  render(): string;
}

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** The contract, in its order: every name is exposed with its type, also while it has no sample. */
export const METRIC_NAMES: readonly MetricName[] = Object.keys(METRICS).filter(isMetricName);

function isMetricName(name: string): name is MetricName {
  return Object.hasOwn(METRICS, name);
}

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
  const reads = new Map<
    MetricName,
    () => readonly { labels: Readonly<Record<string, string | number>>; value: number }[]
  >();

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

  for (const name of METRIC_NAMES) {
    if (METRICS[name].type !== 'gauge' && METRICS[name].labels.length === 0) series(name, {});
  }

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
      reads.set(name, () => {
        const value = read();
        return value === null ? [] : [{ labels: {}, value }];
      });
    },
    collectAll(name, read) {
      reads.set(name, read);
    },
    render() {
      for (const [name, read] of reads) {
        all.delete(name);
        for (const { labels, value } of read()) series(name, labels).value = value;
      }
      return METRIC_NAMES.map((name) => renderMetric(name, [...(all.get(name)?.values() ?? [])])).join('');
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
      lines.push(`${name}${braces} ${figure(value)}`);
      continue;
    }
    const prefix = labels === '' ? '' : `${labels},`;
    for (const [index, bound] of bucketsOf(name).entries()) {
      lines.push(`${name}_bucket{${prefix}le="${bound}"} ${buckets[index] ?? 0}`);
    }
    lines.push(`${name}_bucket{${prefix}le="+Inf"} ${count}`);
    lines.push(`${name}_sum${braces} ${figure(value)}`, `${name}_count${braces} ${count}`);
  }
  return `${lines.join('\n')}\n`;
}

const figure = (value: number): string =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';

function escapeLabel(value: string | number | undefined): string {
  return String(value ?? '')
    .slice(0, LABEL_LENGTH_MAX)
    .replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`));
}
