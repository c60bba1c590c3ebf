import { afterAll, beforeAll } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { describeWorkQueue } from './work-queue-contract.ts';
import { postgresTarget } from './work-queue-targets.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await startTestDatabase();
});
afterAll(() => database.close());

describeWorkQueue('PostgreSQL', () => postgresTarget(database));
