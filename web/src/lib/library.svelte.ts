// Assets and the progress of their jobs as the pages see them: read once, then kept fresh by events.

import { followEvents, getAsset, getProgress, listAssets, parseProgress, Refusal, type Asset, type JobProgress, type ServerEvent } from './library-api';

/** The newest change of an asset is read at most this often. */
const REREAD_MS = 300;

class LibraryStore {
  assets = $state.raw<Asset[]>([]);
  progress = $state.raw<Record<string, JobProgress>>({});
  known = $state(false);
  more = $state<string | null>(null);
  /** Why the list cannot be read, and whether an access token would help. */
  fault = $state<{ text: string; wantsToken: boolean } | null>(null);
  #text = '';
  #stale = new Map<string, ReturnType<typeof setTimeout>>();

  find(id: string): Asset | undefined {
    return this.assets.find((asset) => asset.id === id);
  }

  connect(): () => void {
    const following = new AbortController();
    void followEvents(
      (event) => this.#onEvent(event),
      () => void this.read(this.#text),
      following.signal,
    );
    void this.read(this.#text);
    return () => following.abort();
  }

  /** The first page of assets with `text` in their titles. */
  async read(text: string): Promise<void> {
    this.#text = text;
    try {
      const page = await listAssets(text, null);
      if (this.#text !== text) return;
      this.assets = page.assets;
      this.more = page.next;
      this.fault = null;
      this.known = true;
      for (const asset of page.assets) if (asset.state === 'preparing') void this.#readProgress(asset.id);
    } catch (error) {
      this.fault = faultOf(error);
    }
  }

  async readMore(): Promise<void> {
    if (!this.more) return;
    const page = await listAssets(this.#text, this.more);
    const known = new Set(this.assets.map((asset) => asset.id));
    this.assets = [...this.assets, ...page.assets.filter((asset) => !known.has(asset.id))];
    this.more = page.next;
  }

  /** One asset, whether or not the list has it. */
  async readOne(id: string): Promise<Asset | null> {
    try {
      const [asset] = await Promise.all([getAsset(id), this.#readProgress(id)]);
      this.#put(asset);
      return asset;
    } catch (error) {
      if (error instanceof Refusal && error.status === 404) {
        this.assets = this.assets.filter((asset) => asset.id !== id);
        return null;
      }
      throw error;
    }
  }

  async #readProgress(id: string): Promise<void> {
    const progress = await getProgress(id).catch(() => null);
    if (progress) this.progress = { ...this.progress, [id]: progress };
  }

  #put(asset: Asset): void {
    const known = this.assets.some((other) => other.id === asset.id);
    if (known) this.assets = this.assets.map((other) => (other.id === asset.id ? asset : other));
    else if (!this.#text) this.assets = [asset, ...this.assets];
  }

  #onEvent(event: ServerEvent): void {
    if (event.type === 'job.progress') {
      const progress = parseProgress(event.data);
      if (progress?.asset) this.progress = { ...this.progress, [progress.asset]: progress };
      return;
    }
    const id = typeof event.data.asset === 'string' ? event.data.asset : null;
    if (!id) return;
    if (event.type === 'asset.deleted') {
      this.assets = this.assets.filter((asset) => asset.id !== id);
      return;
    }
    if (this.#stale.has(id)) return;
    const reread = () => {
      this.#stale.delete(id);
      void this.readOne(id).catch(() => undefined);
    };
    this.#stale.set(id, setTimeout(reread, REREAD_MS));
  }
}

function faultOf(error: unknown): { text: string; wantsToken: boolean } {
  if (error instanceof Refusal) {
    return { text: [error.message, error.hint].filter(Boolean).join('. '), wantsToken: error.status === 401 || error.status === 403 };
  }
  return { text: 'The server does not answer. This page goes on by itself when it is back.', wantsToken: false };
}

export const library = new LibraryStore();
