import { describe, expect, it } from 'vitest';
import { EventCutter, parseProgress } from './library-api';

describe('EventCutter', () => {
  const whole = ': hello\n\nid: 0-7\nevent: asset.ready\ndata: {"asset":"ast_1"}\n\nevent: job.progress\ndata: {"permille":\ndata: 5}\n\n';
  const expected = [
    { cursor: '0-7', type: 'asset.ready', data: { asset: 'ast_1' } },
    { cursor: null, type: 'job.progress', data: { permille: 5 } },
  ];

  it('reads events whole', () => {
    expect(new EventCutter().push(whole)).toEqual(expected);
  });

  it('reads events however they are cut', () => {
    for (let size = 1; size < whole.length; size += 1) {
      const cutter = new EventCutter();
      const events = [];
      for (let at = 0; at < whole.length; at += size) events.push(...cutter.push(whole.slice(at, at + size)));
      expect(events).toEqual(expected);
    }
  });

  it('skips what is not JSON', () => {
    expect(new EventCutter().push('data: nonsense\n\ndata: {"a":1}\n\n')).toEqual([
      { cursor: null, type: 'message', data: { a: 1 } },
    ]);
  });
});

describe('parseProgress', () => {
  it('fills what is missing', () => {
    expect(parseProgress({ job: 'job_1', asset: 'ast_1', state: 'running', permille: 10 })).toEqual({
      job: 'job_1',
      asset: 'ast_1',
      state: 'running',
      permille: 10,
      eta_ms: null,
      position: null,
      renditions: [],
      steps: [],
      error: null,
    });
  });

  it('is nothing when it is something else', () => {
    expect(parseProgress(null)).toBeNull();
    expect(parseProgress({ permille: 'much' })).toBeNull();
  });
});
