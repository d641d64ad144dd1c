// The player page is a chunk of its own: hls.js is many times the size of everything else.

type WatchPageModule = typeof import('./WatchPage.svelte');

let loading: Promise<WatchPageModule> | null = null;

export function loadWatchPage(): Promise<WatchPageModule> {
  loading ??= import('./WatchPage.svelte').catch((error: unknown) => {
    loading = null;
    throw error;
  });
  return loading;
}

/** A hint: somebody is about to open a channel. */
export function preloadWatchPage(): void {
  loadWatchPage().catch(() => undefined);
}
