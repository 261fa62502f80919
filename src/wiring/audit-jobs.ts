import { type VerifyUsageInput, verifyUsage } from '../../jobs/verify-usage.ts';
import { parseStatedPeriod } from '../domain/stated-period.ts';
import { DaemonError } from '../errors.ts';
import type { JobContext, JobHandler } from '../queue/job-worker.ts';
import { auditedCustomerIds, withUsageAudit } from '../storage/usage-audit.ts';
import type { JobParts } from './job-parts.ts';

/** Jobs that look and change nothing. */
export function auditJobs({ stores }: JobParts): Record<string, JobHandler> {
  const { db } = stores.database;
  return {
    'verify-usage': async ({ input, signal, report }) => ({
      ...(await verifyUsage(
        {
          customerIds: (hours) => auditedCustomerIds(db, hours),
          withAudit: (work) => withUsageAudit(db, work),
          ...(report && { report }),
        },
        { ...toVerifyInput(input), signal },
      )),
    }),
  };
}

/** `period`, or `from` and `to`; `customerId` for one customer. */
function toVerifyInput({ period, from, to, customerId }: JobContext['input']): Omit<VerifyUsageInput, 'signal'> {
  const text = period ?? (typeof from === 'string' && typeof to === 'string' ? `${from}..${to}` : undefined);
  if (typeof text !== 'string' || (customerId !== undefined && typeof customerId !== 'string')) {
    throw new DaemonError({
      kind: 'invalid',
      code: 'input_invalid',
      message: 'Give a period like 2026-11, or from and to; customerId is a text.',
    });
  }
  return { ...parseStatedPeriod(text), ...(customerId !== undefined && { customerId }) };
}
