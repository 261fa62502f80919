import type { Stripe } from 'stripe';
import { answer, invalidRequest, missingResource } from './answer.ts';
import { paginate } from './pagination.ts';
import { expand, pageFields } from './parameters.ts';
import type { Fields, Parameters } from './parameters.ts';
import { nowSeconds } from './route.ts';
import type { Account, Route } from './route.ts';

type Meter = Stripe.Billing.Meter;

const url = '/v1/billing/meters';

const displayName: Fields = { display_name: { kind: 'text', max: 250 }, ...expand };

const createFields: Fields = {
  default_aggregation: {
    kind: 'group',
    fields: { formula: { kind: 'choice', of: ['count', 'last', 'sum'], required: true } },
    required: true,
  },
  display_name: { kind: 'text', max: 250, required: true },
  event_name: { kind: 'text', max: 100, required: true },
  customer_mapping: {
    kind: 'group',
    fields: {
      event_payload_key: { kind: 'text', max: 100, required: true },
      type: { kind: 'choice', of: ['by_id'], required: true },
    },
  },
  event_time_window: { kind: 'choice', of: ['day', 'hour'] },
  value_settings: {
    kind: 'group',
    fields: { event_payload_key: { kind: 'text', max: 100, required: true } },
  },
  ...expand,
};

/** The meters of the account: immutable but for their display name, one per event name, never deleted. */
export class Meters {
  readonly #account: Account;
  readonly #meters = new Map<string, Meter>();
  readonly #byEventName = new Map<string, Meter>();

  constructor(account: Account) {
    this.#account = account;
  }

  /** The meter of this id or event name, whatever its status. */
  find(idOrEventName: string): Meter | undefined {
    return this.#byEventName.get(idOrEventName) ?? this.#meters.get(idOrEventName);
  }

  /** "You can only use an event name with a single meter" (Stripe docs, Configure meters); an inactive one keeps it. */
  create(parameters: Parameters): Meter {
    const eventName = parameters.requiredText('event_name');
    if (this.#byEventName.has(eventName)) {
      throw invalidRequest(`A meter with event name ${eventName} already exists.`, { param: 'event_name' });
    }
    const meter = newMeter(this.#account, parameters);
    this.#meters.set(meter.id, meter);
    this.#byEventName.set(eventName, meter);
    return meter;
  }

  newest(): Meter | undefined {
    return [...this.#meters.values()].at(-1);
  }

  retrieve(id: string): Meter {
    const meter = this.#meters.get(id);
    if (meter === undefined) throw missingResource('billing meter', id);
    return meter;
  }

  rename(id: string, parameters: Parameters): Meter {
    const meter = this.retrieve(id);
    meter.display_name = parameters.text('display_name') ?? meter.display_name;
    meter.updated = nowSeconds(this.#account);
    return meter;
  }

  /** "When a meter is deactivated, no more meter events will be accepted for this meter" (Stripe API, Meters). */
  setStatus(id: string, status: 'active' | 'inactive'): Meter {
    const meter = this.retrieve(id);
    if (meter.status === status) throw invalidRequest(`The meter ${id} is already ${status}.`);
    meter.status = status;
    meter.updated = nowSeconds(this.#account);
    meter.status_transitions = { deactivated_at: status === 'inactive' ? meter.updated : null };
    return meter;
  }

  list(parameters: Parameters): Stripe.ApiList<Meter> {
    const status = parameters.text('status');
    const rows = [...this.#meters.values()].filter((meter) => status === undefined || meter.status === status);
    return paginate(rows.toReversed(), parameters, url);
  }
}

export function meterRoutes(meters: Meters): Route[] {
  const byId = `${url}/{id}`;
  return [
    { name: `POST ${url}`, parameters: createFields, run: ({ parameters }) => answer(meters.create(parameters)) },
    {
      name: `GET ${url}`,
      parameters: { status: { kind: 'choice', of: ['active', 'inactive'] }, ...pageFields },
      run: ({ parameters }) => answer(meters.list(parameters)),
    },
    { name: `GET ${byId}`, parameters: expand, run: ({ pathId }) => answer(meters.retrieve(pathId)) },
    {
      name: `POST ${byId}`,
      parameters: displayName,
      run: ({ pathId, parameters }) => answer(meters.rename(pathId, parameters)),
    },
    {
      name: `POST ${byId}/deactivate`,
      parameters: expand,
      run: ({ pathId }) => answer(meters.setStatus(pathId, 'inactive')),
    },
    {
      name: `POST ${byId}/reactivate`,
      parameters: expand,
      run: ({ pathId }) => answer(meters.setStatus(pathId, 'active')),
    },
  ];
}

function newMeter(account: Account, parameters: Parameters): Meter {
  const created = nowSeconds(account);
  const customerKey = parameters.group('customer_mapping').text('event_payload_key') ?? 'stripe_customer_id';
  return {
    id: account.random.id('mtr_test_', 28),
    object: 'billing.meter',
    created,
    customer_mapping: { event_payload_key: customerKey, type: 'by_id' },
    default_aggregation: { formula: parameters.group('default_aggregation').requiredText('formula') },
    display_name: parameters.requiredText('display_name'),
    event_name: parameters.requiredText('event_name'),
    event_time_window: parameters.text('event_time_window') ?? null,
    livemode: false,
    status: 'active',
    status_transitions: { deactivated_at: null },
    updated: created,
    value_settings: { event_payload_key: parameters.group('value_settings').text('event_payload_key') ?? 'value' },
  };
}
