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

type AssetPageModule = typeof import('./AssetPage.svelte');
type LibraryPageModule = typeof import('./LibraryPage.svelte');

let loadingAsset: Promise<AssetPageModule> | null = null;
let loadingLibrary: Promise<LibraryPageModule> | null = null;

export function loadAssetPage(): Promise<AssetPageModule> {
  loadingAsset ??= import('./AssetPage.svelte').catch((error: unknown) => {
    loadingAsset = null;
    throw error;
  });
  return loadingAsset;
}

/** The library brings the uploads; who only watches needs neither. */
export function loadLibraryPage(): Promise<LibraryPageModule> {
  loadingLibrary ??= import('./LibraryPage.svelte').catch((error: unknown) => {
    loadingLibrary = null;
    throw error;
  });
  return loadingLibrary;
}

/** A hint: somebody is about to open a film. */
export function preloadAssetPage(): void {
  loadAssetPage().catch(() => undefined);
}
