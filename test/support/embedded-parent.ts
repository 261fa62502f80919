/** Starts both embedded servers, prints their ports as JSON, and waits to be killed. */
import { readEmbeddedEnvironment } from '../../src/embedded/environment.ts';
import { startEmbeddedMongo } from '../../src/embedded/mongo.ts';
import { startEmbeddedRedis } from '../../src/embedded/redis.ts';
import { resolveMongod } from '../../src/embedded/resolve-mongod.ts';
import { resolveRedis } from '../../src/embedded/resolve-redis.ts';

const environment = readEmbeddedEnvironment();
const quietly = (): void => {};
const mongo = await startEmbeddedMongo({ program: await resolveMongod(environment, quietly) });
const redis = await startEmbeddedRedis({ program: await resolveRedis(environment, quietly) });
process.stdout.write(`${JSON.stringify([...mongo.nodes.map((node) => node.port), redis.port])}\n`);
setInterval(quietly, 60_000);
