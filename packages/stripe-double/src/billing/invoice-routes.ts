import { answer } from '../answer.ts';
import type { Answer } from '../answer.ts';
import { expand, pageFields } from '../parameters.ts';
import type { Fields, Parameters } from '../parameters.ts';
import type { Account, Route } from '../route.ts';
import type { InvoiceCycle } from './invoice-cycle.ts';
import type { InvoiceRecord, Invoices } from './invoices.ts';
import type { Payments } from './payments.ts';

const url = '/v1/invoices';

interface RoutesDeps {
  account: Account;
  invoices: Invoices;
  invoiceCycle: InvoiceCycle;
  payments: Payments;
}

const listFields: Fields = {
  collection_method: { kind: 'choice', of: ['charge_automatically', 'send_invoice'] },
  created: { kind: 'range' },
  customer: { kind: 'text' },
  status: { kind: 'choice', of: ['draft', 'open', 'paid', 'uncollectible', 'void'] },
  subscription: { kind: 'text' },
  ...pageFields,
};

export function invoiceRoutes(deps: RoutesDeps): Route[] {
  const { account, invoices, invoiceCycle, payments } = deps;
  const byId = `${url}/{id}`;
  const deed = (
    verb: string,
    parameters: Fields,
    run: (record: InvoiceRecord, atMs: number, parameters: Parameters) => void,
  ): Route => ({
    name: `POST ${byId}/${verb}`,
    parameters: { ...parameters, ...expand },
    run: (call): Answer => {
      const record = invoices.retrieve(call.pathId);
      run(record, account.clock.now(), call.parameters);
      return answer(record.invoice);
    },
  });
  return [
    { name: `GET ${url}`, parameters: listFields, run: ({ parameters }) => answer(invoices.list(parameters)) },
    { name: `GET ${byId}`, parameters: expand, run: ({ pathId }) => answer(invoices.retrieve(pathId).invoice) },
    {
      name: `GET ${byId}/lines`,
      parameters: pageFields,
      run: ({ pathId, parameters }) => answer(invoices.listLines(pathId, parameters)),
    },
    {
      name: `POST ${byId}`,
      parameters: {
        auto_advance: { kind: 'boolean' },
        automatically_finalizes_at: { kind: 'integer' },
        description: { kind: 'text', max: 1_500 },
        metadata: { kind: 'map' },
        ...expand,
      },
      run: ({ pathId, parameters }) => answer(update(deps, invoices.retrieve(pathId), parameters)),
    },
    deed('finalize', { auto_advance: { kind: 'boolean' } }, (record, atMs, parameters) => {
      const { invoice } = record;
      if (invoice.status === 'draft')
        invoice.auto_advance = parameters.boolean('auto_advance') ?? invoice.auto_advance === true;
      invoiceCycle.finalise(record, atMs);
    }),
    deed('pay', { paid_out_of_band: { kind: 'boolean' } }, (record, atMs, parameters) => {
      payments.payByHand(record, atMs, parameters.boolean('paid_out_of_band') ?? false);
    }),
    deed('void', {}, (record, atMs) => invoiceCycle.void(record, atMs)),
    deed('mark_uncollectible', {}, (record, atMs) => invoiceCycle.markUncollectible(record, atMs)),
  ];
}

function update({ account, invoices, invoiceCycle }: RoutesDeps, record: InvoiceRecord, parameters: Parameters) {
  const { invoice } = record;
  const before = JSON.parse(JSON.stringify(invoice)) as Record<string, unknown>;
  invoices.describe(record, parameters);
  const autoAdvance = parameters.boolean('auto_advance');
  if (autoAdvance !== undefined) invoiceCycle.setAutoAdvance(record, autoAdvance);
  const finalizesAt = parameters.integer('automatically_finalizes_at');
  if (finalizesAt !== undefined) invoiceCycle.postpone(record, finalizesAt);
  const after = invoice as unknown as Record<string, unknown>;
  const previous = Object.fromEntries(
    Object.entries(before).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(after[key])),
  );
  if (Object.keys(previous).length > 0) {
    invoices.tell('invoice.updated', { invoice, atMs: account.clock.now(), previous });
  }
  return invoice;
}
