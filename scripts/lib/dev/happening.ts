/** One line for each thing that happens in the ledger of a running `dev`. */

/** A change of a collection, as MongoDB's change streams tell it. */
export interface LedgerChange {
  readonly operationType: string;
  readonly ns: { readonly coll: string };
  readonly fullDocument?: Readonly<Record<string, unknown>> | null;
  readonly updateDescription?: { readonly updatedFields?: Readonly<Record<string, unknown>> | null };
}

/** The collections in which something happens that a person wants to see, and how it is told. */
const TELLERS: Readonly<Record<string, (document: Readonly<Record<string, unknown>>) => string | undefined>> = {
  usage_events: tellEvent,
  rejected_events: (document) =>
    `refused     ${text(document['code'])} ${text(document['pointer'])}: ${text(document['detail'])}`,
  meter_submissions: tellSubmission,
  webhook_inbox: (document) =>
    document['state'] === 'pending' ? undefined : `webhook     ${text(document['type'])} ${text(document['objectId'])}`,
  runs: tellRun,
};

export const TOLD_COLLECTIONS = Object.keys(TELLERS);

/** Updates are told only where the state changed; the first write of a document is always told. */
const STATE_FIELD = 'state';

/** The line for a change; undefined for one that nobody needs to see. */
export function tellChange(change: LedgerChange): string | undefined {
  const { operationType, ns, fullDocument, updateDescription } = change;
  const tell = TELLERS[ns.coll];
  if (tell === undefined || fullDocument === undefined || fullDocument === null) return undefined;
  if (operationType === 'update' && !(STATE_FIELD in (updateDescription?.updatedFields ?? {}))) return undefined;
  return ['insert', 'update', 'replace'].includes(operationType) ? tell(fullDocument) : undefined;
}

function tellEvent(document: Readonly<Record<string, unknown>>): string {
  const key = text(document['_id']).split('\u001f', 1)[0] ?? '';
  const { customerId, eventType, quantity } = document;
  return `event       ${text(customerId)} ${text(eventType)} ${text(quantity)} (${key})`;
}

function tellSubmission(document: Readonly<Record<string, unknown>>): string | undefined {
  const { customerId, meter, value, state, reason } = document;
  if (state === 'planned' || state === 'sending') return undefined;
  const why = reason === undefined ? '' : ` (${text(reason)})`;
  return `meter event ${text(customerId)} ${text(meter)} ${text(value)} ${text(state)}${why}`;
}

function tellRun(document: Readonly<Record<string, unknown>>): string | undefined {
  const { job, state, result, error } = document;
  if (state === 'failed') return `run         ${text(job)} failed: ${text((error as { message?: unknown })?.message)}`;
  if (state !== 'succeeded') return undefined;
  // Jobs that found nothing to do are not worth a line: the sweep would write one a minute.
  const parts = Object.entries((result ?? {}) as Record<string, unknown>)
    .filter(([, value]) => typeof value === 'number' && value !== 0)
    .map(([name, value]) => `${name} ${text(value)}`);
  return parts.length === 0 ? undefined : `run         ${text(job)}: ${parts.join(', ')}`;
}

/** Foreign text on one line; what is not there is empty. */
function text(value: unknown): string {
  if (value === undefined || value === null) return '';
  // Decimals and ids of MongoDB are objects that know how they are written.
  const plain =
    typeof value === 'object' ? (value as { toString(): string }).toString() : `${value as string | number}`;
  return plain.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (found) => (found === '\u001f' ? found : ' '));
}
