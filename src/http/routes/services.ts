/** What the routes are given: the service layer, and nothing that reaches around it. */

import type { DrillResult } from '../../domain/run/halt-documents.ts';
import type { EvaluationProgressStore } from '../../ledger/evaluation-progress.ts';
import type { SignedHeads } from '../../ledger/heads.ts';
import type { Ledger } from '../../ledger/ledger.ts';
import type { ProgressStore } from '../../ledger/progress.ts';
import type { Evidence } from '../../service/evidence.ts';
import type { Heartbeats } from '../../service/heartbeats.ts';
import type { Intake } from '../../service/intake.ts';
import type { Liveness } from '../../service/liveness.ts';
import type { Readiness } from '../../service/readiness.ts';
import type { RedButtonService } from '../../service/red-button.ts';
import type { RestoreGuard } from '../../service/restore-guard.ts';
import type { LoadedRun, RunService } from '../../service/run-service.ts';
import type { WeightsGuard } from '../../service/weights-guard.ts';
import type { PublicJwks } from '../../signing/keyring.ts';
import type { TokenSigner } from '../../signing/tokens.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Authenticated } from '../authentication.ts';
import type { Sessions } from '../sessions.ts';

export interface Services {
  readonly runs: RunService;
  readonly ledger: Ledger;
  readonly heads: SignedHeads;
  readonly guard: Pick<RestoreGuard, 'accept'>;
  readonly progress: ProgressStore;
  readonly evaluationProgress: Pick<EvaluationProgressStore, 'ofRun'>;
  readonly signer: TokenSigner;
  readonly clock: () => Date;
  readonly metrics: Metrics;
  /** Brings the gauges up to date that need a look at database and queue; bounded, never throws. */
  readonly look: () => Promise<void>;
  readonly redButton: RedButtonService;
  /** Enters what waits in the spools of the red button now; never throws. */
  readonly enterPresses: () => Promise<void>;
  /** Orders of a press may be on their way that the ledger does not know yet. */
  readonly pressesWait: () => boolean;
  readonly jwks: () => PublicJwks;
  readonly heartbeats: Heartbeats;
  readonly intake: Intake;
  /** Rehearses every step of every target of a run; nothing is halted by it. */
  readonly drill: (loaded: LoadedRun, drillId: string, reason: string) => Promise<DrillResult[]>;
  /** Until when runs are registered in shadow; null while the deployment is armed. */
  readonly shadowUntil: () => string | null;
  readonly modelRoots: readonly string[];
  /** Null where no logs are kept. */
  readonly evidence: Evidence | null;
  /** Null where weights are not looked at. */
  readonly weights: Pick<WeightsGuard, 'lookSoon'> | null;
  /** The public keys of an outside evaluator; null where no identity of that id is one. */
  readonly partyKeys: (id: string) => readonly string[] | null;
  readonly alive: () => Liveness;
  readonly ready: () => Promise<Readiness>;
  /** The status page: open where the service listens on loopback only, and how a person signs in elsewhere. */
  readonly page: {
    readonly isOpen: boolean;
    readonly publicUrl: string | null;
    readonly sessions: Sessions;
    readonly signIn: (token: string) => Promise<Authenticated | null>;
  };
}
