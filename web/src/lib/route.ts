// Hash routes, so that the server needs to know one page only: `#/`, `#/watch/APP/NAME`, `#/library` and `#/vod/ASSET`.

export type Route =
  | { page: 'start' }
  | { page: 'watch'; app: string; name: string }
  | { page: 'library' }
  | { page: 'asset'; id: string }
  | { page: 'unknown'; hash: string };

export function parseRoute(hash: string): Route {
  const path = hash.replace(/^#/, '').replace(/^\/+/, '').replace(/\/+$/, '');
  if (path === '') return { page: 'start' };
  const [page, ...rest] = path.split('/').map(decode);
  const [app, ...name] = rest;
  if (page === 'watch' && app && name.length > 0 && name.every((part) => part !== '')) {
    return { page: 'watch', app, name: name.join('/') };
  }
  if (page === 'library' && rest.length === 0) return { page: 'library' };
  if (page === 'vod' && app && name.length === 0) return { page: 'asset', id: app };
  return { page: 'unknown', hash };
}

export function assetHref(id: string): string {
  return `#/vod/${encodeURIComponent(id)}`;
}

export function watchHref(app: string, name: string): string {
  return `#/watch/${encodeURIComponent(app)}/${name.split('/').map(encodeURIComponent).join('/')}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
