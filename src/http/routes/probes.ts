/** Liveness, readiness, metrics. */
import { z } from 'zod';
import { CheckSchema, DUTIES } from '../../service/readiness.ts';
import { METRICS_CONTENT_TYPE } from '../../telemetry/metrics.ts';
import { type Route, rawResponse, route } from '../route.ts';
import type { Services } from './services.ts';

const Health = z.object({ status: z.literal('alive') }).meta({ id: 'Health' });
const Stuck = z
  .object({ status: z.literal('stuck'), detail: z.string().meta({ description: 'What no longer turns' }) })
  .meta({ id: 'Stuck' });
const Readiness = z
  .object({
    ready: z.boolean(),
    durability: z.string().meta({ description: 'What an acknowledged event survives' }),
    cannot: z.array(z.enum(DUTIES)).meta({ description: 'What this process cannot do now, by name' }),
    checks: z.array(CheckSchema),
  })
  .meta({ id: 'Readiness' });

export const probeRoutes = ({ alive, ready, metrics, look }: Services): Route[] => [
  route({
    method: 'GET',
    path: '/healthz',
    summary: 'Can the process make progress? Where not, restart it',
    tags: ['probes'],
    open: true,
    responses: { 200: Health, 503: Stuck },
    handler: async () => {
      const state = alive();
      return state.alive
        ? { status: 200, body: { status: 'alive' as const } }
        : { status: 503, body: { status: 'stuck' as const, detail: state.stuck } };
    },
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
    handler: async () => {
      await look();
      return { status: 200, body: metrics.render() };
    },
  }),
];
