import { randomBytes } from 'node:crypto';
import type { Db } from 'mongodb';
import { configurationInvalid, defect } from '../errors.ts';
import { translated } from './errors.ts';

interface InstallationDocument {
  _id: 'installation';
  id: string;
  createdAt: Date;
  /** Absent in a database from before there were versions, which is of version 1. */
  schemaVersion?: number;
}

const INSTALLATION = 'installation';

/**
 * Which form the data has. It rises when an older version of Tallystick would misread what a newer one wrote, and then the
 * change brings what it takes to read the older form: docs/upgrade.md.
 */
export const SCHEMA_VERSION = 1;

/**
 * The id of this installation: made once, stored with its data. It begins every identifier sent to Stripe, so that a
 * database that was wiped and filled again does not repeat the identifiers of its predecessor. From here on the data is
 * of our schema version.
 */
export async function installationId(db: Db, at: Date): Promise<string> {
  const collection = db.collection<InstallationDocument>(INSTALLATION);
  const document = await translated(
    collection.findOneAndUpdate(
      { _id: 'installation' },
      {
        $setOnInsert: { id: randomBytes(4).toString('hex'), createdAt: at },
        $max: { schemaVersion: SCHEMA_VERSION },
      },
      { upsert: true, returnDocument: 'after' },
    ),
  );
  if (document === null) throw defect('The installation document was not stored.');
  return document.id;
}

/** When this installation was made, UTC milliseconds; undefined before a daemon was started on it. */
export async function installedAtMs(db: Db): Promise<number | undefined> {
  const document = await translated(db.collection<InstallationDocument>(INSTALLATION).findOne({ _id: INSTALLATION }));
  return document?.createdAt.getTime();
}

/**
 * Makes sure that no newer version of Tallystick has written here: this one could misread its data, and send it.
 * @throws DaemonError `configuration_invalid`.
 */
export async function refuseNewerSchema(db: Db): Promise<void> {
  const collection = db.collection<InstallationDocument>(INSTALLATION);
  const document = await translated(collection.findOne({ _id: 'installation' }));
  const version = document?.schemaVersion ?? SCHEMA_VERSION;
  if (version <= SCHEMA_VERSION) return;
  const detail =
    `holds data of a newer version of Tallystick (schema ${version}; this one knows ${SCHEMA_VERSION}): start that ` +
    'version again, or restore the backup from before the upgrade (docs/upgrade.md)';
  throw configurationInvalid([{ name: 'MONGODB_DATABASE', detail }]);
}
