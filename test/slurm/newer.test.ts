import { describeCluster } from './describe-cluster.ts';

describeCluster('24.11', ['v0.0.40', 'v0.0.41', 'v0.0.42']);
