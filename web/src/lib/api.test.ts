import { describe, expect, it } from 'vitest';
import { backoffMs, BACKOFF_MAX_MS, parseChannelList, watchChannels, type ChannelList, type WatchEnvironment } from './api';

const CHANNEL = { id: 'live/a', app: 'live', name: 'a', hls: '/live/a/index.m3u8' };

type Step = number | 'fail' | 'garbage' | { status: number };

/** A server that follows a script: a version to answer, or a fault. The loop is stopped when the script is over. */
async function run(script: Step[]) {
  const asked: string[] = [];
  const slept: number[] = [];
  const lists: number[] = [];
  const faults: string[] = [];
  const stop = new AbortController();
  let now = 0;
  const environment: WatchEnvironment = {
    fetch: async (url) => {
      asked.push(url);
      const step = script.shift();
      if (script.length === 0) queueMicrotask(() => stop.abort());
      if (step === undefined || step === 'fail') throw new TypeError('no connection');
      if (step === 'garbage') return new Response('<html>');
      if (typeof step === 'object') return new Response('', { status: step.status });
      return Response.json({ version: step, server: 's', channels: [CHANNEL] });
    },
    sleep: async (ms) => {
      slept.push(ms);
      now += ms;
    },
    random: () => 1,
    nowMs: () => now,
  };
  await watchChannels(
    { onList: (list: ChannelList) => lists.push(list.version), onOffline: (error) => faults.push(String(error)) },
    stop.signal,
    environment,
  );
  return { asked, slept, lists, faults };
}

describe('watchChannels', () => {
  it('asks for what is newer than the last answer', async () => {
    const { asked, lists } = await run([17, 18, 25, 26]);
    expect(asked).toEqual(['/channels.json', '/channels.json?after=17', '/channels.json?after=18', '/channels.json?after=25']);
    expect(lists).toEqual([17, 18, 25]);
  });

  it('is quiet about an answer without news, and does not spin', async () => {
    const { lists, slept } = await run([3, 3, 3, 4, 5]);
    expect(lists).toEqual([3, 4]);
    expect(slept).toEqual([1000, 1000]);
  });

  it('backs off while the server is away, then starts from a fresh list', async () => {
    const { asked, slept, lists, faults } = await run([40, 'fail', { status: 503 }, 'garbage', 2, 3]);
    expect(asked[1]).toBe('/channels.json?after=40');
    expect(asked.slice(2, 5)).toEqual(['/channels.json', '/channels.json', '/channels.json']);
    expect(slept).toEqual([500, 1000, 2000]);
    expect(faults).toHaveLength(3);
    expect(faults[1]).toContain('503');
    expect(lists).toEqual([40, 2]);
  });

  it('takes the list of a restarted server although its version is lower', async () => {
    const { lists } = await run([40, 'fail', 1, 2]);
    expect(lists).toEqual([40, 1]);
  });

  it('starts the backoff anew after a good answer', async () => {
    const { slept } = await run(['fail', 'fail', 1, 'fail', 2, 3]);
    expect(slept).toEqual([500, 1000, 500]);
  });

  it('asks nothing once it is stopped', async () => {
    const stop = new AbortController();
    stop.abort();
    let asked = 0;
    const environment: WatchEnvironment = {
      fetch: async () => {
        asked += 1;
        return new Response();
      },
      sleep: async () => undefined,
      random: Math.random,
      nowMs: () => 0,
    };
    await watchChannels({ onList: () => undefined, onOffline: () => undefined }, stop.signal, environment);
    expect(asked).toBe(0);
  });

  it('passes its stop on to a request that is being held, and reports no fault for it', async () => {
    const stop = new AbortController();
    const faults: unknown[] = [];
    const environment: WatchEnvironment = {
      fetch: (_url, init) =>
        new Promise((_resolve, reject) => {
          init.signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
          queueMicrotask(() => stop.abort());
        }),
      sleep: async () => undefined,
      random: Math.random,
      nowMs: () => 0,
    };
    await watchChannels({ onList: () => undefined, onOffline: (error) => faults.push(error) }, stop.signal, environment);
    expect(faults).toEqual([]);
  });
});

describe('backoffMs', () => {
  it('doubles, stays below its bound, and keeps half of each step fixed', () => {
    expect([0, 1, 2, 3].map((attempt) => backoffMs(attempt, () => 1))).toEqual([500, 1000, 2000, 4000]);
    expect(backoffMs(1000, () => 1)).toBe(BACKOFF_MAX_MS);
    expect(backoffMs(2, () => 0)).toBe(1000);
  });
});

describe('parseChannelList', () => {
  it('fills in what may be missing', () => {
    const list = parseChannelList({ version: 1, channels: [CHANNEL] });
    expect(list.channels[0]).toMatchObject({ title: 'a', live: true, thumbnail: null, video: null, renditions: [], notices: [] });
  });

  it('keeps one entry per id', () => {
    expect(parseChannelList({ version: 1, channels: [CHANNEL, CHANNEL] }).channels).toHaveLength(1);
  });

  it('skips entries that are not channels, and refuses what is not a list', () => {
    expect(parseChannelList({ version: 1, channels: [CHANNEL, null, { id: 'x' }] }).channels).toHaveLength(1);
    for (const body of [null, [], 'x', {}, { version: '1', channels: [] }, { version: 1 }]) {
      expect(() => parseChannelList(body)).toThrow();
    }
  });
});
