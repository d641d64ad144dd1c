import { describe, expect, it } from 'vitest';
import * as format from './format';

function check<T>(write: (value: T) => string, cases: [T, string][]) {
  for (const [value, text] of cases) expect(write(value), String(value)).toBe(text);
}

describe('format', () => {
  it('latency', () => {
    check(format.formatLatency, [[0, '0.0 s'], [-40, '0.0 s'], [1234, '1.2 s'], [9940, '9.9 s'], [9960, '10 s'], [12_400, '12 s'], [59_600, '1 min 00 s'], [65_000, '1 min 05 s']]);
  });

  it('time on air', () => {
    const started = '2026-11-20T09:00:00.000Z';
    const at = (ms: number) => format.formatOnAir(started, Date.parse(started) + ms);
    check(at, [[-5000, 'just now'], [59_000, 'just now'], [60_000, '1 min'], [3_599_000, '59 min'], [7_500_000, '2 h 05 min'], [172_800_000, '2 days']]);
    expect(format.formatOnAir('', 0)).toBe('');
  });

  it('picture', () => {
    const video = { codec: 'H.264', width: 1280, height: 720, frame_rate: 60 };
    check(format.formatVideo, [
      [null, ''],
      [video, '720p60'],
      [{ ...video, frame_rate: 29.97002997 }, '720p29.97'],
      [{ ...video, frame_rate: 0 }, '720p'],
      [{ ...video, width: 720, height: 1280 }, '720p60'],
    ]);
  });

  it('sound', () => {
    const audio = { codec: 'AAC', sample_rate: 48000, channels: 1 };
    check(format.formatAudio, [[null, 'no sound'], [audio, 'AAC mono'], [{ ...audio, channels: 2 }, 'AAC stereo'], [{ ...audio, channels: 6 }, 'AAC 6 channels']]);
  });

  it('bitrate', () => {
    check(format.formatBitrate, [[0, 'unknown'], [Number.NaN, 'unknown'], [264_000, '264 kbit/s'], [999_900, '1.0 Mbit/s'], [1_500_000, '1.5 Mbit/s'], [12_300_000, '12 Mbit/s']]);
  });

  it('clock and counts', () => {
    check(format.formatClock, [[-1, '0:00'], [7.9, '0:07'], [750, '12:30'], [3723, '1:02:03']]);
    check((count: number) => format.formatCount(count, 'channel'), [[0, '0 channels'], [1, '1 channel'], [3, '3 channels']]);
  });

  it('sizes and what is left', () => {
    check(format.formatBytes, [[0, '0 B'], [999, '999 B'], [12_345_678, '12.3 MB']]);
    check(format.formatEta, [[200, '1 s'], [59_400, '59 s'], [90_000, '2 min'], [3_900_000, '1 h 05 min']]);
  });
});
