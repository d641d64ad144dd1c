import { expect, it } from 'vitest';
import { Latency } from './latency';

const NOW = Date.parse('2026-11-20T09:00:00Z');

function feed(readingsMs: (number | null)[]): number | null {
  const latency = new Latency();
  for (const reading of readingsMs) latency.update(NOW, reading === null ? null : new Date(NOW - reading));
  return latency.valueMs;
}

it('knows nothing before the first date', () => {
  expect(feed([])).toBeNull();
  expect(feed([null])).toBeNull();
});

it('smooths what wobbles', () => {
  expect(feed([1000, 1400])).toBeCloseTo(1120);
  expect(feed([1000, ...Array<number>(30).fill(1400)])).toBeCloseTo(1400, 0);
});

it('follows a seek at once', () => {
  expect(feed([1000, 31_000])).toBe(31_000);
  expect(feed([31_000, 1000])).toBe(1000);
});

it('keeps the last value when a reading says nothing', () => {
  expect(feed([1000, null])).toBe(1000);
  expect(feed([1000, NOW])).toBe(1000);
  expect(feed([1000, Number.NaN])).toBe(1000);
});
