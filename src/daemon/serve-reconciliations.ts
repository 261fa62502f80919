import { approveReconciliation } from '../reconciliation/approve-reconciliation.ts';
import { registerReconciliationApproval } from '../reconciliation/reconciliation-approval-routes.ts';
import { registerReconciliations } from '../reconciliation/reconciliations-routes.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import type { JobParts } from './job-parts.ts';
import { reconciliationDeps } from './reconciliation-deps.ts';

/** Reconciliation runs, and the decisions about what they left waiting. */
export function reconciliationRoutes(jobs: JobParts, queue: JobQueue): RouteRegistrar[] {
  const { stores } = jobs;
  return [
    (app) =>
      registerReconciliations(app, {
        listReconciliations: (query) => stores.reconciliations.listRuns(query),
        findReconciliation: (id) => stores.reconciliations.findRun(id),
        listComparisons: (query) => stores.reconciliations.listRows(query),
      }),
    (app) =>
      registerReconciliationApproval(app, {
        approve: async (input) => {
          const result = await approveReconciliation(reconciliationDeps(jobs), input);
          if (result.applied > 0) {
            // What was made is due in MongoDB: without the bell the sweep sends it within a minute.
            queue.ring('submit-meter-events');
          }
          return result;
        },
      }),
  ];
}
