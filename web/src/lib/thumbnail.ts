// Keeps the picture of a channel fresh while somebody can see it.

/** A new thumbnail is asked for this often; the server answers 304 when there is none. */
export const REFRESH_MS = 5_000;
/** After failures the pause doubles up to this. */
const REFRESH_MAX_MS = 60_000;

/**
 * Calls `onPicture` with an object URL for every new picture at `url`, and with null when there is none.
 * Asks only while the tab and `element` are visible. Returns the function that stops it and frees the picture.
 */
export function followThumbnail(element: Element, url: string, onPicture: (url: string | null) => void): () => void {
  const stopped = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let inView = false;
  let busy = false;
  let failures = 0;
  let etag: string | null = null;
  let picture: string | null = null;

  const show = (next: string | null) => {
    const previous = picture;
    picture = next;
    onPicture(next);
    // The old picture stays valid until the new one has been painted.
    if (previous) setTimeout(() => URL.revokeObjectURL(previous), 1_000);
  };

  const refresh = async () => {
    if (busy || !inView || document.hidden || stopped.signal.aborted) return;
    busy = true;
    clearTimeout(timer);
    try {
      // `no-cache` asks the server with the ETag at hand, so an unchanged picture costs a few bytes.
      const response = await fetch(url, { cache: 'no-cache', signal: stopped.signal });
      const found = response.ok && response.status !== 204;
      const tag = found ? response.headers.get('etag') : null;
      const blob = found ? await response.blob() : null;
      if (stopped.signal.aborted) return;
      failures = found ? 0 : failures + 1;
      if (tag === null || tag !== etag) show(blob && URL.createObjectURL(blob));
      etag = tag;
    } catch {
      if (stopped.signal.aborted) return;
      // The server is out of reach: the last picture is better than none.
      failures += 1;
    } finally {
      busy = false;
    }
    timer = setTimeout(refresh, Math.min(REFRESH_MAX_MS, REFRESH_MS * 2 ** failures));
  };

  const onVisible = () => void refresh();
  const observer = new IntersectionObserver((entries) => {
    inView = entries.at(-1)?.isIntersecting ?? false;
    void refresh();
  });
  observer.observe(element);
  document.addEventListener('visibilitychange', onVisible);

  return () => {
    stopped.abort();
    clearTimeout(timer);
    observer.disconnect();
    document.removeEventListener('visibilitychange', onVisible);
    show(null);
  };
}
