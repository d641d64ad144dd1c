import { describe, expect, it } from 'vitest';
import type { PlayerSnapshot } from './player';
import { announcement, badgeText, overlayMessage, type Situation } from './status';

const ON_AIR: Situation = { onAir: true, listed: true, serverReachable: true, backOnAir: false };
const ENDED: Situation = { ...ON_AIR, onAir: false };

function snapshot(changes: Partial<PlayerSnapshot>, latencyMs: number | null = 1234): PlayerSnapshot {
  return {
    state: 'playing',
    finished: false,
    atLive: true,
    behindSeconds: 0,
    positionSeconds: 60,
    windowStartSeconds: 0,
    windowEndSeconds: 60,
    qualities: [],
    chosenLevel: null,
    currentLevel: null,
    offersSound: false,
    hasTextTracks: false,
    statistics: {
      engine: 'hls.js',
      bandwidthBps: null,
      bufferSeconds: 1,
      droppedFrames: 0,
      decodedFrames: 0,
      latencyMs,
      targetLatencyMs: null,
      stalls: 0,
      stalledMs: 0,
      restarts: 0,
      playbackRate: 1,
    },
    ...changes,
  };
}

describe('badgeText', () => {
  const check = (changes: Partial<PlayerSnapshot>, latencyMs: number | null, text: string) =>
    expect(badgeText(snapshot(changes, latencyMs))).toBe(text);

  it('says where the picture is in time', () => {
    check({}, 1234, 'LIVE · 1.2 s');
    check({}, null, 'LIVE');
    check({ atLive: false }, 65_000, 'REWIND · 1 min 05 s');
    check({ finished: true, atLive: false }, 65_000, 'ENDED');
  });
});

describe('overlayMessage', () => {
  const check = (changes: Partial<PlayerSnapshot>, situation: Situation, title: string | undefined) =>
    expect(overlayMessage(snapshot(changes), situation)?.title).toBe(title);

  it('leaves the picture alone while it plays', () => {
    for (const state of ['loading', 'playing', 'paused', 'stalled'] as const) check({ state }, ON_AIR, undefined);
  });

  it('says why there is no picture', () => {
    check({ state: 'recovering' }, ON_AIR, 'Reconnecting…');
    check({ state: 'ended', finished: true }, ENDED, 'The broadcast has ended');
    check({ state: 'ended', finished: true }, ON_AIR, 'Back on air');
    check({ state: 'idle' }, { ...ENDED, listed: false }, 'Not on air');
    check({ state: 'idle' }, { ...ENDED, listed: false, serverReachable: false }, 'The server does not answer');
  });
});

describe('announcement', () => {
  const check = (changes: Partial<PlayerSnapshot>, situation: Situation, text: string) =>
    expect(announcement(snapshot(changes), situation)).toBe(text);

  it('names the change, and no figures that change all the time', () => {
    check({}, ON_AIR, 'Playing live');
    check({ atLive: false }, ON_AIR, 'Playing behind live');
    check({ state: 'paused' }, ON_AIR, 'Paused');
    check({ state: 'stalled' }, ON_AIR, 'Waiting for data');
    check({ state: 'recovering' }, ON_AIR, 'Reconnecting…');
    check({ finished: true, atLive: false }, ENDED, 'Playing a broadcast that has ended');
    check({ finished: true, atLive: false }, { ...ON_AIR, backOnAir: true }, 'The channel is back on air');
  });
});
