import type { IngestResult } from '../../src/usage/ingest-result.ts';

/** Events refused for one reason. */
export interface RefusalGroup {
  readonly code: string;
  /** The field at fault, as a JSON pointer. */
  readonly pointer: string | undefined;
  readonly detail: string;
  count: number;
  /** The first lines concerned. */
  readonly lines: number[];
}

const LINES_SHOWN_MAX = 5;
const GROUPS_MAX = 200;
const OTHER_FIELDS = 'A file with other fields is imported with --map (docs/import.md).';
/** By the code that every event was refused with. */
const ADVICE: Readonly<Record<string, string>> = {
  line_not_json: 'If the file is CSV, say so with --format csv.',
  field_unknown: OTHER_FIELDS,
  field_missing: OTHER_FIELDS,
  occurred_at_invalid:
    'A column of times in another form is imported with --map occurredAt=COLUMN:unix (docs/import.md).',
};

/** What an import came to. */
export class ImportSummary {
  sent = 0;
  accepted = 0;
  duplicates = 0;
  conflicts = 0;
  rejected = 0;
  readonly #groups = new Map<string, RefusalGroup>();

  /** Adds the answer to one request. @param lines of each event of the request, its line in the file. */
  add(answer: IngestResult, lines: readonly number[]): void {
    this.sent += lines.length;
    this.accepted += answer.accepted;
    this.duplicates += answer.duplicates;
    this.conflicts += answer.conflicts;
    this.rejected += answer.rejected;
    for (const { index, outcome, error } of answer.results) {
      if (outcome === 'duplicate' || error === undefined) continue;
      const key = JSON.stringify([error.code, error.pointer, error.detail]);
      const group = this.#groups.get(key) ?? { ...error, pointer: error.pointer, count: 0, lines: [] };
      group.count += 1;
      const line = lines[index];
      if (line !== undefined && group.lines.length < LINES_SHOWN_MAX) group.lines.push(line);
      if (this.#groups.size < GROUPS_MAX) this.#groups.set(key, group);
    }
  }

  /** Most frequent first. */
  refusals(): RefusalGroup[] {
    return [...this.#groups.values()].sort((a, b) => b.count - a.count);
  }

  /** Whether nothing of what was sent is stored. */
  get isAllRefused(): boolean {
    return this.sent > 0 && this.accepted + this.duplicates === 0;
  }

  /** What may be meant when nothing at all was taken, and for one reason; undefined when there is nothing to say. */
  get advice(): string | undefined {
    const [first, ...others] = new Set(this.refusals().map(({ code }) => code));
    if (!this.isAllRefused || first === undefined || others.length > 0) return undefined;
    return ADVICE[first];
  }

  toJSON(): object {
    const { sent, accepted, duplicates, conflicts, rejected } = this;
    return { sent, accepted, duplicates, conflicts, rejected, reasons: this.refusals() };
  }

  /** A few lines for a person. */
  toText(): string {
    const { accepted, duplicates, conflicts, rejected } = this;
    const reasons = this.refusals().map(({ code, pointer, detail, count, lines }) => {
      const more = count > lines.length ? ', …' : '';
      return `  ${count} × ${code} ${pointer ?? ''} ${detail} (line ${lines.join(', ')}${more})`.replaceAll(
        / +(?=\S)/g,
        ' ',
      );
    });
    const head = `${accepted} accepted, ${duplicates} duplicates, ${conflicts} conflicts, ${rejected} rejected`;
    return [head, ...reasons.map((reason) => ` ${reason}`)].join('\n');
  }
}
