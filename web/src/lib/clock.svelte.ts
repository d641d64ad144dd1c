// The time of day for "on air for 4 min": coarse, and one timer for the whole page.

const TICK_MS = 5_000;

class Clock {
  nowMs = $state(Date.now());

  start(): () => void {
    const timer = setInterval(() => (this.nowMs = Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }
}

export const clock = new Clock();
