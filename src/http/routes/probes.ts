/** Liveness, readiness, metrics. */
import { z } from 'zod';
import { CheckSchema } from '../../service/readiness.ts';
import { METRICS_CONTENT_TYPE } from '../../telemetry/metrics.ts';
import { type Route, rawResponse, route } from '../route.ts';
import type { Services } from './services.ts';

const Health = z.object({ status: z.literal('alive') }).meta({ id: 'Health' });
const Readiness = z
  .object({
    ready: z.boolean(),
    durability: z.string().meta({ description: 'What an acknowledged event survives' }),
    checks: z.array(CheckSchema),
  })
  .meta({ id: 'Readiness' });

export const probeRoutes = ({ ready, metrics }: Services): Route[] => [
  route({
    method: 'GET',
    path: '/healthz',
    summary: 'Is the process alive?',
    tags: ['probes'],
    open: true,
    responses: { 200: Health },
    handler: async () => ({ status: 200, body: { status: 'alive' as const } }),
  }),
  route({
    method: 'GET',
    path: '/readyz',
    summary: 'Can it do its duty? Each check says what to do',
    tags: ['probes'],
    open: true,
    responses: { 200: Readiness, 503: Readiness },
    handler: async () => {
      const state = await ready();
      return { status: state.ready ? 200 : 503, body: state };
    },
  }),
  route({
    method: 'GET',
    path: '/metrics',
    summary: 'Prometheus metrics',
    tags: ['probes'],
    open: true,
    responses: { 200: rawResponse(METRICS_CONTENT_TYPE, 'Prometheus text') },
    handler: async () => ({ status: 200, body: metrics.render() }),
  }),
];
