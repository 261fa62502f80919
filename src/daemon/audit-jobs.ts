import { type VerifyUsageInput, verifyUsage } from '../explain/verify-usage.ts';
import type { JobInput } from './job-input.ts';
import { parseStatedPeriod } from '../aggregation/stated-period.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import { auditedCustomerIds, withUsageAudit } from '../explain/usage-audit-store.ts';
import { type JobParts, withInput } from './job-parts.ts';

/** Jobs that look and change nothing. */
export function auditJobs({ stores }: JobParts): Record<'verify-usage', JobHandler> {
  const { db } = stores.database;
  return {
    'verify-usage': withInput('verify-usage', ({ input, signal, report }) =>
      verifyUsage(
        {
          customerIds: (hours) => auditedCustomerIds(db, hours),
          withAudit: (work) => withUsageAudit(db, work),
          ...(report && { report }),
        },
        { ...toVerifyInput(input), signal },
      ),
    ),
  };
}

function toVerifyInput(input: JobInput<'verify-usage'>): Omit<VerifyUsageInput, 'signal'> {
  const { period, from = '', to = '', customerId } = input;
  return { ...parseStatedPeriod(period ?? `${from}..${to}`), ...(customerId !== undefined && { customerId }) };
}
