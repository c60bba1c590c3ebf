/**
 * The stand-in for Ray answers as Ray does, as far as that can be read: each row names the file of github.com/ray-project/ray
 * (below python/ray/dashboard) that it was taken from, in November 2026. Where Ray changes, this is the list to go through.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type RayJobsServer, startRayJobsServer } from '../support/ray-jobs-server.ts';

let ray: RayJobsServer;
beforeEach(async () => {
  ray = await startRayJobsServer();
  ray.submit('run-7', { metadata: { interlock_run: 'gpt-next' } });
  ray.submit('waiting', { status: 'PENDING' });
  ray.submit('done', { status: 'SUCCEEDED' });
  ray.submit('broken', { status: 'FAILED' });
  ray.submit('stopped', { status: 'STOPPED' });
  ray.driver('0a000000', {});
});
afterEach(() => ray.close());

async function ask(method: string, path: string, headers: Record<string, string> = {}) {
  const answer = await fetch(`${ray.url}${path}`, { method, headers });
  const text = await answer.text();
  const type = answer.headers.get('content-type') ?? '';
  return { status: answer.status, body: type.startsWith('application/json') ? JSON.parse(text) : text };
}

describe('the stand-in for Ray', () => {
  test.each<[string, string, number, unknown, string]>([
    ['GET', '/api/version', 200, { version: '4', ray_version: expect.any(String) }, 'modules/version.py'],
    ['GET', '/api/jobs', 404, '404: Not Found', 'modules/job/job_head.py: the route ends in a slash'],
    ['GET', '/api/jobs/nobody', 404, 'Job nobody does not exist', 'modules/job/job_head.py'],
    ['POST', '/api/jobs/nobody/stop', 404, 'Job nobody does not exist', 'modules/job/job_head.py'],
    ['DELETE', '/api/jobs/nobody', 404, 'Job nobody does not exist', 'modules/job/job_head.py'],
    ['POST', '/api/jobs/0a000000/stop', 400, 'Can only stop submission type jobs', 'modules/job/job_head.py'],
    ['DELETE', '/api/jobs/0a000000', 400, 'Can only delete submission type jobs', 'modules/job/job_head.py'],
    [
      'POST',
      '/api/jobs/run-7/stop',
      200,
      { stopped: true },
      'modules/job/job_manager.py: its supervisor is there',
    ],
    [
      'POST',
      '/api/jobs/waiting/stop',
      200,
      { stopped: true },
      'modules/job/job_manager.py: so it is while pending',
    ],
    ['POST', '/api/jobs/done/stop', 200, { stopped: false }, 'modules/job/job_manager.py: it has gone'],
    ['DELETE', '/api/jobs/done', 200, { deleted: true }, 'modules/job/job_manager.py'],
    ['DELETE', '/api/jobs/run-7', 500, expect.stringContaining('non-terminal'), 'modules/job/job_manager.py'],
    ['PATCH', '/api/jobs/run-7', 405, '405: Method Not Allowed', 'modules/job/job_head.py: GET and DELETE'],
  ])('%s %s is %i', async (method, path, status, body) => {
    const answer = await ask(method, path);
    expect(answer.status).toBe(status);
    if (typeof body === 'object') expect(answer.body).toMatchObject(body ?? {});
    else expect(answer.body).toEqual(body);
  });

  // modules/job/pydantic_models.py names the fields, job_supervisor.py when they are written.
  test.each([
    ['run-7', { type: 'SUBMISSION', status: 'RUNNING', end_time: null, driver_exit_code: null }],
    ['waiting', { job_id: null, driver_info: null, driver_agent_http_address: null, driver_node_id: null }],
    ['done', { status: 'SUCCEEDED', end_time: expect.any(Number), driver_exit_code: 0 }],
    ['broken', { status: 'FAILED', driver_exit_code: 1, error_type: 'JOB_ENTRYPOINT_COMMAND_ERROR' }],
    ['stopped', { status: 'STOPPED', end_time: expect.any(Number), driver_exit_code: null }],
    ['0a000000', { type: 'DRIVER', job_id: '0a000000', submission_id: null, status: 'RUNNING' }],
  ])('says of %s what Ray does', async (id, fields) => {
    expect((await ask('GET', `/api/jobs/${id}`)).body).toMatchObject(fields);
  });

  test('knows a submission by the id of its driver too, and stops it by that (modules/job/utils.py)', async () => {
    const { body } = await ask('GET', '/api/jobs/run-7');
    expect(body).toMatchObject({ submission_id: 'run-7', driver_info: { id: body.job_id } });
    expect((await ask('GET', `/api/jobs/${body.job_id}`)).body).toEqual(body);
    expect((await ask('POST', `/api/jobs/${body.job_id}/stop`)).body).toEqual({ stopped: true });
    await vi.waitFor(() => expect(ray.status('run-7')).toBe('STOPPED'));
  });

  test('lists submissions, then drivers (modules/job/job_head.py)', async () => {
    ray.submit('late');
    const { body } = await ask('GET', '/api/jobs/');
    expect(body.map(({ type }: { type: string }) => type)).toEqual([
      ...Array(6).fill('SUBMISSION'),
      'DRIVER',
    ]);
  });

  test('takes a stop while the supervisor of an ended job is still there, and its state stays (job_manager.py)', async () => {
    ray.set('done', { lingering: true });
    expect((await ask('POST', '/api/jobs/done/stop')).body).toEqual({ stopped: true });
    expect((await ask('GET', '/api/jobs/done')).body).toMatchObject({ status: 'SUCCEEDED' });
  });

  // ../_private/authentication/http_token_authentication.py; the order of the two headers is its.
  test.each<[string, Record<string, string>, number]>([
    ['none', {}, 401],
    ['a wrong one', { authorization: 'Bearer wrong' }, 403],
    ['the right one', { authorization: 'Bearer right' }, 200],
    ["the right one in Ray's own header", { 'x-ray-authorization': 'Bearer right' }, 200],
    [
      'a wrong one before the right one',
      { authorization: 'Bearer no', 'x-ray-authorization': 'Bearer right' },
      403,
    ],
  ])('where a token is asked for, %s is answered with %3$i', async (_name, headers, status) => {
    ray.requireToken('right');
    expect((await ask('GET', '/api/version', headers)).status).toBe(status);
  });

  test('keeps browsers from posting (http_server_head.py)', async () => {
    const answer = await ask('POST', '/api/jobs/run-7/stop', { 'user-agent': 'Mozilla/5.0' });
    expect(answer).toEqual({ status: 405, body: 'Method Not Allowed for browser traffic.' });
    expect(ray.stops).toEqual([]);
  });
});
