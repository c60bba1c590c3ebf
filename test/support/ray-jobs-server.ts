/**
 * A stand-in for Ray's dashboard: the Jobs REST API as Ray's sources have it (read in November 2026; test/contract/
 * ray-stand-in.test.ts names what was found where), on a free loopback port.
 *
 * Ray itself is not on npm or in Debian, so these tests do not meet it. Kept from it: the paths (the list only with its
 * slash at the end), ids of drivers and of submissions in one namespace, a submission under the id of its driver too, texts
 * and statuses of refusals, a stop that answers before anything has stopped, STOPPED written after a grace, a supervisor
 * that is not there yet or still there, DELETE for ended submissions only, the shared token, browsers kept out.
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
  /** It has ended, and its supervisor is there for a moment more: a stop is taken, and changes nothing. */
  lingering: boolean;
  /** Ray's own id of the driver: of a submission, of the last one that it started. */
  driverId: string | null;
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

const isLive = (status: RayStatus): boolean => status === 'PENDING' || status === 'RUNNING';

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
  let drivers = 0;

  /** As Ray counts: 01000000, 02000000 and so on. */
  function nextDriverId(): string {
    drivers += 1;
    return `${drivers.toString(16).padStart(2, '0')}000000`;
  }

  const text = (response: ServerResponse, status: number, body: string): ServerResponse =>
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(body);
  const json = (response: ServerResponse, value: unknown): ServerResponse =>
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(value));

  function document(id: string, { type, status, metadata, driverId }: Job): object {
    const isSubmission = type === 'SUBMISSION';
    const hasRun = isSubmission && status !== 'PENDING';
    const exitCodes: Partial<Record<RayStatus, number>> = { SUCCEEDED: 0, FAILED: 1 };
    return {
      type,
      job_id: driverId,
      submission_id: isSubmission ? id : null,
      driver_info: driverId === null ? null : { id: driverId, node_ip_address: '127.0.0.1', pid: '4242' },
      status,
      entrypoint: 'python train.py --api-key RAYJOBSECRET',
      message: isSubmission ? `about it, and the end of its log: RAYJOBSECRET` : null,
      error_type: status === 'FAILED' ? 'JOB_ENTRYPOINT_COMMAND_ERROR' : null,
      start_time: 1_800_000_000_000,
      end_time: isLive(status) ? null : 1_800_000_100_000,
      metadata,
      runtime_env: { env_vars: { WANDB_API_KEY: 'RAYJOBSECRET' } },
      driver_agent_http_address: hasRun ? 'http://127.0.0.1:52365' : null,
      driver_node_id: hasRun ? '4e5a0f' : null,
      // Of a job that was stopped none is written.
      driver_exit_code: isSubmission ? (exitCodes[status] ?? null) : null,
    };
  }

  /** Drivers by their id first, then the submission that started the driver of this id, then the submission itself. */
  function find(asked: string): [string, Job] | null {
    const all = [...jobs];
    return (
      all.find(([id, job]) => id === asked && job.type === 'DRIVER') ??
      all.find(([, job]) => job.driverId === asked) ??
      all.find(([id]) => id === asked) ??
      null
    );
  }

  function stopJob(asked: string, response: ServerResponse): ServerResponse {
    const found = find(asked);
    if (found === null) return text(response, 404, `Job ${asked} does not exist`);
    const [id, job] = found;
    if (job.type === 'DRIVER') return text(response, 400, 'Can only stop submission type jobs');
    stops.push(id);
    const isSupervised = job.lingering || (!job.unsupervised && isLive(job.status));
    if (isSupervised && !job.stubborn && isLive(job.status)) {
      const timer = setTimeout(() => {
        timers.delete(timer);
        if (isLive(job.status)) job.status = 'STOPPED';
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
      const ofType = (type: Job['type']) => [...jobs].filter(([, job]) => job.type === type);
      const listed = [...ofType('SUBMISSION'), ...ofType('DRIVER')];
      return json(
        response,
        listed.map(([id, job]) => document(id, job)),
      );
    }
    const [, encoded = '', stop] = /^\/api\/jobs\/([^/]+)(\/stop)?$/.exec(path) ?? [];
    const id = decodeURIComponent(encoded);
    if (id === '') return text(response, 404, '404: Not Found');
    if (stop !== undefined)
      return method === 'POST' ? stopJob(id, response) : text(response, 405, '405: Method Not Allowed');
    const found = find(id);
    if (method !== 'GET' && method !== 'DELETE') return text(response, 405, '405: Method Not Allowed');
    if (found === null) return text(response, 404, `Job ${id} does not exist`);
    const [ownId, job] = found;
    if (method === 'GET') return json(response, document(ownId, job));
    if (job.type === 'DRIVER') return text(response, 400, 'Can only delete submission type jobs');
    if (isLive(job.status)) {
      return text(
        response,
        500,
        'Traceback (most recent call last):\n  RuntimeError: in a non-terminal state',
      );
    }
    jobs.delete(ownId);
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
    // Against pages that post to a dashboard on the reader's own machine.
    if (headers['user-agent']?.startsWith('Mozilla') === true && (method === 'POST' || method === 'PUT'))
      return text(response, 405, 'Method Not Allowed for browser traffic.');
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
        lingering: false,
        driverId: more.status === 'PENDING' ? null : nextDriverId(),
        ...more,
      });
    },
    driver(jobId, metadata) {
      jobs.set(jobId, {
        type: 'DRIVER',
        status: 'RUNNING',
        metadata,
        stubborn: false,
        unsupervised: false,
        lingering: false,
        driverId: jobId,
      });
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
