// Thumbnails of a film's moments: a WebVTT file whose cues name a rectangle of a sheet of pictures.

export interface Moment {
  startSeconds: number;
  endSeconds: number;
  url: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Reads the cues; what is no picture's cue is skipped. `base` is the file's own address. */
export function parseStoryboard(text: string, base: string): Moment[] {
  const moments: Moment[] = [];
  for (const block of text.split(/\r?\n\r?\n/)) {
    const lines = block.split(/\r?\n/);
    const timing = lines.findIndex((line) => line.includes('-->'));
    if (timing < 0) continue;
    const [start, end] = (lines[timing] ?? '').split('-->').map((part) => seconds(part.trim()));
    const match = /^(.+)#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec((lines[timing + 1] ?? '').trim());
    if (start === undefined || end === undefined || !match || Number.isNaN(start + end)) continue;
    const [, name, x, y, width, height] = match;
    moments.push({
      startSeconds: start,
      endSeconds: end,
      url: new URL(name ?? '', base).href,
      x: Number(x),
      y: Number(y),
      width: Number(width),
      height: Number(height),
    });
  }
  return moments;
}

/** The picture of a position. */
export function momentAt(moments: Moment[], position: number): Moment | null {
  return moments.findLast((moment) => moment.startSeconds <= position) ?? moments[0] ?? null;
}

function seconds(stamp: string): number {
  const parts = (stamp.split(' ')[0] ?? '').split(':').map(Number);
  return parts.reduce((total, part) => total * 60 + part, 0);
}

export async function loadStoryboard(asset: string): Promise<Moment[]> {
  const url = new URL(`/vod/${encodeURIComponent(asset)}/storyboard.vtt`, location.href).href;
  const response = await fetch(url);
  return response.ok ? parseStoryboard(await response.text(), url) : [];
}
