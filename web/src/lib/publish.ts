// The commands and settings that put a channel on air, for the host the page came from.

export interface PublishGuide {
  ffmpegTest: string;
  ffmpegFile: string;
  obsServer: string;
  obsKey: string;
}

const APP = 'live';

/** `hostname` as in `location.hostname`: IPv6 addresses already have their brackets. */
export function publishGuide(hostname: string, name: string): PublishGuide {
  const server = `rtmp://${hostname || 'localhost'}/${APP}`;
  const url = `${server}/${name}`;
  return {
    ffmpegTest:
      `ffmpeg -re -f lavfi -i 'testsrc2=size=1280x720:rate=30,format=yuv420p' ` +
      `-f lavfi -i 'sine=frequency=440:sample_rate=48000' ` +
      `-c:v libx264 -preset veryfast -tune zerolatency -b:v 2M -g 60 -c:a aac -b:a 128k -f flv ${url}`,
    ffmpegFile: `ffmpeg -re -i video.mp4 -c copy -f flv ${url}`,
    obsServer: server,
    obsKey: name,
  };
}

/** A name that is safe in a URL and in a shell; `mychannel` when nothing is left. */
export function channelName(typed: string): string {
  const name = typed.trim().replace(/\s+/g, '-').replace(/[^A-Za-z0-9._-]/g, '');
  return name || 'mychannel';
}

/** Commands on the server itself need no key. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
}
