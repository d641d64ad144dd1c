// The server's list of channels, and the loop that keeps it fresh.
// `GET /channels.json?after=N` is held by the server until the list is newer than version N.

export interface VideoFormat {
  codec: string;
  width: number;
  height: number;
  frame_rate: number;
}

export interface AudioFormat {
  codec: string;
  sample_rate: number;
  channels: number;
}

export interface Rendition {
  name: string;
  width: number;
  height: number;
  /** Bits per second. */
  bandwidth: number;
}

export interface Channel {
  /** `app/name`. */
  id: string;
  app: string;
  name: string;
  title: string;
  /** False: the broadcast has ended, and the rewind window can still be watched. */
  live: boolean;
  started_at: string;
  hls: string;
  dash: string;
  thumbnail: string | null;
  video: VideoFormat | null;
  audio: AudioFormat | null;
  renditions: Rendition[];
  /** What the operator wants a viewer to know, for instance a shed rendition. */
  notices: string[];
}

export interface ChannelList {
  version: number;
  server: string;
  channels: Channel[];
}

export interface WatchHandlers {
  onList(list: ChannelList): void;
  /** The server did not answer, or not as agreed; the next attempt follows in `retryInMs`. */
  onOffline(error: unknown, retryInMs: number): void;
  /** The head of an answer: its `Date`, and the device's clock when the request left and when the answer came. */
  onDate?(date: string | null, sentMs: number, receivedMs: number): void;
}

/** What the loop needs from its surroundings; tests bring their own. */
export interface WatchEnvironment {
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  random(): number;
  nowMs(): number;
}

/** First and longest pause between attempts while the server is unreachable. */
export const BACKOFF_FIRST_MS = 500;
export const BACKOFF_MAX_MS = 10_000;
/** The server answers a held request after 25 s at the latest; beyond this the connection is dead. */
export const REQUEST_TIMEOUT_MS = 40_000;
/** A server that answers "nothing new" at once is asked at most this often. */
export const POLL_INTERVAL_MIN_MS = 1_000;

/** Exponential backoff with jitter: half of the step is fixed, half is drawn. */
export function backoffMs(attempt: number, random: () => number): number {
  const step = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(step / 2 + (step / 2) * random());
}

/** Follows the list of channels until `signal` aborts. */
export async function watchChannels(
  handlers: WatchHandlers,
  signal: AbortSignal,
  environment: WatchEnvironment = browserEnvironment,
): Promise<void> {
  let version: number | null = null;
  let failures = 0;
  while (!signal.aborted) {
    const startedMs = environment.nowMs();
    try {
      const list = await fetchChannels(version, handlers, signal, environment);
      if (signal.aborted) return;
      failures = 0;
      const changed = version === null || list.version !== version;
      version = list.version;
      if (changed) handlers.onList(list);
      const tookMs = environment.nowMs() - startedMs;
      if (!changed && tookMs < POLL_INTERVAL_MIN_MS) await environment.sleep(POLL_INTERVAL_MIN_MS - tookMs, signal);
    } catch (error) {
      if (signal.aborted) return;
      // A restarted server counts from the beginning again, so the next request asks for whatever there is.
      version = null;
      const waitMs = backoffMs(failures, environment.random);
      failures += 1;
      handlers.onOffline(error, waitMs);
      await environment.sleep(waitMs, signal);
    }
  }
}

async function fetchChannels(
  after: number | null,
  handlers: WatchHandlers,
  signal: AbortSignal,
  environment: WatchEnvironment,
): Promise<ChannelList> {
  const url = after === null ? '/channels.json' : `/channels.json?after=${after}`;
  const request = new AbortController();
  const abort = () => request.abort();
  signal.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(abort, REQUEST_TIMEOUT_MS);
  try {
    const sentMs = Date.now();
    const response = await environment.fetch(url, { signal: request.signal, cache: 'no-store' });
    // An answer from a cache on the way has an old date.
    if (!response.headers.has('age')) handlers.onDate?.(response.headers.get('date'), sentMs, Date.now());
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return parseChannelList(await response.json());
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

/** Checks the shape the app relies on; unknown members are ignored, missing lists are empty. */
export function parseChannelList(body: unknown): ChannelList {
  if (!isObject(body) || typeof body.version !== 'number' || !Array.isArray(body.channels)) {
    throw new Error('the answer is not a list of channels');
  }
  return {
    version: body.version,
    server: typeof body.server === 'string' ? body.server : '',
    channels: body.channels.filter(isChannel).filter(isFirstWithItsId).map(withDefaults),
  };
}

type ChannelCore = Pick<Channel, 'id' | 'app' | 'name' | 'hls'> & Partial<Channel>;

function isChannel(value: unknown): value is ChannelCore {
  return isObject(value) && ['id', 'app', 'name', 'hls'].every((key) => typeof value[key] === 'string');
}

function isFirstWithItsId(channel: ChannelCore, index: number, all: ChannelCore[]): boolean {
  return all.findIndex((other) => other.id === channel.id) === index;
}

function withDefaults(channel: ChannelCore): Channel {
  return {
    ...channel,
    title: channel.title || channel.name,
    live: channel.live !== false,
    started_at: channel.started_at ?? '',
    dash: channel.dash ?? '',
    thumbnail: channel.thumbnail ?? null,
    video: channel.video ?? null,
    audio: channel.audio ?? null,
    renditions: channel.renditions ?? [],
    notices: channel.notices ?? [],
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

const browserEnvironment: WatchEnvironment = {
  fetch: (url, init) => fetch(url, init),
  sleep: sleepUnlessOnline,
  random: Math.random,
  nowMs: () => performance.now(),
};

/** The browser's `online` event ends the pause early: the network is back, so the server may be too. */
function sleepUnlessOnline(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
    signal.addEventListener('abort', done);
  });
}
