import { DaemonError } from '../platform/errors.ts';

/** What Stripe refuses about one thing, in a word and in Stripe's own sentence. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** One of many things that a run has gone on without. */
export interface RefusedItem extends Refusal {
  /** What it is: a customer, an invoice, a meter. */
  readonly item: string;
}

/** All of them, as they are kept with the run. */
export interface RefusedItems {
  readonly count: number;
  /** The first of them. */
  readonly first: RefusedItem[];
}

/** Refusals that are kept with a run; all are counted. */
const FIRST_MAX = 20;
/** Characters of Stripe's sentence that are kept. */
const MESSAGE_LENGTH_MAX = 500;

/**
 * Errors that are about the one thing that was named, and not about the key, the network, a store or Stripe as a whole:
 * what Stripe refuses, what it sends that cannot be read, and what does not fit what we hold.
 */
const ABOUT_ONE: ReadonlySet<string> = new Set([
  'stripe_refused',
  'stripe_object_missing',
  'webhook_event_malformed',
  'webhook_event_kind_wrong',
  'calendar_changes_too_many',
]);

/**
 * What an error says of the one thing that a call was about; undefined where it says nothing of it: nobody answers, the
 * key is refused, a store is away, or something is broken. Those stop a run over many; this must not.
 */
export function refusalOf(error: unknown): Refusal | undefined {
  if (!(error instanceof DaemonError) || !ABOUT_ONE.has(error.code)) return undefined;
  const { stripeCode, param } = error.context;
  const isCustomer = stripeCode === 'resource_missing' && param === 'customer';
  const reason = isCustomer ? 'customer_not_found' : typeof stripeCode === 'string' ? stripeCode : error.code;
  return { reason, message: error.message.slice(0, MESSAGE_LENGTH_MAX) };
}

/** Whether Stripe answered that it is in trouble (5xx): about this call, as long as others are answered well. */
export function isServerError(error: unknown): error is DaemonError {
  return (
    error instanceof DaemonError && error.code === 'stripe_unavailable' && Number(error.context['statusCode']) >= 500
  );
}

/** Collects what a run goes on without, so that its result says so. */
export class Refusals {
  #count = 0;
  readonly #first: RefusedItem[] = [];

  /** Takes note of a refusal. @throws the error itself where it is no refusal of one thing. */
  note(item: string, error: unknown): void {
    const refusal = refusalOf(error);
    if (refusal === undefined) throw error;
    this.add({ item, ...refusal });
  }

  add(refused: RefusedItem): void {
    this.#count += 1;
    if (this.#first.length < FIRST_MAX) this.#first.push(refused);
  }

  /** What a result is given: nothing where nothing was refused. */
  result(): { refused?: RefusedItems } {
    return this.#count === 0 ? {} : { refused: { count: this.#count, first: [...this.#first] } };
  }
}
