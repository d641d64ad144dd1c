import { expect, it } from 'vitest';
import { channelName, isLoopback, publishGuide } from './publish';

it('names the host the page came from', () => {
  const guide = publishGuide('tv.example.net', 'news');
  expect(guide.obsServer).toBe('rtmp://tv.example.net/live');
  expect(guide.obsKey).toBe('news');
  expect(guide.ffmpegTest).toMatch(/^ffmpeg -re .* -f flv rtmp:\/\/tv\.example\.net\/live\/news$/);
  expect(publishGuide('[::1]', 'a').obsServer).toBe('rtmp://[::1]/live');
});

it('keeps names safe for a URL and a shell', () => {
  const cases: [string, string][] = [['news', 'news'], ['  my show ', 'my-show'], ["a'; rm -rf /", 'a-rm--rf-'], ['$(x)', 'x'], ['ü?&', 'mychannel'], ['', 'mychannel']];
  for (const [typed, name] of cases) expect(channelName(typed)).toBe(name);
});

it('knows which addresses are this machine', () => {
  for (const host of ['localhost', '127.0.0.1', '127.8.9.10', '[::1]']) expect(isLoopback(host)).toBe(true);
  for (const host of ['10.0.0.1', 'localhost.example', '1.127.0.0']) expect(isLoopback(host)).toBe(false);
});
