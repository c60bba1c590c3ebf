/** All resources of the service. */
import type { Route } from '../route.ts';
import { armingRoutes } from './arming.ts';
import { breakthroughRoutes } from './breakthroughs.ts';
import { checkpointRoutes } from './checkpoints.ts';
import { drillRoutes } from './drills.ts';
import { estimateRoutes } from './estimates.ts';
import { evaluationRoutes } from './evaluations.ts';
import { evidenceRoutes } from './evidence.ts';
import { forecastRoutes } from './forecasts.ts';
import { governanceRoutes } from './governance.ts';
import { haltRoutes } from './halts.ts';
import { ledgerRoutes } from './ledger.ts';
import { mayStartRoutes } from './may-start.ts';
import { outsideRoutes } from './outside.ts';
import { probeRoutes } from './probes.ts';
import { quarantineRoutes } from './quarantine.ts';
import { runRoutes } from './runs.ts';
import type { Services } from './services.ts';
import { signInRoutes } from './sign-in.ts';
import { statusPageRoutes } from './status-page.ts';

export type { Services } from './services.ts';
export { probeRoutes };

export const routesOf = (services: Services): Route[] => [
  ...runRoutes(services),
  ...armingRoutes(services),
  ...mayStartRoutes(services),
  ...checkpointRoutes(services),
  ...breakthroughRoutes(services),
  ...evaluationRoutes(services),
  ...haltRoutes(services),
  ...quarantineRoutes(services),
  ...drillRoutes(services),
  ...governanceRoutes(services),
  ...estimateRoutes(services),
  ...evidenceRoutes(services),
  ...outsideRoutes(services),
  ...forecastRoutes(services),
  ...ledgerRoutes(services),
  ...probeRoutes(services),
  ...statusPageRoutes(services),
  ...signInRoutes(services),
];
