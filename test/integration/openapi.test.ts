/** The interface as a document: what a reader meets first, and that nothing in it is left unexplained. */
import { describe, expect, it } from 'vitest';
import { withDaemon } from '../support/daemon.ts';

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly examples?: readonly unknown[];
}

interface Document {
  readonly tags: readonly { name: string; description?: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, { tags?: string[]; requestBody?: Body }>>>>;
}

interface Body {
  readonly content: Readonly<Record<string, { schema: Schema & { anyOf?: Schema[] }; examples?: object }>>;
}

describe('the OpenAPI document', () => {
  it('begins with events, tells what each group is, and explains the definition of a meter with examples', () =>
    withDaemon({}, async (daemon) => {
      const { url } = daemon;
      const { tags, paths } = await daemon.get<Document>('/openapi.json');
      expect(Object.keys(paths)[0]).toBe('/v1/events');
      const used = Object.values(paths).flatMap((path) =>
        Object.values(path).flatMap((operation) => operation.tags ?? []),
      );
      const told = tags.filter(({ description = '' }) => description.length > 20).map(({ name }) => name);
      expect([...new Set(used)].filter((tag) => !told.includes(tag))).toEqual([]);
      expect(tags.map(({ name }) => name).filter((name) => !used.includes(name))).toEqual([]);

      const media = paths['/v1/meters/{key}']?.['put']?.requestBody?.content['application/json'];
      const meter = media?.schema;
      const fields = Object.entries(meter?.properties ?? {});
      expect(fields.length).toBeGreaterThan(8);
      expect(fields.filter(([, { description = '' }]) => description === '').map(([name]) => name)).toEqual([]);
      expect(Object.keys(media?.examples ?? {}).length).toBeGreaterThan(1);
      const event = paths['/v1/events']?.['post']?.requestBody?.content['application/json']?.schema.anyOf?.[0];
      expect(event?.examples).toMatchObject([{ idempotencyKey: expect.any(String), quantity: expect.any(String) }]);

      const initializer = await (await fetch(`${url}/docs/static/swagger-initializer.js`)).text();
      const [, image = ''] = /data:image\/svg\+xml;base64,([A-Za-z0-9+/=]+)/.exec(initializer) ?? [];
      expect(Buffer.from(image, 'base64').toString()).toContain('Tallystick');
    }));
});
