/**
 * A stand-in for Ray's dashboard: the Jobs REST API as its sources and our notes describe it, on a free loopback port.
 *
 * Ray itself is not on npm or in Debian, so these tests do not meet it. Kept from it: the paths (the list only with its
 * slash at the end), ids of drivers and of submissions in one namespace, texts and statuses of refusals, a stop that
 * answers before anything has stopped, STOPPED written after a grace, DELETE for ended jobs only, the shared token.
 * Not kept: logs, packages, agents, actors.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export type RayStatus = 'PENDING' | 'RUNNING' | 'STOPPED' | 'SUCCEEDED' | 'FAILED';

interface Job {
  type: 'SUBMISSION' | 'DRIVER';
  status: RayStatus;
  metadata: Record<string, string> | null;
  /** Takes the stop and goes on. */
  stubborn: boolean;
  /** Its supervisor is not there yet: a stop finds nobody. */
  unsupervised: boolean;
}

export type RayFault =
  | { kind: 'answer'; status: number; body: string; headers?: Record<string, string> }
  | { kind: 'hang' }
  | { kind: 'reset' };

export interface RayJobsServer {
  readonly url: string;
  readonly requests: { method: string; path: string; headers: IncomingMessage['headers'] }[];
  /** Stops of submissions that exist. */
  readonly stops: string[];
  readonly waiting: number;
  submit(id: string, more?: Partial<Job>): void;
  driver(jobId: string, metadata: Record<string, string>): void;
  set(id: string, more: Partial<Job>): void;
  status(id: string): RayStatus | null;
  remove(id: string): void;
  /** The token that counts from now on; null: none is asked for. */
  requireToken(token: string | null): void;
  /** A proxy that lets reading through and nothing else. */
  readOnly(isReadOnly: boolean): void;
  /** In place of every answer, or of those to the paths it fits. */
  fail(fault: RayFault | null, where?: RegExp): void;
  openConnections(): number;
  close(): Promise<void>;
}

/** Where Ray waits up to three seconds between SIGTERM and the status. */
const STOP_MS = 40;

export async function startRayJobsServer(): Promise<RayJobsServer> {
  const jobs = new Map<string, Job>();
  const requests: RayJobsServer['requests'] = [];
  const stops: string[] = [];
  const sockets = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();
  let token: string | null = null;
  let isReadOnly = false;
  let fault: { fault: RayFault; where: RegExp } | null = null;
  let waiting = 0;

  const text = (response: ServerResponse, status: number, body: string): ServerResponse =>
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(body);
  const json = (response: ServerResponse, value: unknown): ServerResponse =>
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(value));

  function document(id: string, { type, status, metadata }: Job): object {
    const isLive = status === 'PENDING' || status === 'RUNNING';
    return {
      type,
      job_id: type === 'DRIVER' ? id : null,
      submission_id: type === 'DRIVER' ? null : id,
      driver_info: null,
      status,
      entrypoint: 'python train.py --api-key RAYJOBSECRET',
      message: status === 'FAILED' ? 'last available logs: RAYJOBSECRET' : null,
      error_type: null,
      start_time: 1_800_000_000_000,
      end_time: isLive ? null : 1_800_000_100_000,
      metadata,
      runtime_env: { env_vars: { WANDB_API_KEY: 'RAYJOBSECRET' } },
      driver_agent_http_address: 'http://127.0.0.1:52365',
      driver_node_id: null,
      driver_exit_code: isLive ? null : 0,
    };
  }

  function stopJob(id: string, response: ServerResponse): ServerResponse {
    const job = jobs.get(id);
    if (job === undefined) return text(response, 404, `Job ${id} does not exist`);
    if (job.type === 'DRIVER') return text(response, 400, 'Can only stop submission type jobs');
    stops.push(id);
    const isSupervised = !job.unsupervised && (job.status === 'PENDING' || job.status === 'RUNNING');
    if (isSupervised && !job.stubborn) {
      const timer = setTimeout(() => {
        timers.delete(timer);
        job.status = 'STOPPED';
      }, STOP_MS);
      timers.add(timer);
    }
    return json(response, { stopped: isSupervised });
  }

  function route(method: string, path: string, response: ServerResponse): ServerResponse {
    if (method === 'GET' && path === '/api/version') {
      return json(response, {
        version: '4',
        ray_version: '2.52.0',
        ray_commit: 'x',
        session_name: 'session',
      });
    }
    if (method === 'GET' && path === '/api/jobs/') {
      return json(
        response,
        [...jobs].map(([id, job]) => document(id, job)),
      );
    }
    const [, encoded = '', stop] = /^\/api\/jobs\/([^/]+)(\/stop)?$/.exec(path) ?? [];
    const id = decodeURIComponent(encoded);
    if (id === '') return text(response, 404, '404: Not Found');
    if (stop !== undefined)
      return method === 'POST' ? stopJob(id, response) : text(response, 405, '405: Method Not Allowed');
    const job = jobs.get(id);
    if (job === undefined) return text(response, 404, `Job ${id} does not exist`);
    if (method === 'GET') return json(response, document(id, job));
    if (method !== 'DELETE') return text(response, 405, '405: Method Not Allowed');
    if (job.status === 'PENDING' || job.status === 'RUNNING') {
      return text(
        response,
        500,
        'Traceback (most recent call last):\n  RuntimeError: in a non-terminal state',
      );
    }
    jobs.delete(id);
    return json(response, { deleted: true });
  }

  const server = createServer((request, response) => answer(request, response));

  function answer(request: IncomingMessage, response: ServerResponse): ServerResponse | undefined {
    const { method = '', url = '', headers } = request;
    const path = url.split('?')[0] ?? '';
    request.resume();
    requests.push({ method, path, headers });
    if (fault?.where.test(`${method} ${path}`)) {
      if (fault.fault.kind === 'hang') {
        waiting += 1;
        return undefined;
      }
      if (fault.fault.kind === 'reset') {
        response.socket?.resetAndDestroy();
        return undefined;
      }
      return response.writeHead(fault.fault.status, fault.fault.headers).end(fault.fault.body);
    }
    const given = headers.authorization ?? headers['x-ray-authorization'];
    if (token !== null && given === undefined)
      return text(response, 401, 'Unauthorized: Missing authentication token');
    if (token !== null && given !== `Bearer ${token}`)
      return text(response, 403, 'Forbidden: Invalid authentication token');
    if (isReadOnly && method !== 'GET') {
      return response.writeHead(403, { 'content-type': 'text/html' }).end('<html>403 Forbidden</html>');
    }
    return route(method, path, response);
  }

  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    stops,
    get waiting() {
      return waiting;
    },
    submit(id, more = {}) {
      jobs.set(id, {
        type: 'SUBMISSION',
        status: 'RUNNING',
        metadata: null,
        stubborn: false,
        unsupervised: false,
        ...more,
      });
    },
    driver(jobId, metadata) {
      jobs.set(jobId, { type: 'DRIVER', status: 'RUNNING', metadata, stubborn: false, unsupervised: false });
    },
    set(id, more) {
      const job = jobs.get(id);
      if (job === undefined) throw new Error(`there is no job ${id}`);
      Object.assign(job, more);
    },
    status: (id) => jobs.get(id)?.status ?? null,
    remove: (id) => void jobs.delete(id),
    requireToken(next) {
      token = next;
    },
    readOnly(next) {
      isReadOnly = next;
    },
    fail(next, where = /./) {
      fault = next === null ? null : { fault: next, where };
    },
    openConnections: () => sockets.size,
    close() {
      for (const timer of timers) clearTimeout(timer);
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
  };
}
