import { expect, it } from 'vitest';
import { assetHref, parseRoute, watchHref, type Route } from './route';

function check(hash: string, route: Route) {
  expect(parseRoute(hash)).toEqual(route);
}

it('reads hashes', () => {
  check('', { page: 'start' });
  check('#', { page: 'start' });
  check('#/', { page: 'start' });
  check('#/watch/encoder/colorbar', { page: 'watch', app: 'encoder', name: 'colorbar' });
  check('#/watch/encoder/colorbar/', { page: 'watch', app: 'encoder', name: 'colorbar' });
  check('#/watch/live/a%20b%2Fc', { page: 'watch', app: 'live', name: 'a b/c' });
  check('#/watch/live/a/b', { page: 'watch', app: 'live', name: 'a/b' });
  check('#/library', { page: 'library' });
  check('#/vod/ast_1', { page: 'asset', id: 'ast_1' });
  check('#/watch/live/%E0%A4%A', { page: 'watch', app: 'live', name: '%E0%A4%A' });
});

it('knows what is no page', () => {
  for (const hash of ['#/vod', '#/library/x', '#/watch', '#/watch/live', '#/watch//x', '#/watch/live/a//b', '#/other']) {
    check(hash, { page: 'unknown', hash });
  }
});

it('writes hashes that read back', () => {
  for (const [app, name] of [['live', 'a'], ['live', 'ü / ?#%'], ['a b', '100%']] as const) {
    check(watchHref(app, name), { page: 'watch', app, name: name });
  }
  check(assetHref('ast_1/2'), { page: 'asset', id: 'ast_1/2' });
});
