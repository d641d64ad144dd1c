// Dark or light: the system's choice until the viewer makes another one.

import { loadPreference, savePreference } from './preferences';

type Theme = 'dark' | 'light';

class ThemeStore {
  #system = $state<Theme>('light');
  #chosen = $state<Theme | null>(null);

  get current(): Theme {
    return this.#chosen ?? this.#system;
  }

  start(): () => void {
    const query = matchMedia('(prefers-color-scheme: dark)');
    const follow = () => (this.#system = query.matches ? 'dark' : 'light');
    follow();
    query.addEventListener('change', follow);
    const stored = loadPreference('theme');
    if (stored === 'dark' || stored === 'light') this.#choose(stored);
    return () => query.removeEventListener('change', follow);
  }

  /** Choosing what the system has anyway goes back to following the system. */
  toggle(): void {
    const next: Theme = this.current === 'dark' ? 'light' : 'dark';
    this.#choose(next === this.#system ? null : next);
    savePreference('theme', this.#chosen);
  }

  #choose(theme: Theme | null): void {
    this.#chosen = theme;
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  }
}

export const theme = new ThemeStore();
