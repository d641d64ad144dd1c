// The list of channels as the pages see it, kept fresh while the tab can be seen.

import { watchChannels, type Channel } from './api';
import { ClockSkew } from './skew';

export type Connection = 'connecting' | 'online' | 'offline';

class ChannelStore {
  /** `connecting` only until the first answer. */
  connection = $state<Connection>('connecting');
  server = $state('');
  channels = $state.raw<Channel[]>([]);
  /** Some list has arrived, so `channels` says something. */
  known = $state(false);
  readonly #skew = new ClockSkew();

  /** The time of day by the server's clock, in milliseconds. */
  readonly serverNowMs = (): number => Date.now() + this.#skew.offsetMs;

  find(app: string, name: string): Channel | undefined {
    return this.channels.find((channel) => channel.app === app && channel.name === name);
  }

  /**
   * Follows the server until the returned function is called. A hidden tab lets go of its held request: browsers
   * share six connections per server among all tabs, and a player needs some of them.
   */
  connect(): () => void {
    let watching: AbortController | null = null;
    const follow = () => {
      watching?.abort();
      watching = null;
      if (document.hidden) return;
      watching = new AbortController();
      void watchChannels(
        {
          onList: (list) => {
            this.server = list.server;
            this.channels = list.channels;
            this.known = true;
            this.connection = 'online';
          },
          onDate: (date, sentMs, receivedMs) => this.#skew.observe(date, sentMs, receivedMs),
          onOffline: () => {
            this.connection = 'offline';
          },
        },
        watching.signal,
      );
    };
    document.addEventListener('visibilitychange', follow);
    follow();
    return () => {
      document.removeEventListener('visibilitychange', follow);
      watching?.abort();
    };
  }
}

export const store = new ChannelStore();
