import type { SimulatedAccount } from '../simulated-account.ts';

/** Object of an event → the latest of its kind, by the beginning of the event's type. */
const latestOf: Readonly<Record<string, (state: SimulatedAccount) => object | undefined>> = {
  invoice: ({ billing }) => billing.invoices.all().at(-1),
  'customer.subscription': ({ billing }) => billing.subscriptions.all().at(-1),
};

/**
 * Makes an event for who wants to see one: of the latest invoice or subscription as it is, or a report of a rejected
 * meter event, which follows within seconds.
 * @throws RangeError for a type that is not among these, or where there is no such object yet.
 */
export function trigger(state: SimulatedAccount, type: string): void {
  if (type.startsWith('v1.billing.meter.')) return triggerReport(state, type);
  const [prefix] = Object.keys(latestOf).filter((start) => type.startsWith(`${start}.`));
  if (prefix === undefined) throw new RangeError(`the simulator cannot trigger ${type}`);
  const object = latestOf[prefix]?.(state);
  if (object === undefined) throw new RangeError(`there is no ${prefix} yet to tell of`);
  state.events.emit({ type, object }, state.account.clock.now());
}

function triggerReport({ account, errorReports, meters }: SimulatedAccount, type: string): void {
  const meter = meters.newest();
  const common = { identifier: account.random.id('trigger_'), idempotencyKey: account.random.id('key_'), customer: '' };
  const at = account.clock.now();
  if (type === 'v1.billing.meter.no_meter_found') {
    const eventName = 'no_such_meter';
    const message = `No meter was found matching event_name ${eventName}.`;
    return errorReports.add({ ...common, code: 'no_meter', message, meterId: undefined, eventName, at });
  }
  if (type !== 'v1.billing.meter.error_report_triggered') throw new RangeError(`the simulator cannot trigger ${type}`);
  if (meter === undefined) throw new RangeError('there is no meter yet to report on');
  errorReports.add({
    ...common,
    code: 'meter_event_no_customer_defined',
    message: `Customer mapping key ${meter.customer_mapping.event_payload_key} not found in payload.`,
    meterId: meter.id,
    eventName: meter.event_name,
    at,
  });
}
