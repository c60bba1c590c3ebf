import { describeWorkQueue } from './work-queue-contract.ts';
import { memoryTarget } from './work-queue-targets.ts';

describeWorkQueue('memory (the fake)', async () => memoryTarget());
