import { USAGE_EVENTS } from '../../../src/usage/usage-events-store.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { memoryOf } from './processes.ts';
import { atMost, type Figure, median, perSecond } from './report.ts';
import { recentSeries } from './series.ts';
import type { Sizes } from './sizes.ts';
import type { Stack } from './stack.ts';

const SLICES = 20;

/** The daemon's memory while it takes many events, and what they occupy on disk. All roles in one process. */
export async function measureSteady(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const database = await stack.open('bench');
  const daemon = await stack.startDaemon({ database: 'bench', roles: 'http,worker,ticker' });
  const series = recentSeries(sizes.customers);
  const residentMib: number[] = [];
  let elapsedMs = 0;
  const events = Math.floor(sizes.steadyEvents / SLICES);
  for (let slice = 0; slice < SLICES; slice += 1) {
    const order = { connections: 16, eventsPerRequest: 100, series, firstIndex: slice * events, events };
    elapsedMs += (await stack.load(daemon, order)).elapsedMs;
    residentMib.push(memoryOf(daemon.pid).residentMib);
  }
  const quarter = SLICES / 4;
  const early = median(residentMib.slice(quarter, 2 * quarter));
  const late = median(residentMib.slice(-quarter));
  const stored = await bytesPerEvent(database);
  return [
    {
      what: `${(events * SLICES).toLocaleString('en-US')} events, all roles`,
      value: perSecond(events * SLICES, elapsedMs),
    },
    atMost({ what: 'daemon resident at most, MiB' }, memoryOf(daemon.pid).highestMib, 250),
    atMost({ what: 'resident, last quarter ÷ second quarter' }, late / early, 1.15),
    {
      what: 'bytes of documents / of indexes an event',
      value: `${stored.documents.toFixed(0)} / ${stored.indexes.toFixed(0)}`,
    },
    atMost({ what: 'bytes on disk an event, indexes included' }, stored.documents + stored.indexes, 170),
  ];
}

async function bytesPerEvent({ client, db }: Database): Promise<{ documents: number; indexes: number }> {
  // A checkpoint: sizes on disk lag behind until then.
  await client.db('admin').command({ fsync: 1 });
  const stats = await db.command({ collStats: USAGE_EVENTS });
  const { count, storageSize, totalIndexSize } = stats as {
    count: number;
    storageSize: number;
    totalIndexSize: number;
  };
  return { documents: storageSize / count, indexes: totalIndexSize / count };
}
