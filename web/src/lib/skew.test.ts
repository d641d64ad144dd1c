import { expect, it } from 'vitest';
import { ClockSkew } from './skew';

const T = Date.parse('2026-11-20T09:00:00Z');
const header = (ms: number) => new Date(ms).toUTCString();

/** Answers that took `tookMs` to come, seen by a device whose clock is ahead of the server's by `aheadMs`. */
function observe(aheadMs: number, tookMs: number[]): number {
  const skew = new ClockSkew();
  tookMs.forEach((took, index) => {
    const serverMs = T + index * 30_000 + 700;
    skew.observe(header(serverMs), serverMs + aheadMs - took, serverMs + aheadMs + 5);
  });
  return skew.offsetMs;
}

it('believes a device that is about right', () => {
  expect(observe(0, [10])).toBe(0);
  expect(observe(900, [10, 25_000])).toBe(0);
  expect(observe(-600, [10, 25_000])).toBe(0);
});

it('corrects a device that is wrong, to within the resolution', () => {
  for (const ahead of [60_000, -60_000, 3_600_000]) {
    const error = observe(ahead, [10, 25_000, 400]) + ahead;
    expect(Math.abs(error), `ahead by ${ahead}`).toBeLessThanOrEqual(2_000);
  }
});

it('follows a clock that is set', () => {
  const skew = new ClockSkew();
  skew.observe(header(T), T + 60_000, T + 60_010);
  skew.observe(header(T), T, T + 10);
  expect(skew.offsetMs).toBe(0);
});

it('learns nothing from an answer without a date', () => {
  const skew = new ClockSkew();
  skew.observe(null, T, T);
  skew.observe('yesterday', T, T);
  expect(skew.offsetMs).toBe(0);
});
