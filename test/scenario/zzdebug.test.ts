import { it } from 'vitest';
import { crashAtEveryBoundary } from '../../scripts/lib/torture/crash-points.ts';
import { withParts } from '../../scripts/lib/torture/stack.ts';
import { mongodbUri, withDatabase } from '../support/services.ts';
it('x', { timeout: 60000 }, () =>
  withDatabase((db) =>
    withParts({ mongodbUri: mongodbUri(), databaseName: db.databaseName }, { seed: 1, customers: 1, hours: 4 }, async (p) => {
      console.log(await crashAtEveryBoundary(p, { batchSize: 4, say: console.log, only: ['requeue.customer-finished'] }));
      console.dir(await db.collection('usage_periods').find({ '_id.meter': 'peak' }).toArray(), { depth: 5 });
      console.dir(await db.collection('customers').find().toArray(), { depth: 5 });
      console.dir((await db.collection('meter_submissions').find({ meter: 'peak' }).toArray()).map((s) => [s._id, String(s.value), s.state, s.timestamp, s.subjectStart]), { depth: 5 });
    }),
  ));
