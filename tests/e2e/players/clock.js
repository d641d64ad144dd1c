// Watches a video element: startup, stalls, progress, and (with a burnt-in clock) glass-to-glass latency.
//
// The clock is a row of 16 cells along the top of the picture, each 1/20 of its width, beginning at 1/20: a Gray code, lowest
// bit first, of the machine's time in units of 10 ms, modulo 65,536 (the FFmpeg side is in tests/e2e/src/clock.rs).
(() => {
  const BITS = 16;
  const UNIT_MS = 10;
  const CELLS = 20;

  const state = {
    startupMs: null,
    stalls: 0,
    stalledMs: 0,
    latencies: [],
    frames: 0,
    trace: [],
  };
  window.watched = state;

  function readClock(context, video) {
    const { videoWidth: width, videoHeight: height } = video;
    const cell = width / CELLS;
    context.canvas.width = CELLS;
    context.canvas.height = 1;
    // The middle of each cell, scaled to one pixel a cell.
    context.drawImage(video, 0, height / 40, width, cell / 2, 0, 0, CELLS, 1);
    const pixels = context.getImageData(0, 0, CELLS, 1).data;
    let value = 0;
    let bit = 0;
    for (let index = BITS - 1; index >= 0; index -= 1) {
      const light = pixels[4 * (index + 1) + 1] > 127 ? 1 : 0;
      bit = index === BITS - 1 ? light : bit ^ light;
      value += bit * 2 ** index;
    }
    const now = Math.floor(Date.now() / UNIT_MS) % 2 ** BITS;
    const behind = (now - value + 2 ** BITS) % 2 ** BITS;
    return behind * UNIT_MS;
  }

  /** What is under way each second: seconds since navigation, glass to glass, media ahead of the picture, speed, the player's own figures. */
  function trace(video) {
    const { buffered, currentTime, playbackRate } = video;
    const end = buffered.length ? buffered.end(buffered.length - 1) : currentTime;
    const { player } = window;
    state.trace.push({
      at: Math.round(performance.now() / 100) / 10,
      latencyMs: state.latencies.at(-1) ?? null,
      aheadMs: Math.round((end - currentTime) * 1000),
      rate: playbackRate,
      own: player?.latency ?? player?.getStats?.().liveLatency ?? player?.getCurrentLiveLatency?.(),
      target: player?.targetLatency ?? player?.getTargetLiveDelay?.(),
      stalls: state.stalls,
    });
  }

  window.watch = (video, withClock, withTrace) => {
    if (withTrace) setInterval(() => trace(video), 1000);
    const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    let stalledAt = null;
    const stall = () => {
      if (state.startupMs === null || stalledAt !== null) return;
      state.stalls += 1;
      stalledAt = performance.now();
    };
    const resume = () => {
      if (stalledAt !== null) state.stalledMs += performance.now() - stalledAt;
      stalledAt = null;
    };
    video.addEventListener('waiting', stall);
    video.addEventListener('playing', resume);
    // Shaka stops the picture by its speed while it fills the buffer.
    let stopped = false;
    video.addEventListener('ratechange', () => {
      const stops = video.playbackRate === 0;
      if (stops) stall();
      else if (stopped) resume();
      stopped = stops;
    });
    const frame = () => {
      state.frames += 1;
      if (state.startupMs === null) {
        // Since navigation.
        state.startupMs = performance.now();
        state.startTime = video.currentTime;
        state.startAt = performance.now();
      }
      if (withClock && state.frames % 3 === 0) state.latencies.push(readClock(context, video));
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
  };

  window.watchReport = () => {
    const video = document.querySelector('video');
    const quality = video.getVideoPlaybackQuality();
    const sorted = [...state.latencies].sort((a, b) => a - b);
    const at = (share) => (sorted.length ? sorted[Math.round((sorted.length - 1) * share)] : null);
    return {
      trace: state.trace.length ? state.trace : undefined,
      startupMs: Math.round(state.startupMs),
      stalls: state.stalls,
      stalledMs: Math.round(state.stalledMs),
      playedSeconds: video.currentTime - state.startTime,
      wallSeconds: (performance.now() - state.startAt) / 1000,
      frames: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      width: video.videoWidth,
      height: video.videoHeight,
      muted: video.muted,
      latencyMs: { median: at(0.5), p95: at(0.95), last: state.latencies.at(-1) ?? null, count: sorted.length },
    };
  };
})();
