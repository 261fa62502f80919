import type { CompareRestoredDeps } from '../reconciliation/compare-restored.ts';
import type { JobParts } from './job-parts.ts';
import { reconciliationDeps } from './reconciliation-deps.ts';

const BATCH = 1_000;

/** What comparing a restored ledger with Stripe is handed. */
export function compareRestoredDeps(parts: JobParts): CompareRestoredDeps {
  return { ...reconciliationDeps(parts), customerIds: () => knownCustomers(parts) };
}

/** Customers with submissions, and all that are mapped: theirs may be what the ledger has forgotten. */
async function knownCustomers({ stores }: JobParts): Promise<string[]> {
  const ids = new Set(await stores.ledger.customerIds());
  for await (const customers of stores.customers.mapped(BATCH)) {
    for (const { customerId } of customers) ids.add(customerId);
  }
  return [...ids];
}
