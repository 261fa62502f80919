import type { ClientSession, Collection, Db, Filter } from 'mongodb';
import type { AuditedFigure, AuditedWindow } from '../aggregation/audited-figure.ts';
import type { DerivationStep } from '../aggregation/derivation-plan.ts';
import { groupText } from '../aggregation/group-text.ts';
import type { Period } from '../customers/calendar/period.ts';
import { OPERATION_MS_MAX } from '../platform/mongo/database.ts';
import { DerivedGroups } from '../aggregation/derived-groups-store.ts';
import { translated } from '../platform/mongo/errors.ts';
import { findBySlices } from '../platform/mongo/slices.ts';
import { rangeFilter } from '../aggregation/usage-aggregates-store.ts';
import { rowKey, type UsageDerivation } from '../aggregation/usage-derivation-store.ts';
import { toLiveGroups, USAGE_GROUPS, type UsageGroupsDocument } from '../aggregation/usage-groups-store.ts';

type GroupsDocument = Omit<UsageGroupsDocument, 'revision'>;

/** The groups of windows, from raw facts and as they are stored, one figure each. Writes nothing. */
export class AuditedGroups {
  readonly #stored: Collection<UsageGroupsDocument>;
  readonly #derived: DerivedGroups;
  readonly #session: ClientSession;

  constructor(db: Db, derivation: UsageDerivation, session: ClientSession) {
    this.#stored = db.collection<UsageGroupsDocument>(USAGE_GROUPS);
    this.#derived = new DerivedGroups(db, derivation);
    this.#session = session;
  }

  /** What the facts of a step come to, group by group. Every meter of the step has `groupBy`. */
  async derive(step: DerivationStep): Promise<AuditedFigure[]> {
    const scope = { cells: step.cells, layout: step.layout, ...(step.window && { window: step.window }) };
    const windows: GroupsDocument[] = [];
    for (const meter of step.meters) windows.push(...(await this.#derived.read(scope, meter, this.#session)));
    return windows.flatMap(toFigures);
  }

  /** The stored groups of windows; none for a window that has no document. */
  async stored(windows: readonly AuditedWindow[]): Promise<AuditedFigure[]> {
    const ids = windows.map(({ customerId, meter, fromMs }) => rowKey(customerId, meter, new Date(fromMs)));
    // The values of `unique` groups are not compared, and may be many.
    const options = { ...this.#options(), projection: { 'groups.values': 0 } };
    const found = await findBySlices(ids, (slice) =>
      translated(this.#stored.find({ _id: { $in: slice } }, options).toArray()),
    );
    return found.flatMap(toFigures);
  }

  /** The windows that begin in a range and have stored groups with facts. */
  async windows(
    range: Period & { customerIds: readonly string[]; meters: readonly string[] },
  ): Promise<AuditedWindow[]> {
    const { customerIds, meters } = range;
    const [from, to] = [new Date(range.fromMs), new Date(range.toMs)];
    const ranges = customerIds.flatMap((customerId) =>
      meters.map((meter) => ({ _id: rangeFilter({ customerId, meter, from, to }) })),
    );
    const found = await findBySlices(ranges, (slice) => {
      const filter = { $and: [{ $or: slice }, { eventCount: { $gt: 0 } }] } as Filter<UsageGroupsDocument>;
      const rows = this.#stored.find(filter, this.#options());
      return translated(rows.project<Pick<UsageGroupsDocument, '_id' | 'windowEnd'>>({ windowEnd: 1 }).toArray());
    });
    return found.map(toWindow);
  }

  #options() {
    return { session: this.#session, maxTimeMS: OPERATION_MS_MAX };
  }
}

function toWindow({ _id, windowEnd }: Pick<UsageGroupsDocument, '_id' | 'windowEnd'>): AuditedWindow {
  const { customerId, meter, windowStart } = _id;
  return { customerId, meter, fromMs: windowStart.getTime(), toMs: windowEnd.getTime() };
}

function toFigures(document: GroupsDocument): AuditedFigure[] {
  const window = toWindow(document);
  return toLiveGroups(document).map((group) => {
    const { quantity, eventCount } = group.figure;
    return { kind: 'group', ...window, group: groupText(group), quantity, eventCount };
  });
}
