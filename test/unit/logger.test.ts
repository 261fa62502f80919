import { describe, expect, it } from 'vitest';
import { DaemonError } from '../../src/platform/errors.ts';
import { createLogger } from '../../src/platform/logger.ts';

function linesOf(write: (log: ReturnType<typeof createLogger>) => void): Record<string, unknown>[] {
  const lines: string[] = [];
  write(createLogger({ level: 'info', destination: { write: (line) => lines.push(line) } }));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('a log line', () => {
  it('is a phrase and fields', () => {
    const [line] = linesOf((log) => log.child({ job: 'reconcile' }).info({ drift: 3 }, 'drift found'));
    expect(line).toMatchObject({ level: 'info', msg: 'drift found', drift: 3, job: 'reconcile' });
  });

  it('is left out below the level', () => {
    expect(linesOf((log) => log.debug({}, 'detail'))).toEqual([]);
  });

  it('holds no secret, neither by its name nor by its look', () => {
    const secrets = ['rk_test_abcdefgh', 'whsec_abcdefgh', 'tly_abcdefgh', 'swordfish'];
    const [line] = linesOf((log) =>
      log.error(
        {
          authorization: 'Bearer swordfish',
          headers: { authorization: 'swordfish' },
          stripe: { secretKey: 'swordfish' },
          note: `${secrets[0]} ${secrets[1]} ${secrets[2]}`,
          err: new Error('cannot reach mongodb://user:swordfish@db.example:27017/?a=1'),
        },
        'failed',
      ),
    );
    const text = JSON.stringify(line);
    for (const secret of secrets) expect(text).not.toContain(secret);
    expect(text).toContain('mongodb://user:[redacted]@db.example:27017');
  });

  it('tells an error with its kind, code, context and causes', () => {
    const cause = new TypeError('inner');
    const error = new DaemonError({ kind: 'defect', code: 'x_y', message: 'outer', context: { a: 1 }, cause });
    const [line] = linesOf((log) => log.error({ err: error }, 'failed'));
    expect(line?.['err']).toMatchObject({
      kind: 'defect',
      code: 'x_y',
      context: { a: 1 },
      cause: { type: 'TypeError' },
    });
  });
});
