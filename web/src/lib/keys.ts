// The player's keyboard: one table that both the handler and the help dialog read.

export type PlayerAction =
  | 'togglePlay'
  | 'toggleMuted'
  | 'fullscreen'
  | 'pictureInPicture'
  | 'back'
  | 'forward'
  | 'louder'
  | 'quieter'
  | 'goLive'
  | 'statistics'
  | 'help';

export interface KeyBinding {
  /** Values of `KeyboardEvent.key`, lower case. */
  keys: string[];
  /** As printed in the help. */
  shown: string[];
  action: PlayerAction;
  says: string;
}

export const SEEK_STEP_SECONDS = 10;
export const VOLUME_STEP = 0.1;

export const KEY_BINDINGS: KeyBinding[] = [
  { keys: [' ', 'k'], shown: ['Space', 'K'], action: 'togglePlay', says: 'Play or pause' },
  { keys: ['l'], shown: ['L'], action: 'goLive', says: 'Jump to live' },
  { keys: ['arrowleft'], shown: ['←'], action: 'back', says: `Back ${SEEK_STEP_SECONDS} seconds` },
  { keys: ['arrowright'], shown: ['→'], action: 'forward', says: `Forward ${SEEK_STEP_SECONDS} seconds` },
  { keys: ['arrowup'], shown: ['↑'], action: 'louder', says: 'Louder' },
  { keys: ['arrowdown'], shown: ['↓'], action: 'quieter', says: 'Quieter' },
  { keys: ['m'], shown: ['M'], action: 'toggleMuted', says: 'Sound on or off' },
  { keys: ['f'], shown: ['F'], action: 'fullscreen', says: 'Full screen' },
  { keys: ['p'], shown: ['P'], action: 'pictureInPicture', says: 'Picture in picture' },
  { keys: ['i'], shown: ['I'], action: 'statistics', says: 'Playback statistics' },
  { keys: ['?'], shown: ['?'], action: 'help', says: 'This help' },
];

/** What a key press means to the player, or null when it belongs to something else on the page. */
export function actionForKey(event: KeyboardEvent): PlayerAction | null {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return null;
  const key = event.key.toLowerCase();
  const binding = KEY_BINDINGS.find((candidate) => candidate.keys.includes(key));
  if (!binding) return null;
  const focused = event.composedPath()[0];
  if (focused instanceof Element && keepsKey(focused, key)) return null;
  return binding.action;
}

/** Fields keep what is typed into them, sliders and menus their arrows, buttons and links their space bar. */
function keepsKey(element: Element, key: string): boolean {
  if (element.closest('dialog')) return true;
  const name = element.localName;
  if (name === 'select' || name === 'textarea') return true;
  if (name === 'input') return (element as HTMLInputElement).type !== 'range' || key.startsWith('arrow');
  const pressable = name === 'button' || name === 'a' || name === 'summary' || element.getAttribute('role') === 'button';
  return pressable && key === ' ';
}
