import { randomBytes } from 'node:crypto';
import type { Db } from 'mongodb';
import { defect } from '../errors.ts';
import { translated } from './errors.ts';

interface InstallationDocument {
  _id: 'installation';
  id: string;
  createdAt: Date;
}

const INSTALLATION = 'installation';

/**
 * The id of this installation: made once, stored with its data. It begins every identifier sent to Stripe, so that a
 * database that was wiped and filled again does not repeat the identifiers of its predecessor.
 */
export async function installationId(db: Db, at: Date): Promise<string> {
  const collection = db.collection<InstallationDocument>(INSTALLATION);
  const document = await translated(
    collection.findOneAndUpdate(
      { _id: 'installation' },
      { $setOnInsert: { id: randomBytes(4).toString('hex'), createdAt: at } },
      { upsert: true, returnDocument: 'after' },
    ),
  );
  if (document === null) throw defect('The installation document was not stored.');
  return document.id;
}
