import { type VerifyUsageInput, verifyUsage } from '../../jobs/verify-usage.ts';
import type { JobInput } from '../domain/job-input.ts';
import { parseStatedPeriod } from '../domain/stated-period.ts';
import type { JobHandler } from '../queue/job-worker.ts';
import { auditedCustomerIds, withUsageAudit } from '../storage/usage-audit.ts';
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
