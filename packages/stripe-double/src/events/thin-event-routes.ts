import { answer, invalidRequest } from '../answer.ts';
import type { Answer } from '../answer.ts';
import type { Fields, Parameters } from '../parameters.ts';
import type { Call, Route } from '../route.ts';
import type { ThinEvent, ThinEvents } from './thin-events.ts';

const url = '/v2/core/events';
const pageSizeDefault = 20;
const instant: Fields[string] = { kind: 'text' };

const listFields: Fields = {
  created: { kind: 'group', fields: { gt: instant, gte: instant, lt: instant, lte: instant } },
  limit: { kind: 'integer', min: 1, max: 100 },
  object_id: { kind: 'text' },
  page: { kind: 'text' },
  types: { kind: 'list' },
};

/** What a page's token holds: the filters go with it, so that following the URL needs nothing else. */
interface Page {
  /** The event before the first of the page; absent on the first page. */
  after?: string;
  limit: number;
  objectId?: string | undefined;
  types: string[];
  created: Record<string, string>;
}

/** `GET /v2/core/events` and `/{id}`: thin events with their data. */
export function thinEventRoutes(events: ThinEvents): Route[] {
  return [
    { name: `GET ${url}`, parameters: listFields, run: (call) => list(events, call) },
    { name: `GET ${url}/{id}`, parameters: {}, run: ({ pathId }) => answer(events.retrieve(pathId)) },
  ];
}

/** Newest first. Pages are followed by the URLs they give, not by cursors (Stripe docs, v2 pagination). */
function list(events: ThinEvents, { parameters }: Call): Answer {
  const page = readPage(parameters);
  const rows = events.kept().filter((event) => isAsked(event, page));
  const start = page.after === undefined ? 0 : rows.findIndex(({ id }) => id === page.after) + 1;
  const end = start + page.limit;
  const before = rows[start - page.limit - 1];
  return answer({
    data: rows.slice(start, end),
    next_page_url: end < rows.length ? pageUrl(page, rows[end - 1]) : null,
    previous_page_url: start > 0 ? pageUrl(page, before) : null,
  });
}

function readPage(parameters: Parameters): Page {
  const token = parameters.text('page');
  if (token !== undefined) {
    try {
      return JSON.parse(Buffer.from(token, 'base64url').toString()) as Page;
    } catch {
      throw invalidRequest(`Invalid page token: ${token}`, { param: 'page' });
    }
  }
  return {
    limit: parameters.integer('limit') ?? pageSizeDefault,
    objectId: parameters.text('object_id'),
    types: parameters.list('types'),
    created: Object.fromEntries(parameters.map('created')),
  };
}

function isAsked(event: ThinEvent, { objectId, types, created }: Page): boolean {
  if (objectId !== undefined && event.related_object?.id !== objectId) return false;
  if (types.length > 0 && !types.includes(event.type)) return false;
  const at = Date.parse(event.created);
  const { gt, gte, lt, lte } = created;
  if (gt !== undefined && !(at > toMs(gt))) return false;
  if (gte !== undefined && !(at >= toMs(gte))) return false;
  if (lt !== undefined && !(at < toMs(lt))) return false;
  return lte === undefined || at <= toMs(lte);
}

/** RFC 3339 as v2 has it, or the Unix seconds that the SDK's types ask for. */
function toMs(instant: string): number {
  return /^\d+$/.test(instant) ? Number(instant) * 1000 : Date.parse(instant);
}

function pageUrl(page: Page, last: ThinEvent | undefined): string {
  const { after: _after, ...rest } = page;
  const token = JSON.stringify(last === undefined ? rest : { ...rest, after: last.id });
  return `${url}?page=${Buffer.from(token).toString('base64url')}`;
}
