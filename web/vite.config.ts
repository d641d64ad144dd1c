import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The server embeds `dist/` and serves it under `/app/`; names under `assets/` carry a content hash and never change.
export default defineConfig({
  base: '/app/',
  plugins: [svelte()],
  build: {
    target: ['es2022', 'chrome111', 'firefox114', 'safari16.4'],
    sourcemap: false,
    // No inline script and no data: script may be needed, so that the server can send a strict Content-Security-Policy.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // The player chunk is hls.js plus media-chrome; it loads only on the player page.
    chunkSizeWarningLimit: 900,
  },
  server: {
    // `npm run dev` against a running platform (or `npm run mock`): only the app itself comes from Vite.
    proxy: { '^/(?!app(/|$))': 'http://127.0.0.1:8080' },
  },
  test: { environment: 'node', include: ['src/**/*.test.ts'] },
});
