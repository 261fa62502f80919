import type { Database } from '../../../src/platform/mongo/database.ts';

/** Writes out what mongod holds unwritten, so that what is measured next does not pay for what went before. */
export async function checkpoint({ db }: Database): Promise<void> {
  await db.admin().command({ fsync: 1 });
}
