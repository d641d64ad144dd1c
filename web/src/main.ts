import { mount } from 'svelte';
import App from './lib/App.svelte';
import './app.css';

// After an upgrade of the server an open page may ask for a chunk that is gone: take the new page, once.
const RELOADED = 'headwater.reloaded';
addEventListener('vite:preloadError', (event) => {
  if (sessionStorage.getItem(RELOADED)) return;
  event.preventDefault();
  sessionStorage.setItem(RELOADED, '1');
  location.reload();
});

const target = document.getElementById('app');
if (!target) throw new Error('index.html has an element with the id "app"');
mount(App, { target });
