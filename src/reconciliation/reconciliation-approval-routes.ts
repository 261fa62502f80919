import { Type } from 'typebox';
import { Actor, Instant, Reason } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

export interface ReconciliationApprovalDeps {
  /** Compares anew and carries out what waits. */
  approve(input: {
    id: string;
    actor: string;
    reason?: string;
    customerId?: string;
    meter?: string;
    acceptSurplus?: boolean;
    dryRun?: boolean;
  }): Promise<{
    readonly id?: string;
    readonly rows: readonly Row[];
    readonly left: readonly Row[];
    readonly applied: number;
  }>;
}

interface Row {
  readonly customerId: string;
  readonly meter: string;
  readonly periodFromMs: number;
  readonly plan: readonly object[];
}

const Path = Type.Object({ id: Type.String({ maxLength: 100 }) });
const Name = Type.String({ minLength: 1, maxLength: 255 });
const ApproveBody = Type.Object(
  {
    actor: Actor,
    reason: Type.Optional(Reason),
    customerId: Type.Optional(Name),
    meter: Type.Optional(Name),
    acceptSurplus: Type.Optional(
      Type.Boolean({ description: 'Takes back, too, what no submission of ours explains. It may be from elsewhere.' }),
    ),
    dryRun: Type.Optional(Type.Boolean({ description: 'Compares anew and shows what would be carried out.' })),
  },
  { additionalProperties: false },
);
const Plan = Type.Object({
  customerId: Type.String(),
  meter: Type.String(),
  periodStart: Instant,
  plan: Type.Array(Type.Unknown()),
});
const Approved = Type.Object({
  approvalId: Type.Optional(Type.String()),
  rows: Type.Array(Plan),
  left: Type.Array(Plan, {
    description: 'What is not carried out and waits on, above all a surplus that was not accepted.',
  }),
  applied: Type.Integer({ description: 'Corrections made.' }),
});

/** `POST /v1/reconciliations/{id}/approve`: a person decides about plans that wait. */
export function registerReconciliationApproval(app: App, deps: ReconciliationApprovalDeps): void {
  app.post(
    '/v1/reconciliations/:id/approve',
    {
      schema: {
        security: needs('admin'),
        operationId: 'approveReconciliation',
        summary: 'Carry out plans of a run that wait for a person.',
        description:
          'Each is compared with Stripe anew. If one is another plan now, nothing is carried out: 409 `plan_changed`.',
        tags: ['reconciliations'],
        params: Path,
        body: ApproveBody,
        response: { 200: Approved, default: problemResponse },
      },
    },
    async (request) => {
      const { id, rows, left, applied } = await deps.approve({ ...request.body, id: request.params.id });
      return {
        ...(id !== undefined && { approvalId: id }),
        rows: rows.map(toReply),
        left: left.map(toReply),
        applied,
      };
    },
  );
}

function toReply({ periodFromMs, plan, ...row }: Row): Omit<Row, 'periodFromMs' | 'plan'> & {
  periodStart: string;
  plan: object[];
} {
  return { ...row, plan: [...plan], periodStart: new Date(periodFromMs).toISOString() };
}
