import type { Route } from './route.ts';

/** Finds the route of a method and path; `{id}` in a route's name stands for one segment. */
export class Router {
  readonly #routes = new Map<string, Route>();

  constructor(routes: readonly Route[]) {
    for (const route of routes) this.#routes.set(route.name, route);
  }

  names(): Iterable<string> {
    return this.#routes.keys();
  }

  find(method: string, path: string): { route: Route; pathId: string } | undefined {
    const exact = this.#routes.get(`${method} ${path}`);
    if (exact !== undefined) return { route: exact, pathId: '' };
    const segments = path.split('/');
    for (const [index, segment] of segments.entries()) {
      if (index === 0 || segment === '') continue;
      const route = this.#routes.get(`${method} ${segments.with(index, '{id}').join('/')}`);
      const pathId = decode(segment);
      if (route !== undefined && pathId !== undefined) return { route, pathId };
    }
    return undefined;
  }
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
