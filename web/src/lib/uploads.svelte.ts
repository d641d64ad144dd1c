// Uploads of this browser: tus 1.0.0 in pieces, several at a time, paused and resumed, and taken up again after a reload.

import { Upload } from 'tus-js-client';
import { authorization } from './library-api';

export type UploadState = 'waiting' | 'sending' | 'paused' | 'unplugged' | 'done' | 'failed';

export interface UploadRow {
  key: string;
  name: string;
  bytes: number;
  sent: number;
  state: UploadState;
  /** The asset it becomes, once known. */
  asset: string | null;
  error: string;
}

interface Remembered {
  key: string;
  name: string;
  bytes: number;
  sent: number;
}

/** What proxies let through in one request, and little to send again. */
const CHUNK_BYTES = 16 * 1024 * 1024;
/** Uploads on their way at once; the others wait. */
const SENDING_MAX = 2;
const RETRY_DELAYS_MS = [0, 500, 1_000, 3_000, 5_000, 10_000, 20_000];
const MEMORY = 'headwater.uploads';

class UploadStore {
  rows = $state<UploadRow[]>([]);
  readonly #running = new Map<string, Upload>();
  readonly #files = new Map<string, File>();

  constructor() {
    // A page that was reloaded has lost the files, not the uploads: choosing a file again goes on where it stood.
    this.rows = recall().map((row) => ({ ...row, state: 'unplugged', asset: null, error: '' }));
  }

  add(files: Iterable<File>): void {
    for (const file of files) {
      const key = keyOf(file);
      const row = this.#row(key);
      this.#files.set(key, file);
      if (!row) this.rows.unshift({ key, name: file.name, bytes: file.size, sent: 0, state: 'waiting', asset: null, error: '' });
      else if (row.state !== 'sending') Object.assign(row, { state: 'waiting', error: '' });
    }
    this.#next();
  }

  pause(key: string): void {
    const row = this.#row(key);
    if (!row || row.state === 'done') return;
    row.state = 'paused';
    void this.#running.get(key)?.abort();
    this.#running.delete(key);
    this.#next();
  }

  resume(key: string): void {
    const row = this.#row(key);
    if (!row || !this.#files.has(key)) return;
    Object.assign(row, { state: 'waiting', error: '' });
    this.#next();
  }

  /** Forgets a row; the server drops an unfinished upload. */
  async remove(key: string): Promise<void> {
    const upload = this.#running.get(key);
    this.#running.delete(key);
    const done = this.#row(key)?.state === 'done';
    this.rows = this.rows.filter((row) => row.key !== key);
    this.#files.delete(key);
    this.#remember();
    if (!done) await upload?.abort(true).catch(() => undefined);
    this.#next();
  }

  #row(key: string): UploadRow | undefined {
    return this.rows.find((row) => row.key === key);
  }

  #next(): void {
    this.#remember();
    if (this.rows.filter((row) => row.state === 'sending').length >= SENDING_MAX) return;
    const row = this.rows.findLast((candidate) => candidate.state === 'waiting');
    const file = row && this.#files.get(row.key);
    if (row && file) void this.#send(row.key, file);
  }

  async #send(key: string, file: File): Promise<void> {
    const change = (fields: Partial<UploadRow>) => {
      const row = this.#row(key);
      if (row) Object.assign(row, fields);
    };
    change({ state: 'sending' });
    const upload = new Upload(file, {
      // Whole: the answer's Location is relative to it.
      endpoint: new URL('/api/v1/uploads', location.href).href,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_DELAYS_MS,
      removeFingerprintOnSuccess: true,
      metadata: { filename: file.name, filetype: file.type },
      headers: authorization(),
      onProgress: (sent) => change({ sent }),
      onAfterResponse: (_request, response) => {
        const asset = response.getHeader('headwater-asset');
        if (asset) change({ asset });
      },
      onError: (error) => {
        this.#running.delete(key);
        change({ state: 'failed', error: explain(error) });
        this.#next();
      },
      onSuccess: () => {
        this.#running.delete(key);
        change({ state: 'done', sent: file.size });
        this.#next();
      },
    });
    this.#running.set(key, upload);
    const [previous] = await upload.findPreviousUploads();
    // Paused or removed meanwhile.
    if (this.#running.get(key) !== upload) return;
    if (previous) upload.resumeFromPreviousUpload(previous);
    upload.start();
    this.#next();
  }

  #remember(): void {
    const open = this.rows.filter((row) => row.state !== 'done');
    const kept: Remembered[] = open.map(({ key, name, bytes, sent }) => ({ key, name, bytes, sent }));
    localStorage.setItem(MEMORY, JSON.stringify(kept));
  }
}

function keyOf(file: File): string {
  return `${file.name}/${file.size}/${file.lastModified}`;
}

function recall(): Remembered[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(MEMORY) ?? '[]');
    return Array.isArray(kept) ? kept.filter((row) => typeof row?.key === 'string') : [];
  } catch {
    return [];
  }
}

/** tus-js-client's errors carry the server's answer; its problem says what to do. */
function explain(error: Error & { originalResponse?: { getBody(): string } | null }): string {
  try {
    const problem = JSON.parse(error.originalResponse?.getBody() ?? '');
    return [problem.detail ?? problem.title, problem.hint].filter(Boolean).join(' ');
  } catch {
    return 'The server does not answer. Resume when it is back.';
  }
}

export const uploads = new UploadStore();
