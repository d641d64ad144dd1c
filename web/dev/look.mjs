// Looks at the built app in a real browser against the mock server: walks through its states, fails on console errors,
// foreign requests and accessibility findings, and writes screenshots. `npm run build && npm run look [-- FOLDER]`.

import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { channel, startMock } from './mock-server.mjs';

const FOLDER = process.argv[2] ?? fileURLToPath(new URL('../dist-screenshots', import.meta.url));
// Evaluated rather than added as a script: the page's Content-Security-Policy stays in force.
const AXE = `${await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')};0`;
const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
const SIZES = { phone: [360, 740], desktop: [1440, 900], wall: [3840, 2160] };

const problems = [];
await mkdir(FOLDER, { recursive: true });
const mock = await startMock({ channels: [] });
const browser = await chromium.launch({
  executablePath: EXECUTABLE,
  args: ['--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
});

const picture = { title: 'Colour bars', thumbnail: '/encoder/colorbar/thumb.jpg' };
const many = [
  channel(picture),
  channel({ app: 'live', name: 'harbour', title: 'Harbour, north pier', video: { codec: 'H.264', width: 1920, height: 1080, frame_rate: 29.97 } }),
  channel({ app: 'live', name: 'council', title: 'Council chamber', audio: null, started_at: new Date(Date.now() - 9e6).toISOString() }),
  channel({ app: 'live', name: 'match', title: 'Evening match', live: false }),
];

try {
  await start();
  await watch();
} catch (error) {
  problems.push(String(error.stack));
} finally {
  await browser.close();
  await mock.close();
}
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.exitCode = problems.length ? 1 : 0;

async function start() {
  const page = await open('desktop', 'light', '#/');
  await page.getByTestId('empty-state').waitFor();
  await shot(page, 'empty-light');
  mock.setChannels([channel({ name: 'first' })]);
  await page.getByTestId('channel-card').waitFor({ timeout: 1000 });
  await mock.startMedia();
  mock.setChannels(many);
  await page.waitForTimeout(3500);
  await shot(page, 'start-light');
  await page.close();
  await each('#/', 'start', ['phone', 'wall', 'desktop'], async (page) => page.waitForTimeout(1200));

  const lost = await open('desktop', 'light', '#/', { quiet: true });
  await lost.getByTestId('channel-card').first().waitFor();
  await mock.down();
  await lost.getByTestId('offline').waitFor();
  await shot(lost, 'start-offline');
  await mock.up();
  await lost.getByTestId('offline').waitFor({ state: 'detached', timeout: 15_000 });
  await lost.close();
}

async function watch() {
  const hash = '#/watch/encoder/colorbar';
  const page = await open('desktop', 'light', hash);
  await playing(page);
  await page.waitForTimeout(6000);
  await page.mouse.move(700, 400);
  await shot(page, 'watch-light');

  await page.keyboard.press('i');
  await page.waitForTimeout(700);
  await shot(page, 'watch-statistics');
  await page.keyboard.press('i');
  await page.keyboard.press('?');
  await shot(page, 'watch-help');
  await page.keyboard.press('Escape');

  const video = page.getByTestId('player-video');
  await page.getByTestId('quality-menu').selectOption({ index: 2 });
  await page.waitForFunction(() => document.querySelector('video').dataset.levelHeight === '360', null, { timeout: 10_000 });
  await page.keyboard.press('Tab');
  await page.locator('h1').focus();
  await page.keyboard.press('ArrowLeft');
  await page.waitForTimeout(1500);
  expect((await page.getByTestId('live-button').innerText()).includes('Go live'), 'a rewound player offers to go live');
  await shot(page, 'watch-rewound');
  await page.keyboard.press('l');
  await page.waitForTimeout(1500);
  expect((await page.getByTestId('latency').innerText()).startsWith('LIVE'), 'L returns to live');
  await page.keyboard.press('k');
  await page.waitForTimeout(300);
  expect((await video.getAttribute('data-state')) === 'paused', 'K pauses');
  await page.keyboard.press('k');
  await page.keyboard.press('f');
  await page.waitForTimeout(800);
  expect(await page.evaluate(() => document.fullscreenElement?.localName === 'media-controller'), 'F opens full screen');
  await shot(page, 'watch-fullscreen');
  await page.keyboard.press('f');
  await page.waitForTimeout(500);
  expect(await page.evaluate(() => document.fullscreenElement === null), 'F closes full screen');
  await page.getByTestId('sound-button').click();
  expect(!(await video.evaluate((element) => element.muted)), 'the sound button unmutes');
  await page.waitForTimeout(5000);
  expect((await video.getAttribute('data-stalls')) === '0', `no stalls, not ${await video.getAttribute('data-stalls')}`);
  await page.reload();
  await playing(page);
  expect((await page.getByTestId('quality-menu').inputValue()) !== 'auto', 'the chosen quality is remembered');

  await page.goto('about:blank');
  const lost = await open('desktop', 'light', hash, { quiet: true });
  await playing(lost);
  await mock.down();
  await lost.getByTestId('offline').waitFor();
  await lost.getByTestId('player-message').waitFor({ timeout: 60_000 });
  await shot(lost, 'watch-offline');
  await mock.up();
  await lost.getByTestId('player-message').waitFor({ state: 'detached', timeout: 30_000 });
  await playing(lost);
  await lost.close();
  await page.goto(`${mock.url}/app/${hash}`);
  await playing(page);
  await each(hash, 'watch', ['phone', 'wall', 'desktop'], async (other) => {
    await playing(other);
    await other.mouse.move(150, 250);
    await other.waitForTimeout(1200);
  });

  await mock.stopMedia();
  mock.setChannels([{ ...many[0], live: false }, ...many.slice(1)]);
  await page.waitForFunction(() => document.querySelector('video').dataset.state === 'ended', null, { timeout: 30_000 });
  await shot(page, 'watch-ended');
  await page.setViewportSize({ width: SIZES.phone[0], height: SIZES.phone[1] });
  await shot(page, 'watch-ended-phone');
  await page.setViewportSize({ width: SIZES.desktop[0], height: SIZES.desktop[1] });
  await mock.startMedia();
  await page.waitForTimeout(3000);
  mock.setChannels([channel({ ...picture, started_at: new Date().toISOString() }), ...many.slice(1)]);
  await playing(page);
  await shot(page, 'watch-again');
  await page.close();

  const gone = await open('phone', 'dark', '#/watch/live/nothing');
  await gone.getByTestId('player-message').waitFor();
  await shot(gone, 'watch-off-air');
  await gone.close();
}

async function playing(page) {
  await page.waitForFunction(
    () => {
      const video = document.querySelector('video');
      return video && video.dataset.state === 'playing' && video.currentTime > 0 && video.dataset.latencyMs;
    },
    null,
    { timeout: 30_000 },
  );
}

async function each(hash, name, sizes, prepare) {
  for (const size of sizes) {
    const page = await open(size, 'dark', hash);
    await prepare(page);
    await shot(page, `${name}-${size}-dark`);
    await page.close();
  }
}

async function open(size, colorScheme, hash, { quiet = false } = {}) {
  const [width, height] = SIZES[size];
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: 'no-preference' });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (!quiet && ['error', 'warning'].includes(message.type())) problems.push(`console ${message.type()} at ${hash}: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`exception at ${hash}: ${error.message}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(mock.url) && !/^(data|blob):/.test(url)) problems.push(`foreign request: ${url}`);
  });
  await page.goto(`${mock.url}/app/${hash}`);
  return page;
}

/** A picture, an accessibility check, and a check that nothing is wider than the window. */
async function shot(page, name) {
  await page.screenshot({ path: `${FOLDER}/${name}.png` });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(wide <= 0, `${name}: ${wide} px wider than the window`);
  await page.evaluate(AXE);
  const findings = await page.evaluate(() => globalThis.axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  for (const violation of findings.violations) {
    problems.push(`${name}: ${violation.impact} ${violation.id}: ${violation.nodes.map((node) => node.target.join(' ')).join(', ')}`);
  }
}

function expect(holds, what) {
  if (!holds) problems.push(`expected: ${what}`);
}
