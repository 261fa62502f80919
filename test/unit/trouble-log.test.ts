import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/platform/clock.ts';
import { TroubleLog } from '../../src/platform/trouble-log.ts';

function listen(): { lines: [string, object, string][]; troubles: TroubleLog; clock: ManualClock } {
  const lines: [string, object, string][] = [];
  const clock = new ManualClock(0);
  const log = {
    info: (fields: object, phrase: string) => void lines.push(['info', fields, phrase]),
    warn: (fields: object, phrase: string) => void lines.push(['warn', fields, phrase]),
  };
  return { lines, troubles: new TroubleLog(log, clock), clock };
}

describe('a trouble', () => {
  it('is told once when it begins and once when it is over, however often it is met', () => {
    const { lines, troubles, clock } = listen();
    for (let times = 0; times < 3_100; times += 1) {
      troubles.begin({ phrase: 'redis refuses writes', kind: 'OOM', fields: { code: 'OOM' } });
    }
    clock.advance(5_000);
    troubles.clear('redis refuses writes');
    troubles.clear('redis refuses writes');
    expect(lines).toEqual([
      ['warn', { code: 'OOM' }, 'redis refuses writes'],
      ['info', { times: 3_100, durationMs: 5_000, trouble: 'redis refuses writes' }, 'trouble is over'],
    ]);
  });

  it('is told again when it becomes another kind of trouble, and apart from others', () => {
    const { lines, troubles } = listen();
    for (const kind of ['OOM', 'OOM', 'READONLY']) troubles.report({ phrase: 'redis refuses writes', kind });
    troubles.report({ phrase: 'could not renew a lease' });
    expect(lines.map(([level, , phrase]) => `${level} ${phrase}`)).toEqual([
      'warn redis refuses writes',
      'warn redis refuses writes',
      'warn could not renew a lease',
    ]);
    for (const phrase of ['redis refuses writes', 'could not renew a lease']) troubles.clear(phrase);
  });
});
