import type { Clock } from '../platform/clock.ts';
import { changeCustomer, type Customer, type CustomerChange } from './customer.ts';
import { DaemonError } from '../platform/errors.ts';

/** What a save by compare-and-set came to. */
type CustomerSave = 'saved' | 'changed' | 'mapping-taken';

/** Whether Stripe has a customer of this id; `unknown` where it cannot be asked now. */
export type StripeCustomerCheck = 'found' | 'not-found' | 'unknown';

export interface PutCustomerDeps {
  readonly clock: Pick<Clock, 'now'>;
  readonly customers: {
    find(customerId: string): Promise<Customer | null>;
    save(customer: Customer, previousRevision: number | undefined): Promise<CustomerSave>;
    /** Our customers by the Stripe customers they are mapped to; asked for by a dry run, which no unique index refuses. */
    mappedTo(stripeCustomerIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
  };
  readonly usage: {
    /** Whether any usage was derived for a customer id. */
    hasRows(customerId: string): Promise<boolean>;
  };
  /** Asks Stripe; absent without a key for it. */
  checkStripeCustomer?(stripeCustomerId: string): Promise<StripeCustomerCheck>;
}

export interface PutCustomerInput {
  readonly customerId: string;
  readonly change: CustomerChange;
  /** Maps to a Stripe customer without asking Stripe for it. */
  readonly isUnchecked?: boolean;
  /** Says what the customer would be, by the same rules, and writes nothing. */
  readonly dryRun?: boolean;
}

export interface PutCustomerResult {
  readonly customer: Customer;
  readonly created: boolean;
  /** It was mapped, and Stripe did not say whether it has that customer. */
  readonly isMappingUnverified?: true;
}

/** How often a change is decided again because someone else changed the customer meanwhile. */
const ATTEMPTS_MAX = 10;

/**
 * Creates a customer or changes the given fields of one; what is not given stays.
 * Putting the same again changes nothing, not even the revision.
 *
 * A Stripe customer that Stripe does not have is refused: usage sent to it would be blocked, and could not be compared. An
 * outage of Stripe keeps nobody from mapping a customer: it is mapped, and the answer says that nobody checked.
 * @throws DaemonError `customer_invalid`, `stripe_customer_not_found`, `stripe_customer_taken`,
 *   `calendar_changes_too_many`, `write_contended`.
 */
export async function putCustomer(deps: PutCustomerDeps, input: PutCustomerInput): Promise<PutCustomerResult> {
  const checked = new Map<string, StripeCustomerCheck>();
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const before = (await deps.customers.find(input.customerId)) ?? undefined;
    const customer = changeCustomer(before, { ...input, nowMs: deps.clock.now() });
    if (customer === before) return { customer, created: false };
    await checkMapping(deps, before, customer);
    const check = await checkAtStripe(deps, { before, customer, checked, input });
    const outcome =
      input.dryRun === true ? await foresee(deps, customer) : await deps.customers.save(customer, before?.revision);
    if (outcome === 'mapping-taken') throw mappingTaken(customer);
    if (outcome === 'saved') {
      const created = before === undefined;
      return { customer, created, ...(check === 'unknown' && { isMappingUnverified: true }) };
    }
  }
  throw new DaemonError({
    kind: 'transient',
    code: 'write_contended',
    message: 'The customer was changed by others all the time. Try again.',
    context: { customerId: input.customerId },
  });
}

/** What a save would come to. */
async function foresee(deps: PutCustomerDeps, { _id, stripeCustomerId }: Customer): Promise<CustomerSave> {
  if (stripeCustomerId === undefined) return 'saved';
  const holder = (await deps.customers.mappedTo([stripeCustomerId])).get(stripeCustomerId);
  return holder === undefined || holder === _id ? 'saved' : 'mapping-taken';
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

/** Asks Stripe for a customer that is to be mapped anew, once. Undefined where there is nothing to ask. */
async function checkAtStripe(
  deps: PutCustomerDeps,
  context: {
    before: Customer | undefined;
    customer: Customer;
    checked: Map<string, StripeCustomerCheck>;
    input: PutCustomerInput;
  },
): Promise<StripeCustomerCheck | undefined> {
  const { before, customer, checked, input } = context;
  const { stripeCustomerId } = customer;
  if (stripeCustomerId === undefined || stripeCustomerId === before?.stripeCustomerId) return undefined;
  if (deps.checkStripeCustomer === undefined || input.isUnchecked === true) return undefined;
  const check = checked.get(stripeCustomerId) ?? (await deps.checkStripeCustomer(stripeCustomerId));
  checked.set(stripeCustomerId, check);
  if (check !== 'not-found') return check;
  throw new DaemonError({
    kind: 'invalid',
    code: 'stripe_customer_not_found',
    message:
      `Stripe has no customer ${stripeCustomerId}, or it was deleted there. Correct the id, or look whether the key is of ` +
      'the same account and mode; `unchecked` maps to it all the same, before it exists.',
    context: { customerId: customer._id, stripeCustomerId, pointer: '/stripeCustomerId' },
  });
}

function mappingTaken(customer: Customer): DaemonError {
  return new DaemonError({
    kind: 'conflict',
    code: 'stripe_customer_taken',
    message:
      customer._id === customer.stripeCustomerId
        ? 'Another customer is mapped to this Stripe customer, so its own id cannot map to itself. POST ' +
          '/v1/customers/{customerId}/decide (`tallystick customers decide`) says what becomes of usage under it.'
        : 'Another customer is mapped to this Stripe customer, or usage came under its own id.',
    context: { customerId: customer._id, stripeCustomerId: customer.stripeCustomerId, pointer: '/stripeCustomerId' },
  });
}
