import { Type } from 'typebox';
import { problemResponse } from '../platform/http/problem.ts';
import type { UnbilledUnknown } from '../reconciliation/unbilled-usage.ts';
import { type App, needs } from '../platform/http/route.ts';
import type { RefusedItems } from '../stripe/stripe-refusal.ts';
import { Instant } from '../platform/http/fields.ts';
import type { UnbilledReason } from '../customers/unbilled-reason.ts';

interface LastRun {
  readonly state: string;
  readonly endedAt?: string;
  /** Why it failed. */
  readonly error?: { readonly code: string; readonly message: string };
  /** What it went on without. */
  readonly refused?: RefusedItems;
  readonly failuresInARow?: number;
}

/** Where the pipeline stands. */
export interface Status {
  /** Of the process that answers. */
  readonly version: string;
  readonly installation: string;
  /** What waits for a human, each with what helps. */
  readonly needsReview: readonly {
    readonly area: string;
    readonly kind: string;
    readonly count: number;
    readonly reason?: string;
    readonly since?: string;
    readonly examples?: readonly string[];
    readonly what: string;
    readonly todo: string;
  }[];
  readonly journal: {
    readonly entries: number;
    readonly oldestOpenedAt?: string;
    /** What could not be derived, apart from all others. */
    readonly setAside?: { readonly customerHours: number; readonly oldestAt: string; readonly reason: string };
  };
  readonly submissions: readonly {
    readonly state: string;
    readonly count: number;
    readonly oldestPlannedAt?: string;
  }[];
  readonly blocked: readonly { readonly reason: string; readonly count: number }[];
  readonly lateUsage: readonly { readonly reason: string; readonly count: number; readonly oldestAt: string }[];
  /** Customers' meters with usage at Stripe that nothing bills. */
  readonly unbilled: {
    readonly reasons: readonly { readonly reason: UnbilledReason; readonly count: number }[];
    /** Those that are meant to be so. */
    readonly accepted: number;
    /** Why nothing can be said. */
    readonly unknown?: UnbilledUnknown;
    readonly checkedAt?: string;
    /** Up to when what happened to subscriptions and invoices is known. */
    readonly mirroredTo?: string;
  };
  readonly planDue: number;
  /** While a person has stopped submitting. */
  readonly paused?: { readonly pausedAt: string; readonly reason?: string };
  readonly uncountable: number;
  /** How the last run of each job over everything ended. */
  readonly lastRuns: Readonly<Record<string, LastRun>>;
  readonly rejectedEvents: number;
  /** Those that were removed because there were too many, the oldest first. */
  readonly rejectedEventsPruned?: { readonly count: number; readonly lastAt: string };
  /** What became of Stripe's deliveries, for each destination and outcome. */
  readonly webhooks: readonly {
    readonly destination: string;
    readonly outcome: string;
    readonly count: number;
    readonly firstAt: string;
    readonly lastAt: string;
  }[];
  readonly breaker?: string;
}

const StatusReply = Type.Object({
  version: Type.String(),
  installation: Type.String(),
  needsReview: Type.Array(
    Type.Object({
      area: Type.String({ description: 'The check of `tallystick doctor` that names it.' }),
      kind: Type.String(),
      count: Type.Integer(),
      reason: Type.Optional(Type.String()),
      since: Type.Optional(Instant),
      examples: Type.Optional(Type.Array(Type.String(), { description: 'Some of the ids concerned.' })),
      what: Type.String(),
      todo: Type.String({ description: 'The command or the step that helps.' }),
    }),
    { description: 'What waits for a human; empty when all is well.' },
  ),
  journal: Type.Object({
    entries: Type.Integer(),
    oldestOpenedAt: Type.Optional(Instant),
    setAside: Type.Optional(
      Type.Object(
        { customerHours: Type.Integer(), oldestAt: Instant, reason: Type.String() },
        { description: 'Customer-hours that cannot be derived. They are tried again in every run, after all others.' },
      ),
    ),
  }),
  submissions: Type.Array(
    Type.Object({ state: Type.String(), count: Type.Integer(), oldestPlannedAt: Type.Optional(Instant) }),
  ),
  blocked: Type.Array(Type.Object({ reason: Type.String(), count: Type.Integer() })),
  lateUsage: Type.Array(Type.Object({ reason: Type.String(), count: Type.Integer(), oldestAt: Instant }), {
    description: 'Usage that came too late for its invoice and waits for a decision.',
  }),
  unbilled: Type.Object(
    {
      reasons: Type.Array(Type.Object({ reason: Type.String(), count: Type.Integer() })),
      accepted: Type.Integer({ description: 'Those that are meant to be so: their customer has an unbilledReason.' }),
      unknown: Type.Optional(
        Type.String({
          description: 'not_checked, subscriptions_not_read, stripe_not_configured: nothing can be said.',
        }),
      ),
      checkedAt: Type.Optional(Instant),
      mirroredTo: Type.Optional(Instant),
    },
    { description: "Customers' meters with usage at Stripe that nothing bills; see GET /v1/unbilled-usage." },
  ),
  planDue: Type.Integer({ description: 'Windows and periods whose figure may not be planned yet.' }),
  paused: Type.Optional(
    Type.Object(
      { pausedAt: Instant, reason: Type.Optional(Type.String()) },
      { description: 'Submitting is paused: nothing is sent to Stripe.' },
    ),
  ),
  uncountable: Type.Integer({ description: 'Facts that a meter could not count.' }),
  lastRuns: Type.Record(
    Type.String(),
    Type.Object({
      state: Type.String(),
      endedAt: Type.Optional(Instant),
      failuresInARow: Type.Optional(
        Type.Integer({ description: 'Failed runs since one succeeded, if there are any.' }),
      ),
      error: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
      refused: Type.Optional(
        Type.Object(
          {
            count: Type.Integer(),
            first: Type.Array(Type.Object({ item: Type.String(), reason: Type.String(), message: Type.String() })),
          },
          { description: 'What the run went on without, because Stripe refused it.' },
        ),
      ),
    }),
    { description: 'The last run of each job over everything that ended; one over a single customer does not count.' },
  ),
  rejectedEvents: Type.Integer(),
  rejectedEventsPruned: Type.Optional(
    Type.Object(
      { count: Type.Integer(), lastAt: Instant },
      { description: 'Rejected events that were removed because more than 100,000 were kept, the oldest first.' },
    ),
  ),
  webhooks: Type.Array(
    Type.Object({
      destination: Type.String({ description: 'snapshot or thin' }),
      outcome: Type.String({ description: '`taken`, or the code of the refusal.' }),
      count: Type.Integer(),
      firstAt: Instant,
      lastAt: Instant,
    }),
    { description: "What became of Stripe's deliveries." },
  ),
  breaker: Type.Optional(Type.String()),
});

/** `/v1/status`: the pipeline at a glance. */
export function registerStatus(app: App, readStatus: () => Promise<Status>): void {
  app.get(
    '/v1/status',
    {
      schema: {
        security: needs('admin'),
        operationId: 'getStatus',
        summary: 'Where the pipeline stands: what waits, what is sent, what is stuck.',
        tags: ['operation'],
        response: { 200: StatusReply, default: problemResponse },
      },
    },
    async () => {
      const status = await readStatus();
      return {
        ...status,
        needsReview: status.needsReview.map(({ examples, ...item }) => ({
          ...item,
          ...(examples && { examples: [...examples] }),
        })),
        submissions: [...status.submissions],
        blocked: [...status.blocked],
        lateUsage: [...status.lateUsage],
        unbilled: { ...status.unbilled, reasons: [...status.unbilled.reasons] },
        webhooks: [...status.webhooks],
      };
    },
  );
}
