/** Tracing is on where the environment names an OTLP endpoint; without one, not even the SDK is loaded. */
import type { Tracing } from './exporter.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export function tracingIsWanted(env: Environment): boolean {
  const isSet = (name: string): boolean => (env[name] ?? '') !== '';
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true') return false;
  const exporters = env['OTEL_TRACES_EXPORTER'] ?? 'otlp';
  if (!exporters.split(',').includes('otlp')) return false;
  return isSet('OTEL_EXPORTER_OTLP_ENDPOINT') || isSet('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT');
}

/** Null where it is not wanted. The SDK reads the variables of this process itself. */
export async function startTracing(
  env: Environment,
  logger: { info(fields: object, message: string): void; warn(fields: object, message: string): void },
): Promise<Tracing | null> {
  if (!tracingIsWanted(env)) return null;
  const { startExporting } = await import('./exporter.ts');
  logger.info({}, 'spans are sent to the OTLP endpoint of the environment');
  return startExporting(logger);
}
