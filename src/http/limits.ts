/**
 * Every limit of the HTTP server in one table. Fastify's and Node's defaults suppose a proxy in front;
 * these do not.
 */
import { LOAD_LIMITS, type LoadLimits } from './load.ts';
import { RATE_LIMITS, type RateLimits } from './rate-limits.ts';
import { STREAM_LIMITS, type StreamLimits } from './sse.ts';

export interface HttpLimits {
  bodyLimitBytes: number;
  /** Receiving the whole request, head and body. */
  requestTimeoutMs: number;
  headersTimeoutMs: number;
  /** How often Node looks for requests that are over their time. */
  connectionsCheckIntervalMs: number;
  /** A socket on which nothing moves. */
  connectionTimeoutMs: number;
  /** From the request's head to its answer. What a handler does after that goes on, and answers nobody. */
  handlerTimeoutMs: number;
  keepAliveTimeoutMs: number;
  requestsPerSocketMax: number;
  connectionsMax: number;
  /**
   * Connections that the kernel keeps until they are accepted, at most net.core.somaxconn: one is accepted per turn of
   * the event loop, and beyond these newcomers are dropped, or cut off with their request sent.
   */
  backlog: number;
  headerBytesMax: number;
  /** What is still being answered this long after closing began is cut off. */
  closeGraceMs: number;
  paramLengthMax: number;
  load: LoadLimits;
  rates: RateLimits;
  streams: StreamLimits;
}

export const HTTP_LIMITS: HttpLimits = {
  bodyLimitBytes: 64 * 1024,
  requestTimeoutMs: 10_000,
  headersTimeoutMs: 10_000,
  connectionsCheckIntervalMs: 1_000,
  connectionTimeoutMs: 15_000,
  handlerTimeoutMs: 10_000,
  keepAliveTimeoutMs: 10_000,
  requestsPerSocketMax: 1_000,
  connectionsMax: 2_000,
  backlog: 4_096,
  headerBytesMax: 8 * 1024,
  closeGraceMs: 12_000,
  paramLengthMax: 128,
  load: LOAD_LIMITS,
  rates: RATE_LIMITS,
  streams: STREAM_LIMITS,
};
