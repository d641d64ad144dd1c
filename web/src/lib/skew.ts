// How far this device's clock is from the server's. A latency is the difference of the two clocks, so a phone that is
// a minute wrong would show a latency that is a minute wrong.

/** `Date` headers count whole seconds, and servers refresh them about once a second. */
const DATE_RESOLUTION_MS = 2_000;

/**
 * Narrows down `server clock - device clock` from the `Date` headers of answers. Start with `new ClockSkew()`.
 * The device is believed as long as nothing proves it wrong: then the smallest correction that fits is used.
 */
export class ClockSkew {
  #lowMs = Number.NEGATIVE_INFINITY;
  #highMs = Number.POSITIVE_INFINITY;

  /** Times are the device's: when the request was sent and when the head of its answer arrived. */
  observe(dateHeader: string | null, sentMs: number, receivedMs: number): void {
    const dateMs = Date.parse(dateHeader ?? '');
    if (Number.isNaN(dateMs)) return;
    const lowMs = dateMs - receivedMs;
    const highMs = dateMs + DATE_RESOLUTION_MS - sentMs;
    this.#lowMs = Math.max(this.#lowMs, lowMs);
    this.#highMs = Math.min(this.#highMs, highMs);
    if (this.#lowMs <= this.#highMs) return;
    // The device's clock was set since the last answer: only the newest one counts.
    this.#lowMs = lowMs;
    this.#highMs = highMs;
  }

  /** To add to the device's clock. */
  get offsetMs(): number {
    return Math.min(Math.max(0, this.#lowMs), this.#highMs);
  }
}
