import { describeCluster } from './describe-cluster.ts';

describeCluster('22.05', ['v0.0.38']);
