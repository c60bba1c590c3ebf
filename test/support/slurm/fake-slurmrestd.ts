/** A slurmrestd that answers as it is told, in the shapes of 22.05 or 24.11; it keeps what it was asked. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

export interface FakeJob {
  jobId: number;
  state: string[];
  name?: string;
  user?: string;
  submittedAtS?: number;
  startedAtS?: number;
  restarts?: number;
  arrayJobId?: number;
  held?: boolean;
  /** Whatever is accepted, it goes on. */
  stubborn?: boolean;
  /** Ends on a signal too, not only on a cancel. */
  keen?: boolean;
}

export type FakeAnswer = { status?: number; body: string } | 'hang' | 'reset' | 'as usual';

export interface FakeSlurmrestd {
  url: string;
  jobs: FakeJob[];
  /** `METHOD path` of each request, without the version. */
  asked: string[];
  tokens: string[];
  /** In place of the usual answer to such a request. */
  answer: (asked: string) => FakeAnswer;
  /** Requests end the jobs that are not stubborn. */
  obeys: boolean;
  close(): Promise<void>;
}

export async function startFakeSlurmrestd(version: 'v0.0.38' | 'v0.0.42'): Promise<FakeSlurmrestd> {
  const old = version === 'v0.0.38';
  const number = (value: number) => (old ? value : { set: true, infinite: false, number: value });
  const shown = ({ jobId, state, name = 'run', user = 'ada', ...job }: FakeJob) => ({
    job_id: jobId,
    array_job_id: number(job.arrayJobId ?? 0),
    het_job_id: number(0),
    name,
    user_name: user,
    user_id: 1000,
    job_state: old ? state.join() : state,
    submit_time: number(job.submittedAtS ?? 1_000),
    start_time: number(job.startedAtS ?? 1_001),
    end_time: number(0),
    restart_cnt: job.restarts ?? 0,
    priority: number(job.held === true ? 0 : 1),
    node_count: number(2),
    tres_alloc_str: 'cpu=8,node=2,gres/gpu=16,gres/gpu:a100=16',
  });

  const fake: FakeSlurmrestd = {
    url: '',
    jobs: [],
    asked: [],
    tokens: [],
    answer: () => 'as usual',
    obeys: false,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };

  function usual(method: string, path: string): [number, unknown] {
    const unknown = { error_number: 2017, error: 'Invalid job id specified' };
    if (path.startsWith('jobs')) return [200, { errors: [], jobs: fake.jobs.map(shown) }];
    const jobId = Number(/^job\/(\d+)/.exec(path)?.[1]);
    const jobs = fake.jobs.filter((job) => job.jobId === jobId || job.arrayJobId === jobId);
    if (method === 'GET' && jobs.length > 0) return [200, { errors: [], jobs: jobs.map(shown) }];
    if (method === 'GET') return [old ? 500 : 404, { errors: [unknown], jobs: [] }];
    if (method === 'DELETE' && fake.obeys) {
      const isCancel = !path.endsWith('=TERM');
      for (const job of jobs) {
        if (job.stubborn !== true && (isCancel || job.keen === true)) job.state = ['CANCELLED'];
      }
    }
    if (jobs.length > 0) return [200, { errors: [], status: [] }];
    return old ? [500, { errors: [unknown] }] : [200, { errors: [], status: [{ error: { code: 2017 } }] }];
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    const [, base, stated, ...rest] = (request.url ?? '').split('/');
    request.resume().on('end', () => {
      if (base !== 'slurm' || stated !== version) {
        response.writeHead(404, { 'content-type': 'text/plain' }).end('Unable find requested URL.');
        return;
      }
      const { method = '' } = request;
      const path = rest.join('/');
      fake.asked.push(`${method} ${path}`);
      fake.tokens.push(String(request.headers['x-slurm-user-token']));
      const answer = fake.answer(`${method} ${path}`);
      if (answer === 'hang') return;
      if (answer === 'reset') {
        request.socket.resetAndDestroy();
        return;
      }
      if (answer === 'as usual') {
        const [status, body] = usual(method, path);
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
        return;
      }
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' }).end(answer.body);
    });
  }

  const server = createServer(onRequest);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  fake.url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  return fake;
}
