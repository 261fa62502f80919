/** The OpenAPI document at `/openapi.json`, made of the routes' own schemas, and pages to read it at `/docs`. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { type App, API_KEY_SCHEME } from './route.ts';

const DESCRIPTION = `Usage-based billing on Stripe: exact metering, an outbox of meter events, nightly reconciliation. \
Quantities are decimal strings; times are RFC 3339 in UTC; periods are half-open. Errors are problem details (RFC 9457).`;

/** Has to be called before any route is registered. */
export async function registerOpenApi(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Tallystick', description: DESCRIPTION, version },
      components: {
        securitySchemes: {
          [API_KEY_SCHEME]: { type: 'http', scheme: 'bearer', description: 'An API key: `Bearer tly_…`.' },
        },
      },
    },
  });
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
}
