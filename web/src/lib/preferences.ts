// What the viewer chose last time. Storage may be missing or full (private windows): the app then just forgets.

const PREFIX = 'headwater.';

export function loadPreference(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** `null` forgets the choice. */
export function savePreference(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // Nothing to do: the choice lasts for this page only.
  }
}
