import type { ApiClient, ApiRequest } from './api-client.ts';
import { renderTable } from './table.ts';

/** Moved by every write, and no change that a person asked for. */
const UNTOLD: readonly string[] = ['updatedAt', 'createdAt', 'revision'];

/** What a write would change, field by field, before and after; what stays is left out. */
export function renderChange(before: object | undefined, after: object): string {
  const [old, next] = [entriesOf(before ?? {}), entriesOf(after)];
  const names = [...new Set([...old.keys(), ...next.keys()])].filter((name) => !UNTOLD.includes(name));
  const rows = names
    .filter((name) => old.get(name) !== next.get(name))
    .map((name) => [name, old.get(name), next.get(name)]);
  if (rows.length === 0) return 'nothing would change';
  return renderTable(
    ['would change', 'before', 'after'].map((heading) => ({ heading })),
    rows,
  );
}

function entriesOf(value: object): Map<string, string> {
  return new Map(
    Object.entries(value)
      .filter(([, part]) => part !== undefined)
      .map(([name, part]) => [name, typeof part === 'string' ? part : JSON.stringify(part)]),
  );
}

/** What a put would change: what is there now, and what the daemon says would be there, by its own rules. */
export async function foreseePut<Reply extends object>(
  api: ApiClient,
  { path, query = {}, body }: Pick<ApiRequest, 'path' | 'query' | 'body'>,
): Promise<{ before: Reply | undefined; after: Reply }> {
  const present = await api.send({ method: 'GET', path });
  const after = await api.call<Reply>({ method: 'PUT', path, query: { ...query, dryRun: true }, body });
  return { before: present.status === 200 ? (present.body as Reply) : undefined, after };
}
