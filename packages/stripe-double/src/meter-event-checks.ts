import type { Stripe } from 'stripe';
import { readDigits } from './decimal.ts';
import type { MeterErrorCode } from './events/error-reports.ts';
import { nowSeconds } from './route.ts';
import type { Account } from './route.ts';

type Meter = Stripe.Billing.Meter;

/** Values have at most 15 significant digits since 2026-04-22.dahlia (Stripe changelog). */
const valueDigitsMax = 15;
/** Timestamps lie "within the past 35 calendar days or up to 5 minutes in the future" (Stripe API, Meter events). */
const pastSecondsMax = 35 * 86_400;
const futureSecondsMax = 5 * 60;

/** Why a meter event cannot count: the code of the error reports and that of v2's refusals. */
export interface MeterEventFault {
  code: MeterErrorCode;
  refusalCode: string;
  param: string;
  message: string;
}

/** A meter event as its checks see it. Customer and value are empty where the payload lacks them. */
export interface CheckedMeterEvent {
  meter: Meter | undefined;
  eventName: string;
  timestamp: number;
  customer: string;
  value: string;
}

/** The first fault of an event, in the order in which they are looked for; whether the customer exists is not one. */
export function findFault(account: Account, event: CheckedMeterEvent): MeterEventFault | undefined {
  const { meter, eventName } = event;
  if (meter?.status !== 'active') {
    const code = meter === undefined ? 'no_meter' : 'archived_meter';
    const message = `No active meter found for event name "${eventName}".`;
    return { code, refusalCode: code, message, param: 'event_name' };
  }
  return (
    findTimestampFault(account, event.timestamp) ?? findPayloadFault(meter, event) ?? findValueFault(account, event)
  );
}

function findTimestampFault(account: Account, timestamp: number): MeterEventFault | undefined {
  const earliest = nowSeconds(account) - pastSecondsMax;
  const latest = nowSeconds(account) + futureSecondsMax;
  const param = 'timestamp';
  if (timestamp < earliest) {
    const code = 'timestamp_too_far_in_past';
    const message =
      'The event timestamp cannot be more than 35 days in past. ' +
      `Expected a timestamp greater than or equal to ${earliest}.`;
    return { code, refusalCode: code, message, param };
  }
  if (timestamp > latest) {
    const code = 'timestamp_in_future';
    const message =
      'The event timestamp cannot be more than 5 minutes in the future. ' +
      `Expected a timestamp less than or equal to ${latest}.`;
    return { code, refusalCode: code, message, param };
  }
  return undefined;
}

function findPayloadFault(meter: Meter, { customer, value }: CheckedMeterEvent): MeterEventFault | undefined {
  const param = 'payload';
  if (customer === '') {
    const message = `Customer mapping key ${meter.customer_mapping.event_payload_key} not found in payload.`;
    return { code: 'meter_event_no_customer_defined', refusalCode: 'payload_no_customer_defined', message, param };
  }
  if (value === '') {
    const message = `Value settings key ${meter.value_settings.event_payload_key} not found in payload.`;
    return { code: 'meter_event_value_not_found', refusalCode: 'payload_no_value_defined', message, param };
  }
  return undefined;
}

function findValueFault(account: Account, { meter, value }: CheckedMeterEvent): MeterEventFault | undefined {
  const { countedDigits, valueDecimalsMax } = account.switches;
  const param = `payload[${meter?.value_settings.event_payload_key ?? 'value'}]`;
  const invalid = { code: 'meter_event_invalid_value', refusalCode: 'payload_invalid_value', param } as const;
  const digits = readDigits(value);
  if (digits === undefined) {
    return { ...invalid, message: `The value in the event payload must be a number. Received \`${value}\`.` };
  }
  if (digits[countedDigits] > valueDigitsMax) {
    const code = 'meter_event_value_too_many_digits';
    const message = `The value in the event payload can have at most ${valueDigitsMax} digits. Received \`${value}\`.`;
    return { code, refusalCode: code, message, param };
  }
  if (digits.decimals > valueDecimalsMax) {
    const message = `The value in the event payload can have at most ${valueDecimalsMax} decimal places. Received \`${value}\`.`;
    return { ...invalid, message };
  }
  return undefined;
}
