import { answer } from '../answer.ts';
import { expand, pageFields } from '../parameters.ts';
import type { Fields } from '../parameters.ts';
import type { Route } from '../route.ts';
import type { Subscriptions } from './subscriptions.ts';

const url = '/v1/subscriptions';
const prorations = { kind: 'choice', of: ['always_invoice', 'create_prorations', 'none'] } as const;
const item: Fields = {
  price: { kind: 'text' },
  quantity: { kind: 'integer', min: 0 },
};
const description: Fields = {
  cancel_at: { kind: 'text' },
  cancel_at_period_end: { kind: 'boolean' },
  collection_method: { kind: 'choice', of: ['charge_automatically', 'send_invoice'] },
  days_until_due: { kind: 'integer', min: 0 },
  default_payment_method: { kind: 'text' },
  description: { kind: 'text', max: 500 },
  metadata: { kind: 'map' },
  proration_behavior: prorations,
  trial_end: { kind: 'text' },
  ...expand,
};
const createFields: Fields = {
  customer: { kind: 'text', required: true },
  items: { kind: 'groups', fields: item, required: true },
  backdate_start_date: { kind: 'integer' },
  billing_cycle_anchor: { kind: 'integer' },
  trial_period_days: { kind: 'integer' },
  ...description,
};
const updateFields: Fields = {
  items: {
    kind: 'groups',
    fields: { id: { kind: 'text' }, deleted: { kind: 'boolean' }, clear_usage: { kind: 'boolean' }, ...item },
  },
  billing_cycle_anchor: {
    kind: 'group',
    fields: { type: { kind: 'choice', of: ['now', 'unchanged'], required: true } },
  },
  ...description,
};
const statuses = [
  'active',
  'all',
  'canceled',
  'ended',
  'incomplete',
  'incomplete_expired',
  'past_due',
  'paused',
  'trialing',
  'unpaid',
];

export function subscriptionRoutes(subscriptions: Subscriptions): Route[] {
  const byId = `${url}/{id}`;
  return [
    {
      name: `POST ${url}`,
      parameters: createFields,
      run: ({ parameters }) => answer(subscriptions.create(parameters)),
    },
    {
      name: `GET ${url}`,
      parameters: {
        created: { kind: 'range' },
        customer: { kind: 'text' },
        price: { kind: 'text' },
        status: { kind: 'choice', of: statuses },
        ...pageFields,
      },
      run: ({ parameters }) => answer(subscriptions.list(parameters)),
    },
    { name: `GET ${byId}`, parameters: expand, run: ({ pathId }) => answer(subscriptions.retrieve(pathId)) },
    {
      name: `POST ${byId}`,
      parameters: updateFields,
      run: ({ pathId, parameters }) => answer(subscriptions.update(pathId, parameters)),
    },
    {
      name: `DELETE ${byId}`,
      parameters: {
        cancellation_details: { kind: 'group', fields: { comment: { kind: 'text' }, feedback: { kind: 'text' } } },
        invoice_now: { kind: 'boolean' },
        prorate: { kind: 'boolean' },
        ...expand,
      },
      run: ({ pathId, parameters }) => answer(subscriptions.cancel(pathId, parameters)),
    },
  ];
}
