import { describe, expect, it } from 'vitest';
import { momentAt, parseStoryboard } from './storyboard';

const text = `WEBVTT

00:00:00.000 --> 00:00:05.000
storyboard-0.jpg#xywh=0,0,160,90

NOTE nothing

00:00:05.000 --> 01:00:10.500
storyboard-0.jpg#xywh=160,0,160,90

00:00:10.000 --> 00:00:15.000
a caption
`;

describe('parseStoryboard', () => {
  const moments = parseStoryboard(text, 'http://tv/vod/ast_1/storyboard.vtt');

  it('reads the pictures and skips the rest', () => {
    expect(moments.map(({ startSeconds, endSeconds, x }) => [startSeconds, endSeconds, x])).toEqual([
      [0, 5, 0],
      [5, 3610.5, 160],
    ]);
    expect(moments[0]?.url).toBe('http://tv/vod/ast_1/storyboard-0.jpg');
  });

  it('finds the picture of a position', () => {
    expect(momentAt(moments, 0)?.x).toBe(0);
    expect(momentAt(moments, 7)?.x).toBe(160);
    expect(momentAt([], 7)).toBeNull();
  });

  it('reads nothing from something else', () => {
    expect(parseStoryboard('<html>', 'http://tv/')).toEqual([]);
  });
});
