import { type Static, Type } from 'typebox';
import { CustomerId, DecimalText, Instant, MeterKey } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

const INVOICE_ID_LENGTH_MAX = 255;

const UsageReply = Type.Object({
  stripeMeterId: Type.String(),
  from: Instant,
  to: Instant,
  quantity: Type.Optional(DecimalText),
  customerId: Type.Optional(CustomerId),
  meter: Type.Optional(
    Type.String({ ...MeterKey, description: 'Absent where nothing was sent from here to this Stripe meter.' }),
  ),
});
const Reply = Type.Object({
  invoiceId: Type.String(),
  status: Type.String({ description: 'Of a draft the quantities are not final.' }),
  stripeCustomerId: Type.String(),
  usage: Type.Array(UsageReply, { description: 'One entry for each meter and period; tiers of a price are together.' }),
});

interface InvoiceUsage {
  readonly invoiceId: string;
  readonly status: string;
  readonly stripeCustomerId: string;
  readonly usage: readonly Static<typeof UsageReply>[];
}

export interface InvoiceRoutesDeps {
  /** @throws DaemonError `invoice_not_found`. */
  readInvoiceUsage(invoiceId: string): Promise<InvoiceUsage>;
}

/** `GET /v1/invoices/{invoiceId}/usage`: where an explanation of an invoice begins. */
export function registerInvoices(app: App, deps: InvoiceRoutesDeps): void {
  app.get(
    '/v1/invoices/:invoiceId/usage',
    {
      schema: {
        operationId: 'getInvoiceUsage',
        summary: 'The usage that an invoice of Stripe bills, as last mirrored: whose, of which meters and periods.',
        tags: ['usage'],
        security: needs('usage:read'),
        params: Type.Object({ invoiceId: Type.String({ minLength: 1, maxLength: INVOICE_ID_LENGTH_MAX }) }),
        response: { 200: Reply, default: problemResponse },
      },
    },
    async (request) => {
      const { usage, ...told } = await deps.readInvoiceUsage(request.params.invoiceId);
      return { ...told, usage: [...usage] };
    },
  );
}
