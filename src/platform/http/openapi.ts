/** The OpenAPI document at `/openapi.json`, made of the routes' own schemas, and pages to read it at `/docs`. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { type App, API_KEY_SCHEME } from './route.ts';
import { DOCS_POLICY } from './safe-headers.ts';

const DESCRIPTION = `Usage-based billing on Stripe: exact metering, an outbox of meter events, nightly reconciliation. \
Quantities are decimal strings; times are RFC 3339 in UTC; periods are half-open. Errors are problem details (RFC 9457) \
with a \`code\` that docs/errors.md explains. Lists are \`{data, nextCursor, hasMore}\`.

**To begin**: send events with \`POST /v1/events\`, say what of them is counted with \`PUT /v1/meters/{key}\`, and which \
Stripe customer a customer is with \`PUT /v1/customers/{customerId}\`. What was used is at \
\`GET /v1/customers/{customerId}/usage\`, at once; what is sent, compared and billed follows by itself.`;

/** In the order in which a reader meets them: first what an application does, then what its operators do. */
const TAGS = [
  {
    name: 'events',
    description: 'Usage events: what happened, each once, for ever. The only thing an application has to send.',
  },
  { name: 'meters', description: 'What is counted of the events, how, and under which event name it goes to Stripe.' },
  {
    name: 'customers',
    description: 'Your customers, which Stripe customer each of them is, and their billing periods.',
  },
  {
    name: 'usage',
    description: 'What a customer used, exact at once; the events behind a figure; what a bill is made of.',
  },
  { name: 'rejected events', description: 'Events that broke a rule: kept, listed, replayed once corrected.' },
  { name: 'adjustments', description: 'Corrections after the fact: usage added or taken away, with a reason.' },
  {
    name: 'late usage',
    description: 'Usage that came when its invoice was final, and what a person decides about it.',
  },
  {
    name: 'submissions',
    description: 'The outbox: one entry for each meter event to Stripe, with its state and attempts.',
  },
  {
    name: 'reconciliations',
    description: "Our figures beside Stripe's: verdicts, both numbers, plans, and who approved them.",
  },
  {
    name: 'invoice guards',
    description: 'Invoices that are compared before they are final, and held while the two sides differ.',
  },
  { name: 'runs', description: 'The jobs: have one run now, and see what came of it.' },
  { name: 'stripe', description: 'Where Stripe delivers its webhooks, and what became of each.' },
  { name: 'operation', description: 'Whether the process lives and is ready, and where the pipeline stands.' },
];

/** A notched stick, split: our own mark. */
const LOGO = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 190 40" width="190" height="40">\
<g fill="none" stroke="#fff" stroke-width="2"><path d="M3 9h30v9H3zM3 22h30v9H3z"/>\
<path d="M9 9v22M15 9v22M21 9v22M27 9v22" stroke-width="1.5"/></g>\
<text x="44" y="27" font-family="sans-serif" font-size="21" fill="#fff">Tallystick</text></svg>`;
const FAVICON = LOGO.replace('0 0 190 40', '0 0 36 40').replace('width="190"', 'width="36"').replaceAll('#fff', '#666');

/** Has to be called before any route is registered. */
export async function registerOpenApi(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Tallystick', description: DESCRIPTION, version },
      tags: TAGS,
      components: {
        securitySchemes: {
          [API_KEY_SCHEME]: { type: 'http', scheme: 'bearer', description: 'An API key: `Bearer tly_…`.' },
        },
      },
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return {};
      const { openapiObject } = document;
      return { ...openapiObject, paths: inTagOrder(openapiObject.paths ?? {}) };
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: DOCS_POLICY,
    logo: { type: 'image/svg+xml', content: LOGO, href: '/docs', target: '_self' },
    theme: {
      title: 'Tallystick',
      favicon: [{ filename: 'tallystick.svg', rel: 'icon', type: 'image/svg+xml', sizes: 'any', content: FAVICON }],
    },
  });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  app.get('/', { schema: { hide: true } }, (_request, reply) => reply.redirect('/docs'));
}

/** Paths by their first operation's tag, in the order of the tags; within a tag as they were registered. */
function inTagOrder<Paths extends object>(paths: Paths): Paths {
  const rankOf = (path: unknown): number => {
    const tags = Object.values(path ?? {}).flatMap(
      (operation) => (operation as { tags?: string[] } | null)?.tags ?? [],
    );
    const rank = TAGS.findIndex(({ name }) => tags.includes(name));
    return rank < 0 ? TAGS.length : rank;
  };
  return Object.fromEntries(Object.entries(paths).sort(([, a], [, b]) => rankOf(a) - rankOf(b))) as Paths;
}
