// Glass to glass: how long ago the picture now on the screen was received by the server.

/** Weight of a new reading; at two readings a second the badge settles within about two seconds. */
const SMOOTHING = 0.3;
/** A reading this far from the average is a seek or a resume: it is shown at once. */
const JUMP_MS = 1_500;
/** Wall clocks that disagree by more than the rewind window say nothing about latency. */
const PLAUSIBLE_MAX_MS = 24 * 3600 * 1000;

/** Smooths readings of `now - playing date`. Start with `new Latency()`, feed `update`. */
export class Latency {
  #averageMs: number | null = null;

  /** Null until the first plausible reading. */
  get valueMs(): number | null {
    return this.#averageMs;
  }

  /**
   * `playingDate` is the wall-clock date of the picture on the screen (EXT-X-PROGRAM-DATE-TIME carried forward).
   * Readings without a date are skipped; the last value stays.
   */
  update(nowMs: number, playingDate: Date | null): number | null {
    const readingMs = playingDate ? nowMs - playingDate.getTime() : Number.NaN;
    if (!Number.isFinite(readingMs) || Math.abs(readingMs) > PLAUSIBLE_MAX_MS) return this.#averageMs;
    const averageMs = this.#averageMs;
    const follow = averageMs !== null && Math.abs(readingMs - averageMs) < JUMP_MS;
    this.#averageMs = follow ? averageMs + (readingMs - averageMs) * SMOOTHING : readingMs;
    return this.#averageMs;
  }

  reset(): void {
    this.#averageMs = null;
  }
}
