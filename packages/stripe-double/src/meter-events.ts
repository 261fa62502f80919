import type { Stripe } from 'stripe';
import { answer, invalidRequest } from './answer.ts';
import type { Answer, Refusal } from './answer.ts';
import type { Customers } from './customers.ts';
import type { ErrorReports, MeterErrorCode } from './events/error-reports.ts';
import { findFault } from './meter-event-checks.ts';
import type { CheckedMeterEvent, MeterEventFault } from './meter-event-checks.ts';
import type { Meters } from './meters.ts';
import { expand } from './parameters.ts';
import { nowSeconds } from './route.ts';
import type { Account, Call, Route } from './route.ts';
import type { Usage } from './usage.ts';

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
  errorReports: ErrorReports;
}

interface NewMeterEvent extends CheckedMeterEvent {
  identifier: string;
  idempotencyKey: string | undefined;
  payload: ReadonlyMap<string, string>;
  /** Payload entries other than the customer's and the value's. */
  extraPayload: ReadonlyMap<string, string> | undefined;
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
  const { account, usage } = deps;
  const event = readEvent(deps, call);
  const fault = findFault(account, event);
  if (fault !== undefined && !account.switches.rejectedLater.includes(fault.code)) throw refusal(account, fault);
  if (event.meter === undefined) return acceptInVain(deps, event, fault);
  if (usage.findDuplicate(event.meter, event.identifier) !== undefined) throw duplicate(event.identifier);
  const rejection = fault ?? customerFault(deps, event) ?? laterFault(account, event);
  const row = usage.record({ ...event, meter: event.meter, rejected: rejection !== undefined });
  if (rejection !== undefined) report(deps, event, rejection);
  return new MeterEventAnswer(usage, row);
}

function readEvent({ account, meters }: MeterEventsDeps, { parameters, idempotencyKey }: Call): NewMeterEvent {
  const eventName = parameters.requiredText('event_name');
  const found = meters.find(eventName);
  const meter = found?.event_name === eventName ? found : undefined;
  const payload = parameters.map('payload');
  const customerKey = meter?.customer_mapping.event_payload_key ?? 'stripe_customer_id';
  const valueKey = meter?.value_settings.event_payload_key ?? 'value';
  const extraPayload = new Map(payload);
  extraPayload.delete(customerKey);
  extraPayload.delete(valueKey);
  return {
    meter,
    eventName,
    timestamp: parameters.integer('timestamp') ?? nowSeconds(account),
    customer: payload.get(customerKey) ?? '',
    value: payload.get(valueKey) ?? '',
    identifier: parameters.text('identifier') ?? account.random.id('', 32),
    idempotencyKey,
    payload,
    extraPayload: extraPayload.size > 0 ? extraPayload : undefined,
  };
}

/** The documented path of an unknown customer is the asynchronous one; a refusal at once was seen too. */
function customerFault({ account, customers }: MeterEventsDeps, { customer }: NewMeterEvent) {
  if (customers.exists(customer)) return undefined;
  if (account.switches.unknownCustomer === 'sync') {
    throw invalidRequest(`No such customer: '${customer}'`, { code: 'resource_missing' });
  }
  return { code: 'meter_event_customer_not_found' as const, message: `No customer was found for ${customer}.` };
}

/** What a test decides about an event without a fault. */
function laterFault({ switches, clock }: Account, event: NewMeterEvent) {
  const { identifier, customer, timestamp, meter, eventName } = event;
  const receivedAt = clock.now();
  const code = switches.rejectLater?.({ identifier, customer, timestamp, receivedAt, meterId: meter?.id, eventName });
  return code && { code, message: `The meter event was rejected: ${code}.` };
}

/** Answers 200 for an event without a meter, which is kept nowhere but in a report. */
function acceptInVain(deps: MeterEventsDeps, event: NewMeterEvent, fault: MeterEventFault | undefined): Answer {
  const { eventName, identifier, payload, timestamp } = event;
  report(deps, event, {
    code: fault?.code ?? 'no_meter',
    message: `No meter was found matching event_name ${eventName}.`,
  });
  const accepted: Stripe.Billing.MeterEvent = {
    object: 'billing.meter_event',
    created: nowSeconds(deps.account),
    event_name: eventName,
    identifier,
    livemode: false,
    payload: Object.fromEntries(payload),
    timestamp,
  };
  return answer(accepted);
}

function report(
  { account, errorReports }: MeterEventsDeps,
  { identifier, idempotencyKey, customer, eventName, meter }: NewMeterEvent,
  { code, message }: { code: MeterErrorCode; message: string },
): void {
  const at = account.clock.now();
  errorReports.add({ identifier, idempotencyKey, code, message, meterId: meter?.id, eventName, customer, at });
}

/** 400 without a `code` and not to be retried: an error by status, a success by meaning (seen on the wire). */
function duplicate(identifier: string): Refusal {
  return invalidRequest(
    `An event already exists with identifier ${identifier}.`,
    {},
    { 'stripe-should-retry': 'false' },
  );
}

function refusal(account: Account, { message, param, refusalCode }: MeterEventFault): Refusal {
  const coded = account.switches.refusalCodes === 'coded';
  return invalidRequest(message, { param, code: coded ? refusalCode : undefined });
}
