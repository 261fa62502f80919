import { describe, expect, it } from 'vitest';
import { form, refusalOf, startSeconds, withSimulator } from './simulator-fixture.ts';

describe('customers of the Stripe simulator', () => {
  it('creates a customer under an id of its own and gives it back', () =>
    withSimulator({}, async ({ stripe }) => {
      const created = await stripe.customers.create({
        email: 'a+b@example.com',
        name: 'Ärger & Co',
        metadata: { k: 'v' },
      });
      expect(created).toMatchObject({
        object: 'customer',
        created: startSeconds,
        email: 'a+b@example.com',
        name: 'Ärger & Co',
        description: null,
        metadata: { k: 'v' },
        livemode: false,
      });
      expect(created.id).toMatch(/^cus_[A-Za-z0-9]{14}$/);
      expect(await stripe.customers.retrieve(created.id)).toEqual(created);
    }));

  it('does not let the caller choose the id', () =>
    withSimulator({}, async ({ raw }) => {
      const answer = await raw('/v1/customers', form({ id: 'cus_mine' }));
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { code: 'parameter_unknown', param: 'id' } });
    }));

  it('merges metadata, removes a key with an empty value, and all with empty metadata', () =>
    withSimulator({}, async ({ stripe }) => {
      const { id } = await stripe.customers.create({ email: 'a@example.com', metadata: { a: '1', b: '2' } });
      expect(await stripe.customers.update(id, { metadata: { a: '', c: '3' }, email: '' })).toMatchObject({
        email: null,
        metadata: { b: '2', c: '3' },
      });
      expect((await stripe.customers.update(id, { metadata: '' })).metadata).toEqual({});
    }));

  it.each([{ metadata: { ['k'.repeat(41)]: 'v' } }, { metadata: { k: 'v'.repeat(501) } }, { email: 'x'.repeat(513) }])(
    'refuses what is too long',
    (parameters) =>
      withSimulator({}, async ({ stripe }) => {
        expect(await refusalOf(stripe.customers.create(parameters))).toMatchObject({ statusCode: 400 });
        expect((await stripe.customers.list()).data).toEqual([]);
      }),
  );

  it('lists newest first, by exact email, and pages', () =>
    withSimulator({}, async ({ stripe }) => {
      const first = await stripe.customers.create({ email: 'a@example.com' });
      const second = await stripe.customers.create({ email: 'b@example.com' });
      const third = await stripe.customers.create({ email: 'a@example.com' });
      const idsOf = (list: { data: { id: string }[] }): string[] => list.data.map(({ id }) => id);
      expect(idsOf(await stripe.customers.list())).toEqual([third.id, second.id, first.id]);
      expect(idsOf(await stripe.customers.list({ email: 'a@example.com' }))).toEqual([third.id, first.id]);
      expect(idsOf(await stripe.customers.list({ email: 'A@example.com' }))).toEqual([]);
      const page = await stripe.customers.list({ limit: 1, starting_after: third.id });
      expect(idsOf(page)).toEqual([second.id]);
      expect(page.has_more).toBe(true);
    }));

  it('shows a deleted customer as deleted, and otherwise does not know it', () =>
    withSimulator({}, async ({ stripe }) => {
      const { id } = await stripe.customers.create();
      expect(await stripe.customers.del(id)).toMatchObject({ id, deleted: true });
      expect(await stripe.customers.retrieve(id)).toEqual({ id, object: 'customer', deleted: true });
      const missing = { statusCode: 404, code: 'resource_missing' };
      expect(await refusalOf(stripe.customers.update(id, { name: 'x' }))).toMatchObject(missing);
      expect(await refusalOf(stripe.customers.del(id))).toMatchObject(missing);
      expect(await refusalOf(stripe.customers.retrieve('cus_none'))).toMatchObject(missing);
      expect((await stripe.customers.list()).data).toEqual([]);
    }));
});
