/// <reference types="svelte" />
/// <reference types="vite/client" />

declare module 'svelte/elements' {
  interface HTMLAttributes<T> {
    /** media-chrome: stays visible when the controls fade out. */
    noautohide?: boolean;
  }
}

export {};
