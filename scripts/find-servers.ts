/**
 * Finds or fetches the MongoDB and Redis that the demo and the tests start, and says which: so that a machine without
 * them is told before anything else runs. Exit code 3 when there is none to be had.
 */
import { readEmbeddedEnvironment } from '../packages/dev-services/src/environment.ts';
import { resolveMongod } from '../packages/dev-services/src/resolve-mongod.ts';
import { resolveRedis } from '../packages/dev-services/src/resolve-redis.ts';
import { ServicesError } from '../packages/dev-services/src/errors.ts';

const EXIT_MISSING = 3;
const environment = readEmbeddedEnvironment();
const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

try {
  if (environment.mongodbUri === undefined) await resolveMongod(environment, say);
  if (environment.redisUrl === undefined) await resolveRedis(environment, say);
} catch (err) {
  if (!(err instanceof ServicesError)) throw err;
  process.stderr.write(`${err.message}\n`);
  process.exitCode = EXIT_MISSING;
}
