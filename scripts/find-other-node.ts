/**
 * Finds or fetches the second version of Node that a part of the tests runs on, and prints its path. Exit code 3, with one
 * line that says why, when there is none.
 */
import { readEmbeddedEnvironment } from '../packages/dev-services/src/environment.ts';
import { findNode, OTHER_NODE_VERSION } from './lib/other-node.ts';

const EXIT_MISSING = 3;
const binary = process.env['OTHER_NODE_BINARY'];

try {
  const { path, version } = await findNode(
    {
      version: OTHER_NODE_VERSION,
      platform: `${process.platform}-${process.arch}`,
      cacheDir: readEmbeddedEnvironment().cacheDir,
      binary: binary === '' ? undefined : binary,
    },
    (line) => process.stderr.write(`${line}\n`),
  );
  process.stderr.write(`Node ${version}: for the tests of the command line\n`);
  process.stdout.write(`${path}\n`);
} catch (err) {
  process.stderr.write(`${err instanceof Error ? err.message : String(err)}\n`);
  process.exitCode = EXIT_MISSING;
}
