/** What each reason for which a submission is blocked needs. */
export const BLOCKED_TODO: Readonly<Record<string, string>> = {
  customer_not_mapped:
    'map each with `tallystick customers put <id> \'{"stripeCustomerId":"cus_…"}\'`; `tallystick customers list --unmapped` lists them',
  customer_mapped_elsewhere:
    'another customer is mapped to each of these ids: send under that one, and say what becomes of what came with ' +
    '`tallystick customers decide <id> --as count|set_aside --actor <name> --reason <why>`',
  customer_not_found: 'map an existing Stripe customer with `tallystick customers put`',
  meter_without_stripe: 'give the meter a stripe.eventName with `tallystick meters put`',
  meter_missing: 'run `tallystick meters sync`',
  meter_inactive: 'reactivate the meter at Stripe',
  meter_formula_refused: '`tallystick doctor stripe` says why; use another event name',
  before_submit_from: 'set an earlier submitFrom with `tallystick customers put` if it is to be billed',
  timestamp_too_old: 'nothing: it becomes late usage by itself',
};
