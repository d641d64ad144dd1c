import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

type Handler = (event: string, data: unknown) => void;

/** Stands in for hls.js: records what it is told, and lets a test raise its events. */
const engine = vi.hoisted(() => {
  class FakeHls {
    static instances: FakeHls[] = [];
    static Events = {
      MANIFEST_PARSED: 'parsed',
      LEVELS_UPDATED: 'levels',
      LEVEL_SWITCHED: 'switched',
      LEVEL_UPDATED: 'updated',
      ERROR: 'error',
    };
    static ErrorTypes = { NETWORK_ERROR: 'networkError', MEDIA_ERROR: 'mediaError' };
    static isSupported = () => true;

    readonly calls: string[] = [];
    readonly handlers = new Map<string, Handler>();
    readonly config: { startPosition: number };
    levels = [
      { width: 640, height: 360, bitrate: 500_000, frameRate: 30 },
      { width: 1280, height: 720, bitrate: 1_500_000, frameRate: 60 },
    ];
    loadLevel = -1;
    nextLevel = -1;
    liveSyncPosition: number | null = 100;
    playingDate: Date | null = null;
    bandwidthEstimate = Number.NaN;
    targetLatency: number | null = null;

    constructor(config: { startPosition: number }) {
      this.config = config;
      FakeHls.instances.push(this);
    }

    on(type: string, handler: Handler) {
      this.handlers.set(type, handler);
    }

    raise(type: string, data: unknown = {}) {
      this.handlers.get(type)?.(type, data);
    }

    attachMedia = () => this.calls.push('attachMedia');
    loadSource = (url: string) => this.calls.push(`loadSource ${url}`);
    destroy = () => this.calls.push('destroy');
    stopLoad = () => this.calls.push('stopLoad');
    recoverMediaError = () => this.calls.push('recoverMediaError');
    swapAudioCodec = () => this.calls.push('swapAudioCodec');
  }
  return { FakeHls };
});
vi.mock('hls.js', () => ({ default: engine.FakeHls }));

const { Player } = await import('./player');
type Snapshot = import('./player').PlayerSnapshot;

class FakeVideo extends EventTarget {
  paused = true;
  ended = false;
  seeking = false;
  muted = true;
  volume = 1;
  currentTime = 0;
  playbackRate = 1;
  duration = Number.POSITIVE_INFINITY;
  textTracks = Object.assign(new EventTarget(), { [Symbol.iterator]: () => [][Symbol.iterator](), length: 0 });
  seekable = { length: 1, start: () => 10, end: () => 101 };
  buffered = { length: 0, start: () => 0, end: () => 0 };

  play = vi.fn(async () => {
    this.paused = false;
  });
  pause = vi.fn(() => {
    this.paused = true;
    this.raise('pause');
  });
  hasAttribute = () => false;

  raise(type: string) {
    this.dispatchEvent(new Event(type));
  }
}

let video: FakeVideo;
let player: InstanceType<typeof Player>;
let snapshot: Snapshot;

const hls = () => {
  const latest = engine.FakeHls.instances.at(-1);
  if (!latest) throw new Error('no engine was made');
  return latest;
};
const fault = (type: string) => hls().raise('error', { type, fatal: true });

/** A channel that plays live. */
function play() {
  player.load('/live/a/index.m3u8');
  hls().raise('parsed');
  video.currentTime = 99;
  video.raise('playing');
}

/** Lets time pass with the picture moving, as it does when all is well. */
function playOn(seconds: number) {
  for (let step = 0; step < seconds; step += 1) {
    video.currentTime += 1;
    hls().liveSyncPosition = video.currentTime + 1;
    vi.advanceTimersByTime(1000);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] });
  vi.stubGlobal('document', { hidden: false });
  vi.spyOn(Math, 'random').mockReturnValue(1);
  engine.FakeHls.instances = [];
  video = new FakeVideo();
  player = new Player(video as unknown as HTMLVideoElement, (next) => (snapshot = next));
});

afterEach(() => {
  player.destroy();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe('playing', () => {
  it('starts silently, offers sound, and counts as live near the live position', () => {
    play();
    expect(hls().calls).toEqual(['attachMedia', 'loadSource /live/a/index.m3u8']);
    expect(snapshot).toMatchObject({ state: 'playing', atLive: true, offersSound: true, finished: false });
    expect(snapshot.qualities.map(({ height }) => height)).toEqual([720, 360]);
  });

  it('says how far behind it is, and goes live', () => {
    play();
    player.seekBy(-40);
    player.refresh();
    expect(snapshot).toMatchObject({ atLive: false, behindSeconds: 41, positionSeconds: 59 });
    player.seekBy(-400);
    expect(video.currentTime).toBe(10);
    player.goLive();
    player.refresh();
    expect(snapshot).toMatchObject({ atLive: true, positionSeconds: 100 });
  });

  it('measures latency by the dates in the playlist', () => {
    play();
    hls().playingDate = new Date(Date.now() - 1200);
    player.refresh();
    expect(snapshot.statistics.latencyMs).toBe(1200);
  });

  it('fixes a quality and returns to automatic', () => {
    play();
    player.chooseQuality(1);
    expect(hls().nextLevel).toBe(1);
    expect(snapshot.chosenLevel).toBe(1);
    player.chooseQuality(null);
    expect(hls().nextLevel).toBe(-1);
    expect(snapshot.chosenLevel).toBeNull();
  });
});

describe('stalls', () => {
  it('counts a pause that nobody asked for', () => {
    play();
    video.raise('waiting');
    vi.advanceTimersByTime(700);
    video.raise('playing');
    expect(snapshot).toMatchObject({ state: 'playing' });
    expect(snapshot.statistics).toMatchObject({ stalls: 1, stalledMs: 700 });
  });

  it('does not count a seek, a pause, or the start', () => {
    player.load('/live/a/index.m3u8');
    video.raise('waiting');
    video.raise('playing');
    video.raise('seeking');
    video.raise('waiting');
    video.raise('playing');
    vi.advanceTimersByTime(2000);
    video.pause();
    video.raise('waiting');
    expect(snapshot.statistics.stalls).toBe(0);
    expect(snapshot.state).toBe('paused');
  });
});

describe('faults', () => {
  it('starts again after a network fault, waiting longer each time', () => {
    play();
    for (const waitMs of [500, 1000, 2000]) {
      const made = engine.FakeHls.instances.length;
      fault('networkError');
      expect(snapshot.state).toBe('recovering');
      vi.advanceTimersByTime(waitMs - 1);
      expect(engine.FakeHls.instances).toHaveLength(made);
      vi.advanceTimersByTime(1);
      expect(engine.FakeHls.instances).toHaveLength(made + 1);
    }
    hls().raise('parsed');
    video.raise('playing');
    expect(snapshot).toMatchObject({ state: 'playing', statistics: { restarts: 3 } });
  });

  it('forgets old faults after a good while', () => {
    play();
    fault('networkError');
    vi.advanceTimersByTime(500);
    video.raise('playing');
    playOn(11);
    const made = engine.FakeHls.instances.length;
    fault('networkError');
    vi.advanceTimersByTime(500);
    expect(engine.FakeHls.instances).toHaveLength(made + 1);
  });

  it('mends the decoder twice before it starts again', () => {
    play();
    const first = hls();
    for (let times = 0; times < 3; times += 1) fault('mediaError');
    expect(first.calls.slice(2)).toEqual(['recoverMediaError', 'swapAudioCodec', 'recoverMediaError', 'stopLoad']);
    vi.advanceTimersByTime(500);
    expect(hls()).not.toBe(first);
    expect(first.calls.at(-1)).toBe('destroy');
  });

  it('ignores what is not fatal', () => {
    play();
    hls().raise('error', { type: 'networkError', fatal: false });
    expect(snapshot.state).toBe('playing');
  });

  it('starts again when the picture has not moved for long, but not while it moves or is paused', () => {
    play();
    playOn(60);
    expect(engine.FakeHls.instances).toHaveLength(1);
    vi.advanceTimersByTime(13_500);
    expect(engine.FakeHls.instances).toHaveLength(2);
    hls().raise('parsed');
    video.raise('playing');
    video.pause();
    vi.advanceTimersByTime(60_000);
    expect(engine.FakeHls.instances).toHaveLength(2);
  });

  it('comes back paused when it was paused', () => {
    play();
    video.pause();
    fault('networkError');
    vi.advanceTimersByTime(500);
    video.play.mockClear();
    hls().raise('parsed');
    expect(snapshot.state).toBe('paused');
    expect(video.play).not.toHaveBeenCalled();
  });

  it('stops trying when it is unloaded', () => {
    play();
    fault('networkError');
    player.unload();
    vi.advanceTimersByTime(60_000);
    expect(engine.FakeHls.instances).toHaveLength(1);
    expect(snapshot.state).toBe('idle');
  });
});

describe('the end', () => {
  const finish = () => hls().raise('updated', { details: { live: false } });

  it('is said, and the rewind window stays', () => {
    play();
    finish();
    video.ended = true;
    video.paused = true;
    video.raise('ended');
    expect(snapshot).toMatchObject({ state: 'ended', finished: true, atLive: false, windowStartSeconds: 10, windowEndSeconds: 101 });
    player.seekTo(20);
    expect(video.currentTime).toBe(20);
    expect(video.play).toHaveBeenCalledTimes(2);
  });

  it('is reached although sound and picture do not end together', () => {
    play();
    finish();
    vi.advanceTimersByTime(13_500);
    expect(snapshot.state).toBe('ended');
    expect(engine.FakeHls.instances).toHaveLength(1);
  });

  it('does not send a rewinding viewer back to the start after a fault', () => {
    play();
    finish();
    video.currentTime = 50;
    fault('networkError');
    vi.advanceTimersByTime(500);
    expect(hls().config.startPosition).toBe(40);
  });
});

describe('sound', () => {
  it('plays silently where the browser wants a tap first', async () => {
    video.muted = false;
    video.play.mockRejectedValueOnce(new DOMException('a tap is needed', 'NotAllowedError'));
    player.load('/live/a/index.m3u8');
    hls().raise('parsed');
    await vi.waitFor(() => expect(video.play).toHaveBeenCalledTimes(2));
    video.raise('playing');
    expect(video.muted).toBe(true);
    expect(snapshot.offersSound).toBe(true);
  });
});
