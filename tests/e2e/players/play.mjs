// Plays one stream in headless Chromium with a real player, and prints what happened as JSON.
//
//   node play.mjs --engine hlsjs|shaka-hls|shaka-dash|dashjs|app --base http://127.0.0.1:8080 --stream encoder/colorbar
//                 [--seconds 20] [--clock] [--screenshot FILE] [--width 1280 --height 800]
//   node play.mjs --engine ... --url http://127.0.0.1:8080/any/playlist.m3u8 [...]
//
// `--url` is a playlist or manifest of another server; `--settings JSON` is merged into the player's configuration;
// `--trace` adds what was under way each second.
// `--clock` reads the machine clock that tests burn into the top of the picture (see clock.js) and reports glass-to-glass latency.
// The page comes from a small server of this script's own; players come from node_modules; every request that leaves this
// machine meets a proxy that does not exist, and is reported. (Intercepting requests would delay each of them.)

import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    engine: { type: 'string', default: 'hlsjs' },
    base: { type: 'string' },
    stream: { type: 'string' },
    url: { type: 'string' },
    settings: { type: 'string', default: '{}' },
    seconds: { type: 'string', default: '20' },
    clock: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    screenshot: { type: 'string' },
    width: { type: 'string', default: '1280' },
    height: { type: 'string', default: '800' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
});

const scripts = {
  hlsjs: 'hls.js/dist/hls.min.js',
  'shaka-hls': 'shaka-player/dist/shaka-player.compiled.js',
  'shaka-dash': 'shaka-player/dist/shaka-player.compiled.js',
  dashjs: 'dashjs/dist/modern/umd/dash.all.min.js',
};

/** The page server: player.html, player.js, the engine, and an empty favicon. */
function serve() {
  const script = scripts[options.engine];
  const files = {
    '/': ['text/html', () => readFileSync(join(here, 'player.html'))],
    '/player.js': ['text/javascript', () => readFileSync(join(here, 'player.js'))],
    '/clock.js': ['text/javascript', () => readFileSync(join(here, 'clock.js'))],
    '/engine.js': ['text/javascript', () => readFileSync(join(here, 'node_modules', script))],
  };
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://localhost').pathname;
    const file = files[path];
    response.writeHead(file ? 200 : 204, { 'content-type': file?.[0] ?? 'text/plain' });
    response.end(file?.[1]());
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** Where the platform offers a stream to an engine. */
function address(engine) {
  const file = engine.startsWith('dash') || engine.endsWith('dash') ? 'manifest.mpd' : 'index.m3u8';
  return `${options.base}/${options.stream}/${file}`;
}

function isLocal(url) {
  const { protocol, hostname } = new URL(url);
  return ['blob:', 'data:', 'about:'].includes(protocol) || ['127.0.0.1', 'localhost', '[::1]'].includes(hostname);
}

async function main() {
  const app = options.engine === 'app';
  const server = app ? null : await serve();
  const browser = await chromium.launch({
    executablePath: options.chromium,
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required', '--mute-audio',
      '--disable-dev-shm-usage', '--proxy-server=http://127.0.0.1:9',
    ],
  });
  const report = { engine: options.engine, stream: options.stream, url: options.url, errors: [], foreign: [] };
  try {
    const page = await browser.newPage({ viewport: { width: Number(options.width), height: Number(options.height) } });
    page.on('console', (message) => {
      if (message.type() === 'error') report.errors.push(message.text());
    });
    page.on('pageerror', (error) => report.errors.push(String(error)));
    page.on('request', (request) => {
      if (!isLocal(request.url())) report.foreign.push(request.url());
    });
    await page.addInitScript({ path: join(here, 'clock.js') });
    if (app) {
      await page.goto(`${options.base}/app/#/watch/${options.stream}`);
    } else {
      const { engine, settings } = options;
      const query = new URLSearchParams({ engine, settings, url: options.url ?? address(engine) });
      await page.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
    }
    await page.waitForSelector('video', { timeout: 15000, state: 'attached' });
    await page.evaluate(([clock, trace]) => window.watch(document.querySelector('video'), clock, trace), [options.clock, options.trace]);
    await page.waitForFunction(() => window.watched.startupMs !== null, undefined, { timeout: 20000 });
    await page.waitForTimeout(Number(options.seconds) * 1000);
    if (options.screenshot) await page.screenshot({ path: options.screenshot });
    Object.assign(report, await page.evaluate(() => window.watchReport()));
  } catch (error) {
    report.failure = String(error);
    if (options.screenshot) await browser.contexts()[0]?.pages()[0]?.screenshot({ path: options.screenshot }).catch(() => {});
  } finally {
    await browser.close();
    server?.close();
  }
  console.log(JSON.stringify(report));
}

await main();
