// A stand-in for the platform while working on the app: the built app, a list of channels with long poll, and
// plain HLS made by FFmpeg. `npm run build && npm run mock`, then open the printed address.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const LONG_POLL_MS = 25_000;
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.m4s': 'video/mp4',
  '.mp4': 'video/mp4',
  '.jpg': 'image/jpeg',
};
// The policy the app is built for: everything from this host, styles also inside shadow roots.
const POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'self'";

export function channel(overrides = {}) {
  const { app = 'encoder', name = 'colorbar' } = overrides;
  return {
    id: `${app}/${name}`,
    app,
    name,
    title: name,
    live: true,
    started_at: new Date(Date.now() - 754_000).toISOString(),
    hls: `/${app}/${name}/index.m3u8`,
    dash: `/${app}/${name}/manifest.mpd`,
    thumbnail: null,
    video: { codec: 'H.264', width: 1280, height: 720, frame_rate: 60 },
    audio: { codec: 'AAC', sample_rate: 48000, channels: 1 },
    renditions: [],
    notices: [],
    ...overrides,
  };
}

/** Starts on `port` (0: any). Every channel plays the same picture. */
export async function startMock({ port = 0, channels = [channel({ thumbnail: '/encoder/colorbar/thumb.jpg' })] } = {}) {
  const media = await mkdtemp(join(tmpdir(), 'headwater-mock-'));
  let encoder = null;
  let list = channels;
  let version = 1;
  let waiters = [];

  const answer = () => JSON.stringify({ version, server: 'headwater 0.1.0 (mock)', channels: list });
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname === '/channels.json') return sendList(url, response);
    if (url.pathname === '/') return response.writeHead(302, { location: '/app/' }).end();
    if (url.pathname === '/app' || url.pathname.startsWith('/app/')) {
      const file = join(DIST, normalize(url.pathname.slice('/app'.length)));
      return sendFile(response, extname(file) && existsSync(file) ? file : join(DIST, 'index.html'), 'no-cache');
    }
    // `/APP/NAME/file` and what FFmpeg's playlists refer to.
    return sendFile(response, join(media, normalize(url.pathname).split('/').slice(3).join('/')), 'no-cache');
  });

  function sendList(url, response) {
    const send = () => {
      clearTimeout(timer);
      waiters = waiters.filter((waiter) => waiter !== send);
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(answer());
    };
    const timer = setTimeout(send, LONG_POLL_MS);
    if (url.searchParams.get('after') === String(version)) waiters.push(send);
    else send();
  }

  async function sendFile(response, path, cache) {
    try {
      if (!(await stat(path)).isFile()) throw new Error('not a file');
      const body = await readFile(path);
      response.writeHead(200, {
        'content-type': TYPES[extname(path)] ?? 'application/octet-stream',
        'cache-control': cache,
        'content-security-policy': POLICY,
      });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  }

  const listen = (at) => new Promise((resolve) => server.listen(at, '127.0.0.1', resolve));
  await listen(port);
  const bound = server.address().port;

  return {
    url: `http://127.0.0.1:${bound}`,
    setChannels(next) {
      list = next;
      version += 1;
      for (const send of waiters) send();
    },
    async startMedia() {
      for (const name of ['index', 'v0', 'v1']) await rm(join(media, `${name}.m3u8`), { force: true });
      encoder = spawn('ffmpeg', ffmpegArguments(media), { stdio: ['pipe', 'ignore', 'inherit'] });
      for (let tries = 0; tries < 150 && !existsSync(join(media, 'v1.m3u8')); tries += 1) await pause(100);
    },
    /** Ends the broadcast as an encoder does: the playlists get their end mark. */
    async stopMedia() {
      if (!encoder) return;
      const ended = new Promise((resolve) => encoder.once('exit', resolve));
      encoder.stdin.end('q');
      await ended;
      encoder = null;
    },
    down() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
    up: () => listen(bound),
    async close() {
      await this.stopMedia();
      server.closeAllConnections();
      server.close();
      await rm(media, { recursive: true, force: true });
    },
  };
}

function ffmpegArguments(folder) {
  return [
    ...['-hide_banner', '-loglevel', 'error', '-y'],
    // Ends by itself should this process be killed.
    ...['-re', '-t', '3600', '-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=30,format=yuv420p'],
    ...['-re', '-t', '3600', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000:beep_factor=4'],
    ...['-filter_complex', '[0:v]split=2[a][b0];[b0]scale=640:360,split=2[b][t0];[t0]fps=5[t]'],
    ...['-map', '[a]', '-map', '[b]', '-map', '1:a', '-map', '1:a'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-g', '30', '-b:v:0', '1500k', '-b:v:1', '500k'],
    ...['-c:a', 'aac', '-b:a', '64k', '-f', 'hls', '-hls_time', '1', '-hls_list_size', '60', '-hls_segment_type', 'fmp4'],
    ...['-hls_flags', 'program_date_time+delete_segments+independent_segments', '-master_pl_name', 'index.m3u8'],
    ...['-var_stream_map', 'v:0,a:0 v:1,a:1', '-hls_fmp4_init_filename', 'init%v.mp4'],
    ...['-hls_segment_filename', join(folder, 'v%v_%d.m4s'), join(folder, 'v%v.m3u8')],
    ...['-map', '[t]', '-f', 'image2', '-update', '1', '-q:v', '4', join(folder, 'thumb.jpg')],
  ];
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await startMock({ port: Number(process.env.PORT ?? 8080) });
  await mock.startMedia();
  process.stdout.write(`Headwater mock on ${mock.url}/app/ (Ctrl+C stops it)\n`);
  process.once('SIGINT', () => mock.close());
}
