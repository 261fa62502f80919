/** What every route file needs: the type of the app it registers on, and how a route says who may call it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ApiScope } from '../api-key.ts';

/** The app as route files see it: types of parameters, query and body follow from the route's schema. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** Adds routes to an app; `daemon.ts` makes one of each `registerX(app, deps)`. */
export type RouteRegistrar = (app: App) => void;

/** The name of the security scheme in the OpenAPI document. */
export const API_KEY_SCHEME = 'apiKey';

export type RouteSecurity = { [scheme: string]: string[] }[];

/** The `security` of a route's schema: it asks for an API key with this scope, and the app enforces it. */
export function needs(scope: ApiScope): RouteSecurity {
  return [{ [API_KEY_SCHEME]: [scope] }];
}
