// The control API as the library pages use it: assets, their jobs, and the stream of events.

export type AssetState = 'uploading' | 'preparing' | 'ready' | 'errored';

export interface Problem {
  class?: string;
  code?: string;
  human: string;
  log?: string | null;
  worker?: string | null;
}

export interface Asset {
  id: string;
  title: string;
  state: AssetState;
  duration_ms: number | null;
  revision: number;
  poster: string | null;
  storyboard: unknown;
  error: Problem | null;
  created: string;
}

export interface RenditionProgress {
  name: string;
  permille: number;
  state: string;
}

export interface StepProgress {
  id: string;
  name: string;
  state: string;
  permille: number;
  attempt: number;
  error: Problem | null;
}

export interface JobProgress {
  job: string;
  asset: string;
  state: 'running' | 'paused' | 'done' | 'failed' | 'cancelled';
  permille: number;
  eta_ms: number | null;
  /** Jobs that go before it in the queue. */
  position: number | null;
  renditions: RenditionProgress[];
  steps: StepProgress[];
  error: Problem | null;
}

export interface ServerEvent {
  /** Position for resuming; ephemeral events have none. */
  cursor: string | null;
  type: string;
  data: Record<string, unknown>;
}

/** The server refused: `hint` says what to do. */
export class Refusal extends Error {
  readonly status: number;
  readonly hint: string;

  constructor(status: number, detail: string, hint: string) {
    super(detail);
    this.status = status;
    this.hint = hint;
  }
}

const ROOT = '/api/v1';

/** An access token, for platforms that want one from this browser. */
export function accessToken(): string | null {
  return localStorage.getItem('headwater.token');
}

export function saveAccessToken(token: string): void {
  if (token) localStorage.setItem('headwater.token', token);
  else localStorage.removeItem('headwater.token');
}

export function authorization(): Record<string, string> {
  const token = accessToken();
  return token ? { authorization: `Bearer ${token}` } : {};
}

async function ask(method: string, path: string, body?: unknown): Promise<unknown> {
  const headers: Record<string, string> = authorization();
  if (body !== undefined) headers['content-type'] = 'application/json';
  const response = await fetch(`${ROOT}${path}`, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: 'no-store',
  });
  if (!response.ok) throw await refusal(response);
  const text = await response.text();
  return text === '' ? null : JSON.parse(text);
}

async function refusal(response: Response): Promise<Refusal> {
  const problem: unknown = await response.json().catch(() => null);
  const member = (key: string) => (isObject(problem) && typeof problem[key] === 'string' ? problem[key] : '');
  const detail = member('detail') || member('title') || `the server answered ${response.status}`;
  return new Refusal(response.status, detail, member('hint'));
}

/** A page of the newest assets whose title has `text` in it. */
export async function listAssets(text: string, cursor: string | null): Promise<{ assets: Asset[]; next: string | null }> {
  const query = new URLSearchParams({ limit: '48' });
  if (text) query.set('text', text);
  if (cursor) query.set('cursor', cursor);
  const page = await ask('GET', `/assets?${query}`);
  if (!isObject(page) || !Array.isArray(page.data)) throw new Error('the answer is not a list of assets');
  const next = typeof page.next_cursor === 'string' ? page.next_cursor : null;
  return { assets: page.data.filter(isAsset).map(withDefaults), next };
}

export async function getAsset(id: string): Promise<Asset> {
  const asset = await ask('GET', `/assets/${encodeURIComponent(id)}`);
  if (!isAsset(asset)) throw new Error('the answer is not an asset');
  return withDefaults(asset);
}

export async function getProgress(asset: string): Promise<JobProgress | null> {
  try {
    return parseProgress(await ask('GET', `/assets/${encodeURIComponent(asset)}/progress`));
  } catch (error) {
    // An asset that is still being uploaded has no job yet.
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
}

export const deleteAsset = (id: string) => ask('DELETE', `/assets/${encodeURIComponent(id)}`);
export const retryJob = (id: string) => ask('POST', `/jobs/${encodeURIComponent(id)}:retry`);
export const cancelJob = (id: string) => ask('POST', `/jobs/${encodeURIComponent(id)}:cancel`);

export function parseProgress(body: unknown): JobProgress | null {
  if (!isObject(body) || typeof body.permille !== 'number') return null;
  const list = <T>(value: unknown): T[] => (Array.isArray(value) ? value : []);
  return {
    job: String(body.job ?? ''),
    asset: String(body.asset ?? ''),
    state: (body.state as JobProgress['state']) ?? 'running',
    permille: body.permille,
    eta_ms: typeof body.eta_ms === 'number' ? body.eta_ms : null,
    position: typeof body.position === 'number' ? body.position : null,
    renditions: list(body.renditions),
    steps: list(body.steps),
    error: isObject(body.error) ? (body.error as unknown as Problem) : null,
  };
}

function isAsset(value: unknown): value is Asset {
  return isObject(value) && typeof value.id === 'string' && typeof value.state === 'string';
}

function withDefaults(asset: Asset): Asset {
  return {
    ...asset,
    title: asset.title || asset.id,
    duration_ms: asset.duration_ms ?? null,
    revision: asset.revision ?? 0,
    poster: asset.poster ?? null,
    storyboard: asset.storyboard ?? null,
    error: asset.error ?? null,
    created: asset.created ?? '',
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

// --- events: Server-Sent Events over fetch, because EventSource carries no Authorization

/** Cuts a stream of text into its events; feed it as it comes. HTML 9.2.6. */
export class EventCutter {
  #rest = '';
  #lines: string[] = [];

  push(text: string): ServerEvent[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? '';
    const events: ServerEvent[] = [];
    for (const line of lines) {
      if (line !== '') {
        this.#lines.push(line);
        continue;
      }
      const event = parseEvent(this.#lines);
      if (event) events.push(event);
      this.#lines = [];
    }
    return events;
  }
}

function parseEvent(lines: string[]): ServerEvent | null {
  const fields = { event: 'message', data: [] as string[], id: null as string | null };
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'event') fields.event = value;
    else if (name === 'data') fields.data.push(value);
    else if (name === 'id') fields.id = value;
  }
  if (fields.data.length === 0) return null;
  try {
    const data: unknown = JSON.parse(fields.data.join('\n'));
    return isObject(data) ? { cursor: fields.id, type: fields.event, data } : null;
  } catch {
    return null;
  }
}

/** First and longest pause before the stream of events is asked for again. */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;

/** Follows the events until `signal` aborts; after a break from where it stood. `onGap` says that the state must be read anew. */
export async function followEvents(
  onEvent: (event: ServerEvent) => void,
  onGap: () => void,
  signal: AbortSignal,
): Promise<void> {
  let cursor: string | null = null;
  let pauseMs = RETRY_FIRST_MS;
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = { accept: 'text/event-stream', ...authorization() };
      if (cursor !== null) headers['last-event-id'] = cursor;
      const response = await fetch(`${ROOT}/events`, { headers, signal, cache: 'no-store' });
      if (!response.ok || !response.body) throw await refusal(response);
      if (cursor === null) onGap();
      pauseMs = RETRY_FIRST_MS;
      const cutter = new EventCutter();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        for (const event of cutter.push(value)) {
          if (event.cursor) cursor = event.cursor;
          onEvent(event);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.status === 410) cursor = null;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    pauseMs = Math.min(pauseMs * 2, RETRY_MAX_MS);
  }
}
