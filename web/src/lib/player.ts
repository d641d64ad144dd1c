// One channel in one <video>: hls.js where it works, the browser's own HLS elsewhere (iOS before 17.1).
// The class owns recovery and figures; it knows nothing of the page. Start with `new Player(video, onChange)`.

import Hls, { type ErrorData, type HlsConfig } from 'hls.js';
import { backoffMs } from './api';
import { Latency } from './latency';
import { loadPreference, savePreference } from './preferences';
import { findQuality, formatQualityChoice, parseQualityChoice, sortQualities, type Quality } from './quality';

/**
 * loading: waiting for the first picture; playing; paused by the viewer; stalled: out of data for the moment;
 * recovering: starting again after a failure; ended: the last picture of a finished broadcast is on the screen.
 */
export type PlaybackState = 'idle' | 'loading' | 'playing' | 'paused' | 'stalled' | 'recovering' | 'ended';

export interface PlaybackStatistics {
  engine: 'hls.js' | 'native';
  bandwidthBps: number | null;
  bufferSeconds: number;
  droppedFrames: number;
  decodedFrames: number;
  latencyMs: number | null;
  targetLatencyMs: number | null;
  stalls: number;
  stalledMs: number;
  restarts: number;
  playbackRate: number;
}

/** Everything the page shows, taken at one moment. */
export interface PlayerSnapshot {
  state: PlaybackState;
  /** The playlist is finished: there is a rewind window but no live edge. */
  finished: boolean;
  /** Within `LIVE_TOLERANCE_SECONDS` of where live playback would be. */
  atLive: boolean;
  /** How far playback is behind the place the Live button jumps to. */
  behindSeconds: number;
  positionSeconds: number;
  /** The rewind window, in media time. */
  windowStartSeconds: number;
  windowEndSeconds: number;
  qualities: Quality[];
  /** Level index the viewer fixed, or null for automatic. */
  chosenLevel: number | null;
  /** Level on the screen. */
  currentLevel: Quality | null;
  /** Sound is off only because browsers start videos silently. */
  offersSound: boolean;
  hasTextTracks: boolean;
  statistics: PlaybackStatistics;
}

/** Behind the live position by less than this counts as live; small steps of the edge must not flicker the button. */
const LIVE_TOLERANCE_SECONDS = 3;
/** Native players keep their own, larger distance from the edge. */
const NATIVE_LIVE_TOLERANCE_SECONDS = 12;
/** The figures on the page are refreshed this often. */
const REFRESH_MS = 500;
/** Playback that wants data but has not moved for this long is started again. */
const STUCK_MS = 12_000;
/** After this long without a fault the next one counts as the first. */
const HEALTHY_MS = 10_000;
/** A waiting picture this soon after a seek is the seek, not a stall. */
const SEEK_SETTLE_MS = 1_500;

const HLS_CONFIG: Partial<HlsConfig> = {
  lowLatencyMode: true,
  // The browser then sees a live stream with a seekable window instead of a file that grows.
  liveDurationInfinity: true,
  // After a stall, playback runs 10 % faster until the delay is back to the target; pitch is kept.
  maxLiveSyncPlaybackRate: 1.1,
  // A short rewind is instant; a long one is loaded again rather than kept in a phone's memory.
  backBufferLength: 60,
  capLevelToPlayerSize: true,
  // Before anything is measured: enough for a middle rung, so that the first seconds are not a blur.
  abrEwmaDefaultEstimate: 2_000_000,
  // CMAF needs no transmuxing, so a worker would win nothing; without it no blob: script is needed (CSP).
  enableWorker: false,
};

export class Player {
  readonly #video: HTMLVideoElement;
  readonly #onChange: (snapshot: PlayerSnapshot) => void;
  readonly #serverNowMs: () => number;
  readonly #listeners = new AbortController();
  readonly #latency = new Latency();
  readonly #refreshTimer: ReturnType<typeof setInterval>;

  #hls: Hls | null = null;
  #url: string | null = null;
  #state: PlaybackState = 'idle';
  #finished = false;
  #wantsPlay = true;
  #viewerMuted = false;
  #started = false;
  #chosenLevel: number | null = null;
  #qualities: Quality[] = [];
  #currentLevel: Quality | null = null;

  #faults = 0;
  #lastFaultMs = Number.NEGATIVE_INFINITY;
  #mediaFaults = 0;
  #restartTimer: ReturnType<typeof setTimeout> | undefined;
  #restarts = 0;
  #stalls = 0;
  #stalledMs = 0;
  #stallStartedMs: number | null = null;
  #lastSeekMs = Number.NEGATIVE_INFINITY;
  #lastPosition = 0;
  #lastProgressMs = 0;

  /** `serverNowMs` is the time of day by the clock that wrote the playlist's dates. */
  constructor(
    video: HTMLVideoElement,
    onChange: (snapshot: PlayerSnapshot) => void,
    serverNowMs: () => number = Date.now,
  ) {
    this.#video = video;
    this.#onChange = onChange;
    this.#serverNowMs = serverNowMs;
    const storedVolume = Number(loadPreference('volume') ?? '1');
    video.volume = storedVolume >= 0 && storedVolume <= 1 ? storedVolume : 1;
    video.muted = loadPreference('sound') !== 'on';
    this.#listen();
    this.#refreshTimer = setInterval(() => this.#refresh(), REFRESH_MS);
  }

  /** Plays the playlist from the live edge; replaces whatever was playing. */
  load(url: string): void {
    this.#url = url;
    this.#wantsPlay = true;
    this.#started = false;
    this.#faults = 0;
    this.#mediaFaults = 0;
    this.#build('loading');
  }

  /** Stops loading and forgets the channel; the last picture goes. */
  unload(): void {
    this.#url = null;
    this.#tearDown();
    this.#setState('idle');
  }

  destroy(): void {
    this.unload();
    clearInterval(this.#refreshTimer);
    this.#listeners.abort();
  }

  togglePlay(): void {
    if (!this.#video.paused) return this.#video.pause();
    // After the end, play starts the rewind window over.
    if (this.#state === 'ended') return this.seekTo(this.#window()[0]);
    this.#wantsPlay = true;
    void this.#play();
  }

  /** Jumps to the live position and plays; the viewer's way out of pause and rewind. */
  goLive(): void {
    const position = this.#livePosition();
    if (position !== null) this.#video.currentTime = position;
    this.#wantsPlay = true;
    void this.#play();
  }

  seekTo(seconds: number): void {
    const [start, end] = this.#window();
    this.#video.currentTime = Math.min(Math.max(seconds, start), Math.max(start, this.#livePosition() ?? end));
    if (this.#state === 'ended') void this.#play();
  }

  seekBy(seconds: number): void {
    this.seekTo(this.#video.currentTime + seconds);
  }

  toggleMuted(): void {
    this.#video.muted = !this.#video.muted;
  }

  changeVolume(delta: number): void {
    this.#video.volume = Math.min(1, Math.max(0, this.#video.volume + delta));
    if (delta > 0) this.#video.muted = false;
  }

  /** Fixes a level by its index, or returns to automatic with null; remembered for other channels. */
  chooseQuality(index: number | null): void {
    const quality = this.#qualities.find((candidate) => candidate.index === index) ?? null;
    this.#chosenLevel = quality?.index ?? null;
    savePreference('quality', quality ? formatQualityChoice(quality) : null);
    if (this.#hls) this.#hls.nextLevel = quality?.index ?? -1;
    this.#refresh();
  }

  /** Tells the page how things stand, outside the regular rhythm. */
  refresh(): void {
    this.#refresh();
  }

  // --- the engine ---

  #build(state: PlaybackState): void {
    // A broadcast that is over has no live edge to return to: a restart carries on where it was.
    const resumeAt = this.#finished && state === 'recovering' ? this.#video.currentTime - this.#window()[0] : -1;
    this.#tearDown();
    if (this.#url === null) return;
    this.#finished = false;
    this.#lastProgressMs = performance.now();
    this.#setState(state);
    if (Hls.isSupported()) this.#buildHls(this.#url, resumeAt);
    else this.#buildNative(this.#url);
  }

  #tearDown(): void {
    clearTimeout(this.#restartTimer);
    this.#restartTimer = undefined;
    this.#endStall();
    this.#latency.reset();
    this.#qualities = [];
    this.#currentLevel = null;
    if (this.#hls) {
      this.#hls.destroy();
      this.#hls = null;
    } else if (this.#video.hasAttribute('src')) {
      this.#video.removeAttribute('src');
      this.#video.load();
    }
  }

  #buildHls(url: string, startPosition: number): void {
    const hls = new Hls({ ...HLS_CONFIG, startPosition });
    this.#hls = hls;
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      this.#readLevels(hls);
      const choice = findQuality(this.#qualities, parseQualityChoice(loadPreference('quality')));
      this.#chosenLevel = choice?.index ?? null;
      if (choice) hls.loadLevel = choice.index;
      if (this.#wantsPlay) void this.#play();
      else this.#setState('paused');
    });
    hls.on(Hls.Events.LEVELS_UPDATED, () => this.#readLevels(hls));
    hls.on(Hls.Events.LEVEL_SWITCHED, (_event, data) => {
      this.#currentLevel = this.#qualities.find((quality) => quality.index === data.level) ?? null;
      this.#refresh();
    });
    hls.on(Hls.Events.LEVEL_UPDATED, (_event, data) => this.#setFinished(!data.details.live));
    hls.on(Hls.Events.ERROR, (_event, data) => this.#onHlsError(hls, data));
    hls.attachMedia(this.#video);
    hls.loadSource(url);
  }

  #buildNative(url: string): void {
    this.#video.src = url;
    if (this.#wantsPlay) void this.#play();
  }

  #readLevels(hls: Hls): void {
    this.#qualities = sortQualities(
      hls.levels.map((level, index) => ({
        index,
        width: level.width,
        height: level.height,
        bandwidth: level.bitrate,
        frameRate: level.frameRate,
      })),
    );
    this.#refresh();
  }

  async #play(): Promise<void> {
    try {
      await this.#video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError' || this.#video.muted) return;
      // The browser wants a tap before there is sound: start silently, and the page offers the tap.
      this.#video.muted = true;
      this.#viewerMuted = false;
      await this.#video.play().catch(() => undefined);
    }
  }

  // --- faults ---

  #onHlsError(hls: Hls, data: ErrorData): void {
    if (!data.fatal || hls !== this.#hls) return;
    const now = performance.now();
    if (now - this.#lastFaultMs > HEALTHY_MS) {
      this.#faults = 0;
      this.#mediaFaults = 0;
    }
    this.#lastFaultMs = now;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && this.#mediaFaults < 2) {
      this.#mediaFaults += 1;
      if (this.#mediaFaults === 2) hls.swapAudioCodec();
      hls.recoverMediaError();
      if (this.#wantsPlay) void this.#play();
      return;
    }
    this.#restartLater();
  }

  /** Builds the engine anew after a pause that grows with every fault in a row. */
  #restartLater(): void {
    if (this.#restartTimer !== undefined || this.#url === null) return;
    const waitMs = backoffMs(this.#faults, Math.random);
    this.#faults += 1;
    this.#restarts += 1;
    this.#hls?.stopLoad();
    this.#setState('recovering');
    this.#restartTimer = setTimeout(() => this.#build('recovering'), waitMs);
  }

  #watchProgress(now: number): void {
    const position = this.#video.currentTime;
    const idle = !this.#wantsPlay || this.#video.paused || this.#video.ended || document.hidden;
    if (idle || position !== this.#lastPosition) this.#lastProgressMs = now;
    this.#lastPosition = position;
    if (now - this.#lastProgressMs <= STUCK_MS) return;
    this.#lastProgressMs = now;
    if (!this.#finished) return this.#restartLater();
    // A finished broadcast whose sound and picture do not end together never reaches its nominal end.
    this.#onEnded();
    this.#video.pause();
  }

  // --- the <video>'s own events ---

  #listen(): void {
    const on = (type: keyof HTMLMediaElementEventMap, handle: () => void) =>
      this.#video.addEventListener(type, handle, { signal: this.#listeners.signal });
    on('playing', () => this.#onPlaying());
    on('play', () => (this.#wantsPlay = true));
    on('pause', () => this.#onPause());
    on('waiting', () => this.#onWaiting());
    on('seeking', () => (this.#lastSeekMs = performance.now()));
    on('ended', () => this.#onEnded());
    on('volumechange', () => this.#onVolumeChange());
    on('error', () => {
      if (!this.#hls && this.#url !== null) this.#restartLater();
    });
    on('durationchange', () => {
      if (!this.#hls) this.#setFinished(Number.isFinite(this.#video.duration));
    });
    this.#video.textTracks.addEventListener('addtrack', () => this.#refresh(), { signal: this.#listeners.signal });
  }

  #onPlaying(): void {
    this.#started = true;
    this.#endStall();
    this.#setState('playing');
  }

  #onPause(): void {
    if (this.#video.ended || this.#state === 'ended' || this.#url === null) return;
    this.#wantsPlay = false;
    this.#endStall();
    this.#setState('paused');
  }

  #onWaiting(): void {
    const now = performance.now();
    if (!this.#started || !this.#wantsPlay || this.#video.ended || this.#state !== 'playing') return;
    if (this.#video.seeking || now - this.#lastSeekMs < SEEK_SETTLE_MS) return;
    this.#stalls += 1;
    this.#stallStartedMs = now;
    this.#setState('stalled');
  }

  #endStall(): void {
    if (this.#stallStartedMs !== null) this.#stalledMs += performance.now() - this.#stallStartedMs;
    this.#stallStartedMs = null;
  }

  #onEnded(): void {
    this.#endStall();
    this.#setState('ended');
  }

  #onVolumeChange(): void {
    if (!this.#video.muted) {
      this.#viewerMuted = false;
      savePreference('sound', 'on');
    } else if (loadPreference('sound') === 'on' && this.#started) {
      this.#viewerMuted = true;
      savePreference('sound', null);
    }
    savePreference('volume', this.#video.volume.toFixed(2));
    this.#refresh();
  }

  #setFinished(finished: boolean): void {
    if (this.#finished === finished) return;
    this.#finished = finished;
    this.#refresh();
  }

  #setState(state: PlaybackState): void {
    this.#state = state;
    this.#refresh();
  }

  // --- figures ---

  #refresh(): void {
    this.#watchProgress(performance.now());
    if (this.#state === 'playing' || this.#state === 'paused') {
      this.#latency.update(this.#serverNowMs(), this.#playingDate());
    }
    this.#onChange(this.#snapshot());
  }

  #snapshot(): PlayerSnapshot {
    const [windowStartSeconds, windowEndSeconds] = this.#window();
    const live = this.#livePosition();
    const behindSeconds = live === null ? 0 : Math.max(0, live - this.#video.currentTime);
    const tolerance = this.#hls ? LIVE_TOLERANCE_SECONDS : NATIVE_LIVE_TOLERANCE_SECONDS;
    return {
      state: this.#state,
      finished: this.#finished,
      atLive: !this.#finished && live !== null && behindSeconds < tolerance,
      behindSeconds,
      positionSeconds: this.#video.currentTime,
      windowStartSeconds,
      windowEndSeconds: live ?? windowEndSeconds,
      qualities: this.#qualities,
      chosenLevel: this.#chosenLevel,
      currentLevel: this.#currentLevel,
      offersSound: this.#video.muted && !this.#viewerMuted && this.#started,
      hasTextTracks: hasCaptions(this.#video),
      statistics: this.#statistics(),
    };
  }

  #statistics(): PlaybackStatistics {
    const frames = this.#video.getVideoPlaybackQuality?.();
    const stallMs = this.#stallStartedMs === null ? 0 : performance.now() - this.#stallStartedMs;
    const bandwidth = this.#hls?.bandwidthEstimate;
    const target = this.#hls?.targetLatency;
    return {
      engine: this.#hls ? 'hls.js' : 'native',
      bandwidthBps: bandwidth && Number.isFinite(bandwidth) ? bandwidth : null,
      bufferSeconds: bufferAhead(this.#video),
      droppedFrames: frames?.droppedVideoFrames ?? 0,
      decodedFrames: frames?.totalVideoFrames ?? 0,
      latencyMs: this.#latency.valueMs,
      targetLatencyMs: target == null ? null : target * 1000,
      stalls: this.#stalls,
      stalledMs: this.#stalledMs + stallMs,
      restarts: this.#restarts,
      playbackRate: this.#video.playbackRate,
    };
  }

  /** The rewind window in media time. */
  #window(): [number, number] {
    const { seekable } = this.#video;
    if (seekable.length === 0) return [0, 0];
    return [seekable.start(0), seekable.end(seekable.length - 1)];
  }

  /** Where live playback would be now; null without a live edge. */
  #livePosition(): number | null {
    if (this.#finished) return null;
    if (this.#hls) return this.#hls.liveSyncPosition;
    const [start, end] = this.#window();
    return end > start ? end : null;
  }

  #playingDate(): Date | null {
    if (this.#hls) return this.#hls.playingDate;
    // Safari only: the date of media time zero, an invalid Date without EXT-X-PROGRAM-DATE-TIME.
    const { getStartDate } = this.#video as HTMLVideoElement & { getStartDate?: () => Date };
    const start = getStartDate?.call(this.#video);
    return start ? new Date(start.getTime() + this.#video.currentTime * 1000) : null;
  }
}

function bufferAhead(video: HTMLVideoElement): number {
  const { buffered, currentTime } = video;
  for (let range = 0; range < buffered.length; range += 1) {
    if (buffered.start(range) <= currentTime + 0.1 && buffered.end(range) > currentTime) {
      return buffered.end(range) - currentTime;
    }
  }
  return 0;
}

function hasCaptions(video: HTMLVideoElement): boolean {
  return Array.from(video.textTracks).some((track) => track.kind === 'subtitles' || track.kind === 'captions');
}
