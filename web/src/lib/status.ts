// What the player says in words: on the badge, in the overlay, and to a screen reader.

import { formatLatency } from './format';
import type { PlayerSnapshot } from './player';

/** The badge over the picture: `LIVE · 1.2 s`. */
export function badgeText(snapshot: PlayerSnapshot): string {
  if (snapshot.finished) return 'ENDED';
  const { latencyMs } = snapshot.statistics;
  const latency = latencyMs === null ? '' : ` · ${formatLatency(latencyMs)}`;
  return `${snapshot.atLive ? 'LIVE' : 'REWIND'}${latency}`;
}

export interface Situation {
  onAir: boolean;
  /** The server still lists the channel. */
  listed: boolean;
  serverReachable: boolean;
  backOnAir: boolean;
}

export interface Message {
  title: string;
  hint: string;
}

/** What covers the picture, or null while there is nothing to say. */
export function overlayMessage(snapshot: PlayerSnapshot, situation: Situation): Message | null {
  if (!situation.listed && snapshot.state === 'idle') {
    return situation.serverReachable
      ? { title: 'Not on air', hint: 'Playback starts by itself when this channel is published.' }
      : { title: 'The server does not answer', hint: 'Playback starts by itself when it is back.' };
  }
  if (snapshot.state === 'recovering') {
    return { title: 'Reconnecting…', hint: 'The connection to the stream was lost; it is tried again by itself.' };
  }
  if (snapshot.state === 'ended') {
    return situation.onAir
      ? { title: 'Back on air', hint: 'Starting again…' }
      : { title: 'The broadcast has ended', hint: 'You can still rewind. When it is back on air, playback starts by itself.' };
  }
  return null;
}

/** One short sentence per change, for `aria-live`; figures stay out of it. */
export function announcement(snapshot: PlayerSnapshot, situation: Situation): string {
  const message = overlayMessage(snapshot, situation);
  if (message) return message.title;
  switch (snapshot.state) {
    case 'loading':
      return 'Loading';
    case 'stalled':
      return 'Waiting for data';
    case 'paused':
      return 'Paused';
    case 'playing':
      if (situation.backOnAir) return 'The channel is back on air';
      return snapshot.finished ? 'Playing a broadcast that has ended' : snapshot.atLive ? 'Playing live' : 'Playing behind live';
    default:
      return '';
  }
}
