// Uploads a file in the web app as a person does, waits until it plays, plays it, and prints what happened as JSON.
//
//   node upload.mjs --base http://127.0.0.1:8080 --file clip.mp4 [--screenshot FILE] [--chromium /usr/bin/chromium]

import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values: options } = parseArgs({
  options: {
    base: { type: 'string' },
    file: { type: 'string' },
    screenshot: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
});

/** Uploading and preparing a clip of seconds, on a machine that does other things as well. */
const READY_MS = 120_000;
const PLAY_MS = 30_000;

async function main() {
  const browser = await chromium.launch({
    executablePath: options.chromium,
    headless: true,
    args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  try {
    await page.goto(`${options.base}/app/#/library`);
    await page.getByTestId('file-input').setInputFiles(options.file);
    await page.locator('[data-testid=upload-row][data-state=done]').waitFor({ timeout: READY_MS });
    const card = page.locator('[data-testid=asset-card][data-state=ready]').first();
    await card.waitFor({ timeout: READY_MS });
    const asset = await card.getAttribute('data-asset-id');
    const title = await card.locator('h2').innerText();
    if (options.screenshot) await page.screenshot({ path: options.screenshot });

    await card.locator('a').click();
    await page.waitForFunction(() => (document.querySelector('video')?.currentTime ?? 0) > 1, null, { timeout: PLAY_MS });
    await page.locator('[data-testid=job-panel][data-state=done]').waitFor({ timeout: READY_MS });
    const video = await page.evaluate(() => {
      const { videoWidth, videoHeight, duration, currentTime } = document.querySelector('video');
      return { videoWidth, videoHeight, duration, currentTime };
    });
    await page.goto(`${options.base}/app/#/library`);
    await page.reload();
    const picture = page.locator('[data-testid=asset-card] .picture').first();
    await picture.locator('img').waitFor({ timeout: PLAY_MS });
    await picture.hover();
    await page.getByTestId('storyboard-moment').waitFor({ timeout: PLAY_MS });
    console.log(JSON.stringify({ asset, title, file: basename(options.file), complaints, ...video }));
  } catch (error) {
    const text = await page.locator('main').innerText().catch(() => '');
    console.log(JSON.stringify({ error: String(error), text, complaints }));
  } finally {
    await browser.close();
  }
}

await main();
