import { expect, it } from 'vitest';
import { findQuality, formatQualityChoice, parseQualityChoice, qualityLabel, sortQualities, type Quality } from './quality';

const quality = (index: number, height: number, bandwidth: number, frameRate = 30): Quality => ({
  index,
  width: Math.round((height * 16) / 9),
  height,
  bandwidth,
  frameRate,
});
const LADDER = [quality(0, 240, 264_000), quality(1, 240, 528_000), quality(2, 720, 2_628_000, 60)];

it('puts the best picture first', () => {
  expect(sortQualities(LADDER).map(({ index }) => index)).toEqual([2, 1, 0]);
});

it('says height, high frame rates and bitrate', () => {
  expect(LADDER.map(qualityLabel)).toEqual(['240p · 264 kbit/s', '240p · 528 kbit/s', '720p60 · 2.6 Mbit/s']);
  expect(qualityLabel(quality(3, 0, 64_000))).toBe('Audio only · 64 kbit/s');
});

it('finds a remembered choice in another ladder, or falls back to automatic', () => {
  const find = (stored: string | null) => findQuality(LADDER, parseQualityChoice(stored))?.index ?? null;
  expect(find('720@5000000')).toBe(2);
  expect(find('240@300000')).toBe(0);
  expect(find('240@500000')).toBe(1);
  expect(find('480@900000')).toBeNull();
  for (const stored of [null, '', 'auto', '720', '720@x']) expect(find(stored), String(stored)).toBeNull();
});

it('remembers what it can read back', () => {
  for (const one of LADDER) expect(findQuality(LADDER, parseQualityChoice(formatQualityChoice(one)))).toEqual(one);
});
