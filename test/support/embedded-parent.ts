/** Starts both embedded servers, prints their ports as JSON, and waits to be killed. */
import { readEmbeddedEnvironment } from '../../packages/dev-services/src/environment.ts';
import { startEmbeddedMongo } from '../../packages/dev-services/src/mongo.ts';
import { startEmbeddedRedis } from '../../packages/dev-services/src/redis.ts';
import { resolveMongod } from '../../packages/dev-services/src/resolve-mongod.ts';
import { resolveRedis } from '../../packages/dev-services/src/resolve-redis.ts';

const environment = readEmbeddedEnvironment();
const quietly = (): void => {};
const mongo = await startEmbeddedMongo({ program: await resolveMongod(environment, quietly) });
const redis = await startEmbeddedRedis({ program: await resolveRedis(environment, quietly) });
process.stdout.write(`${JSON.stringify([...mongo.nodes.map((node) => node.port), redis.port])}\n`);
setInterval(quietly, 60_000);
