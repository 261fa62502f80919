import type { Stripe } from 'stripe';
import { answer, invalidRequest } from './answer.ts';
import type { Answer } from './answer.ts';
import type { Meters } from './meters.ts';
import { expand } from './parameters.ts';
import type { Account, Call, Route } from './route.ts';
import type { Usage } from './usage.ts';

interface AdjustmentsDeps {
  account: Account;
  meters: Meters;
  usage: Usage;
}

/** `POST /v1/billing/meter_event_adjustments`: cancels one meter event by its identifier. Has no id and no GET. */
export function meterEventAdjustmentRoutes(deps: AdjustmentsDeps): Route[] {
  return [
    {
      name: 'POST /v1/billing/meter_event_adjustments',
      parameters: {
        event_name: { kind: 'text', max: 100, required: true },
        type: { kind: 'choice', of: ['cancel'], required: true },
        cancel: { kind: 'group', fields: { identifier: { kind: 'text', max: 100 } } },
        ...expand,
      },
      run: (call) => createAdjustment(deps, call),
    },
  ];
}

function createAdjustment({ account, meters, usage }: AdjustmentsDeps, { parameters }: Call): Answer {
  const { switches } = account;
  const refuse = (message: string, code: string): Error =>
    invalidRequest(message, { code: switches.refusalCodes === 'coded' ? code : undefined });

  const eventName = parameters.requiredText('event_name');
  const identifier = parameters.group('cancel').text('identifier');
  if (identifier === undefined) {
    throw refuse('Missing required param: cancel[identifier].', 'invalid_cancel_configuration');
  }
  const meter = meters.find(eventName);
  const outcome = meter?.event_name === eventName ? usage.cancel(meter, identifier) : 'unknown';
  if (outcome === 'unknown') {
    throw refuse(`No meter event found with identifier ${identifier}.`, 'invalid_cancel_configuration');
  }
  if (outcome === 'too-late') {
    throw refuse('Events can only be cancelled within 24 hours of Stripe receiving them.', 'out_of_window');
  }
  if (outcome === 'already-cancelled' && switches.secondCancel === 'refuse') {
    throw refuse(`The event with identifier ${identifier} is already cancelled.`, 'invalid_cancel_configuration');
  }
  const adjustment: Stripe.Billing.MeterEventAdjustment = {
    object: 'billing.meter_event_adjustment',
    cancel: { identifier },
    event_name: eventName,
    livemode: false,
    status: switches.summaryLagMs === 0 ? 'complete' : 'pending',
    type: 'cancel',
  };
  return answer(adjustment);
}
