import type { Clock } from '../src/clock.ts';
import { changeCustomer, type Customer, type CustomerChange } from '../src/domain/customer.ts';
import { DaemonError } from '../src/errors.ts';

/** What a save by compare-and-set came to. */
type CustomerSave = 'saved' | 'changed' | 'mapping-taken';

export interface PutCustomerDeps {
  readonly clock: Pick<Clock, 'now'>;
  readonly customers: {
    find(customerId: string): Promise<Customer | null>;
    save(customer: Customer, previousRevision: number | undefined): Promise<CustomerSave>;
  };
  readonly usage: {
    /** Whether any usage was derived for a customer id. */
    hasRows(customerId: string): Promise<boolean>;
  };
}

export interface PutCustomerInput {
  readonly customerId: string;
  readonly change: CustomerChange;
}

/** How often a change is decided again because someone else changed the customer meanwhile. */
const ATTEMPTS_MAX = 10;

/**
 * Creates a customer or changes the given fields of one; what is not given stays.
 * Putting the same again changes nothing, not even the revision.
 * @throws DaemonError `customer_invalid`, `stripe_customer_taken`, `calendar_changes_too_many`, `write_contended`.
 */
export async function putCustomer(
  deps: PutCustomerDeps,
  input: PutCustomerInput,
): Promise<{ customer: Customer; created: boolean }> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const before = (await deps.customers.find(input.customerId)) ?? undefined;
    const customer = changeCustomer(before, { ...input, nowMs: deps.clock.now() });
    if (customer === before) return { customer, created: false };
    await checkMapping(deps, before, customer);
    const outcome = await deps.customers.save(customer, before?.revision);
    if (outcome === 'mapping-taken') throw mappingTaken(customer);
    if (outcome === 'saved') return { customer, created: before === undefined };
  }
  throw new DaemonError({
    kind: 'transient',
    code: 'write_contended',
    message: 'The customer was changed by others all the time. Try again.',
    context: { customerId: input.customerId },
  });
}

/**
 * The unique index refuses a Stripe customer that another document has. What it cannot see is a `cus_…` id that never
 * had a document and has sent usage: it maps to itself.
 */
async function checkMapping(deps: PutCustomerDeps, before: Customer | undefined, customer: Customer): Promise<void> {
  const { stripeCustomerId } = customer;
  if (stripeCustomerId === undefined || stripeCustomerId === customer._id) return;
  if (stripeCustomerId === before?.stripeCustomerId) return;
  const namesake = await deps.customers.find(stripeCustomerId);
  if (namesake === null && (await deps.usage.hasRows(stripeCustomerId))) throw mappingTaken(customer);
}

function mappingTaken(customer: Customer): DaemonError {
  return new DaemonError({
    kind: 'conflict',
    code: 'stripe_customer_taken',
    message: 'Another customer is mapped to this Stripe customer.',
    context: { customerId: customer._id, stripeCustomerId: customer.stripeCustomerId, pointer: '/stripeCustomerId' },
  });
}
