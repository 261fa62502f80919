import { describe, expect, it } from 'vitest';
import { form, hourMs, refusalOf, startSeconds, withSimulator } from './simulator-fixture.ts';

describe('meters of the Stripe simulator', () => {
  it('creates a meter with the documented defaults and gives it back', () =>
    withSimulator({}, async ({ stripe }) => {
      const created = await stripe.billing.meters.create({
        display_name: 'API calls',
        event_name: 'api_calls',
        default_aggregation: { formula: 'sum' },
      });
      expect(created).toMatchObject({
        object: 'billing.meter',
        created: startSeconds,
        updated: startSeconds,
        customer_mapping: { event_payload_key: 'stripe_customer_id', type: 'by_id' },
        default_aggregation: { formula: 'sum' },
        event_time_window: null,
        livemode: false,
        status: 'active',
        status_transitions: { deactivated_at: null },
        value_settings: { event_payload_key: 'value' },
      });
      expect(created.id).toMatch(/^mtr_test_/);
      expect(await stripe.billing.meters.retrieve(created.id)).toEqual(created);
    }));

  it('takes payload keys and an event time window of its own', () =>
    withSimulator({}, async ({ meter }) => {
      const created = await meter('storage', {
        default_aggregation: { formula: 'last' },
        event_time_window: 'day',
        customer_mapping: { type: 'by_id', event_payload_key: 'who' },
        value_settings: { event_payload_key: 'bytes' },
      });
      expect(created).toMatchObject({
        default_aggregation: { formula: 'last' },
        event_time_window: 'day',
        customer_mapping: { event_payload_key: 'who' },
        value_settings: { event_payload_key: 'bytes' },
      });
    }));

  it('lets an event name be used by a single meter, even when that is deactivated', () =>
    withSimulator({}, async ({ stripe, meter }) => {
      const { id } = await meter('api_calls');
      await stripe.billing.meters.deactivate(id);
      expect(await refusalOf(meter('api_calls'))).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError' });
    }));

  it('changes nothing but the display name', () =>
    withSimulator({}, async ({ stripe, clock, meter, raw }) => {
      const created = await meter('api_calls');
      clock.advance(hourMs);
      const updated = await stripe.billing.meters.update(created.id, { display_name: 'Calls' });
      expect(updated).toEqual({ ...created, display_name: 'Calls', updated: startSeconds + 3_600 });
      const refused = await raw(`/v1/billing/meters/${created.id}`, form({ event_name: 'other' }));
      expect(refused.status).toBe(400);
      expect(await refused.json()).toMatchObject({ error: { code: 'parameter_unknown', param: 'event_name' } });
    }));

  it('deactivates and reactivates, and says when', () =>
    withSimulator({}, async ({ stripe, clock, meter }) => {
      const { id } = await meter('api_calls');
      clock.advance(hourMs);
      expect(await stripe.billing.meters.deactivate(id)).toMatchObject({
        status: 'inactive',
        status_transitions: { deactivated_at: startSeconds + 3_600 },
      });
      expect(await stripe.billing.meters.reactivate(id)).toMatchObject({
        status: 'active',
        status_transitions: { deactivated_at: null },
      });
    }));

  it('lists newest first, by status, ten a page, and pages on both ways', () =>
    withSimulator({}, async ({ stripe, meter }) => {
      const ids: string[] = [];
      for (let i = 0; i < 12; i += 1) ids.unshift((await meter(`meter_${i}`)).id);
      await stripe.billing.meters.deactivate(ids[0] ?? '');
      const first = await stripe.billing.meters.list();
      expect(first).toMatchObject({ object: 'list', has_more: true, url: '/v1/billing/meters' });
      expect(first.data.map(({ id }) => id)).toEqual(ids.slice(0, 10));
      const second = await stripe.billing.meters.list({ starting_after: ids[9] ?? '' });
      expect(second.has_more).toBe(false);
      expect(second.data.map(({ id }) => id)).toEqual(ids.slice(10));
      const back = await stripe.billing.meters.list({ ending_before: ids[3] ?? '', limit: 2 });
      expect(back.has_more).toBe(true);
      expect(back.data.map(({ id }) => id)).toEqual(ids.slice(1, 3));
      expect((await stripe.billing.meters.list({ status: 'inactive' })).data.map(({ id }) => id)).toEqual([ids[0]]);
      const all: string[] = [];
      for await (const { id } of stripe.billing.meters.list({ limit: 5, status: 'active' })) all.push(id);
      expect(all).toEqual(ids.slice(1));
    }));

  it.each([
    ['an unknown parameter', { metadata: 'x' }, 'parameter_unknown', 'metadata'],
    ['an unknown nested parameter', { 'value_settings[key]': 'x' }, 'parameter_unknown', 'value_settings[key]'],
    ['an empty required text', { event_name: '' }, 'parameter_invalid_empty', 'event_name'],
    ['a text that is too long', { event_name: 'x'.repeat(101) }, undefined, 'event_name'],
    ['a name that is too long', { display_name: 'x'.repeat(251) }, undefined, 'display_name'],
    ['an unknown formula', { 'default_aggregation[formula]': 'max' }, undefined, 'default_aggregation[formula]'],
    ['an unknown window', { event_time_window: 'minute' }, undefined, 'event_time_window'],
    ['a text for an object', { value_settings: 'x' }, undefined, 'value_settings'],
    ['an object for a text', { 'display_name[x]': 'y' }, undefined, 'display_name'],
    [
      'half a mapping',
      { 'customer_mapping[type]': 'by_id' },
      'parameter_missing',
      'customer_mapping[event_payload_key]',
    ],
  ])('refuses %s', (_, entries, code, param) =>
    withSimulator({}, async ({ raw }) => {
      const valid = { event_name: 'e', display_name: 'd', 'default_aggregation[formula]': 'sum' };
      const answer = await raw('/v1/billing/meters', form({ ...valid, ...entries }));
      expect(answer.status).toBe(400);
      const { error } = (await answer.json()) as { error: Record<string, unknown> };
      expect(error).toMatchObject({ type: 'invalid_request_error', param });
      expect(error['code']).toBe(code);
    }),
  );

  it.each(['event_name', 'display_name', 'default_aggregation[formula]'])('refuses a meter without %s', (absent) =>
    withSimulator({}, async ({ raw }) => {
      const entries = { event_name: 'e', display_name: 'd', 'default_aggregation[formula]': 'sum' };
      const rest = Object.fromEntries(Object.entries(entries).filter(([key]) => key !== absent));
      const answer = await raw('/v1/billing/meters', form(rest));
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { code: 'parameter_missing' } });
    }),
  );

  it('answers 404 resource_missing for a meter it does not have', () =>
    withSimulator({}, async ({ stripe }) => {
      const expected = { statusCode: 404, code: 'resource_missing', type: 'StripeInvalidRequestError' };
      expect(await refusalOf(stripe.billing.meters.retrieve('mtr_none'))).toMatchObject(expected);
      expect(await refusalOf(stripe.billing.meters.deactivate('mtr_none'))).toMatchObject(expected);
    }));

  it.each([{ limit: 0 }, { limit: 101 }, { starting_after: 'mtr_none' }, { starting_after: 'a', ending_before: 'b' }])(
    'refuses to list with %o',
    (parameters) =>
      withSimulator({}, async ({ stripe }) => {
        expect(await refusalOf(stripe.billing.meters.list(parameters))).toMatchObject({ statusCode: 400 });
      }),
  );
});
