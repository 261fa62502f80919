import type { Stripe } from 'stripe';
import { invalidRequest } from './answer.ts';
import type { Answer, Refusal } from './answer.ts';
import type { Customers } from './customers.ts';
import { readDigits } from './decimal.ts';
import type { Meters } from './meters.ts';
import { expand } from './parameters.ts';
import { nowSeconds } from './route.ts';
import type { Account, Call, Route } from './route.ts';
import type { Usage } from './usage.ts';

/** Values have at most 15 significant digits since 2026-04-22.dahlia (Stripe changelog). */
const valueDigitsMax = 15;
/** Timestamps lie "within the past 35 calendar days or up to 5 minutes in the future" (Stripe API, Meter events). */
const pastSecondsMax = 35 * 86_400;
const futureSecondsMax = 5 * 60;

/** A meter event that was answered 200 and then not counted: what Stripe reports later, as samples. */
export interface AsyncRejection {
  identifier: string;
  idempotencyKey: string | undefined;
  /** As in the error reports of Stripe's thin events. */
  code: 'meter_event_customer_not_found';
  message: string;
  meterId: string;
  customer: string;
  /** UTC milliseconds. */
  at: number;
}

/** The answer of one meter event, of which a day's worth is kept for replay: a row number instead of a text. */
class MeterEventAnswer implements Answer {
  readonly status = 200;
  readonly #usage: Usage;
  readonly #row: number;

  constructor(usage: Usage, row: number) {
    this.#usage = usage;
    this.#row = row;
  }

  render(): string {
    return JSON.stringify(this.#usage.meterEvent(this.#row));
  }
}

interface MeterEventsDeps {
  account: Account;
  meters: Meters;
  customers: Customers;
  usage: Usage;
  asyncRejections: AsyncRejection[];
}

/** `POST /v1/billing/meter_events`. There is no way to list, read or change a meter event. */
export function meterEventRoutes(deps: MeterEventsDeps): Route[] {
  return [
    {
      name: 'POST /v1/billing/meter_events',
      parameters: {
        event_name: { kind: 'text', max: 100, required: true },
        payload: { kind: 'map', required: true },
        identifier: { kind: 'text', max: 100 },
        timestamp: { kind: 'integer' },
        ...expand,
      },
      lockOf: (call) => lockOf(deps.meters, call),
      run: (call) => createMeterEvent(deps, call),
    },
  ];
}

/** "Same customer and meter: one concurrent call" (Stripe docs, Rate limits). */
function lockOf(meters: Meters, { parameters }: Call): string | undefined {
  const meter = meters.find(parameters.requiredText('event_name'));
  const customer = meter && parameters.map('payload').get(meter.customer_mapping.event_payload_key);
  return meter && `${meter.id} ${customer ?? ''}`;
}

function createMeterEvent(deps: MeterEventsDeps, call: Call): Answer {
  const { account, customers, usage } = deps;
  const meter = activeMeter(deps, call.parameters.requiredText('event_name'));
  const timestamp = call.parameters.integer('timestamp') ?? nowSeconds(account);
  checkTimestamp(account, timestamp);
  const payload = new Map(call.parameters.map('payload'));
  const { customer, value } = readPayload(account, meter, payload);
  const identifier = call.parameters.text('identifier') ?? account.random.id('', 32);
  if (usage.findDuplicate(meter, identifier) !== undefined) throw duplicate(identifier);
  const rejected = !customers.exists(customer);
  if (rejected && account.switches.unknownCustomer === 'sync') {
    throw invalidRequest(`No such customer: '${customer}'`, { code: 'resource_missing' });
  }
  const { idempotencyKey } = call;
  const extraPayload = payload.size > 0 ? payload : undefined;
  const event = { meter, customer, identifier, idempotencyKey, value, timestamp, extraPayload, rejected };
  const row = usage.record(event);
  if (rejected) deps.asyncRejections.push(customerNotFound(account, event));
  return new MeterEventAnswer(usage, row);
}

function activeMeter({ account, meters }: MeterEventsDeps, eventName: string): Stripe.Billing.Meter {
  const meter = meters.find(eventName);
  if (meter?.event_name === eventName && meter.status === 'active') return meter;
  throw refusal(account, `No active meter found for event name "${eventName}".`, {
    code: meter === undefined ? 'no_meter' : 'archived_meter',
    param: 'event_name',
  });
}

function checkTimestamp(account: Account, timestamp: number): void {
  const earliest = nowSeconds(account) - pastSecondsMax;
  const latest = nowSeconds(account) + futureSecondsMax;
  const param = 'timestamp';
  if (timestamp < earliest) {
    throw refusal(
      account,
      'The event timestamp cannot be more than 35 days in past. ' +
        `Expected a timestamp greater than or equal to ${earliest}.`,
      { code: 'timestamp_too_far_in_past', param },
    );
  }
  if (timestamp > latest) {
    throw refusal(
      account,
      'The event timestamp cannot be more than 5 minutes in the future. ' +
        `Expected a timestamp less than or equal to ${latest}.`,
      { code: 'timestamp_in_future', param },
    );
  }
}

/** Takes customer and value out of the payload, in which the other entries remain. */
function readPayload(account: Account, meter: Stripe.Billing.Meter, payload: Map<string, string>) {
  const customerKey = meter.customer_mapping.event_payload_key;
  const valueKey = meter.value_settings.event_payload_key;
  const customer = payload.get(customerKey) ?? '';
  const value = payload.get(valueKey) ?? '';
  if (customer === '') {
    throw refusal(account, `Customer mapping key ${customerKey} not found in payload.`, {
      code: 'payload_no_customer_defined',
      param: 'payload',
    });
  }
  if (value === '') {
    throw refusal(account, `Value settings key ${valueKey} not found in payload.`, {
      code: 'payload_no_value_defined',
      param: 'payload',
    });
  }
  checkValue(account, value, `payload[${valueKey}]`);
  payload.delete(customerKey);
  payload.delete(valueKey);
  return { customer, value };
}

function checkValue(account: Account, value: string, param: string): void {
  const { countedDigits, valueDecimalsMax } = account.switches;
  const digits = readDigits(value);
  if (digits === undefined) {
    const code = 'payload_invalid_value';
    throw refusal(account, `The value in the event payload must be a number. Received \`${value}\`.`, { code, param });
  }
  if (digits[countedDigits] > valueDigitsMax) {
    throw refusal(
      account,
      `The value in the event payload can have at most ${valueDigitsMax} digits. Received \`${value}\`.`,
      { code: 'meter_event_value_too_many_digits', param },
    );
  }
  if (digits.decimals > valueDecimalsMax) {
    throw refusal(
      account,
      `The value in the event payload can have at most ${valueDecimalsMax} decimal places. Received \`${value}\`.`,
      { code: 'payload_invalid_value', param },
    );
  }
}

/** 400 without a `code` and not to be retried: an error by status, a success by meaning (seen on the wire). */
function duplicate(identifier: string): Refusal {
  return invalidRequest(
    `An event already exists with identifier ${identifier}.`,
    {},
    { 'stripe-should-retry': 'false' },
  );
}

function refusal(account: Account, message: string, details: { code: string; param: string }): Refusal {
  const coded = account.switches.refusalCodes === 'coded';
  return invalidRequest(message, { param: details.param, code: coded ? details.code : undefined });
}

function customerNotFound(
  account: Account,
  event: { identifier: string; idempotencyKey: string | undefined; meter: Stripe.Billing.Meter; customer: string },
): AsyncRejection {
  return {
    identifier: event.identifier,
    idempotencyKey: event.idempotencyKey,
    code: 'meter_event_customer_not_found',
    message: `No customer was found for ${event.customer}.`,
    meterId: event.meter.id,
    customer: event.customer,
    at: account.clock.now(),
  };
}
