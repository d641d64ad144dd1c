// Figures as a person reads them. Pure; the caller brings the clock.

import type { AudioFormat, VideoFormat } from './api';

/** `1.2 s`, `12 s`, `1 min 05 s`: a delay, exact only where a viewer can feel it. */
export function formatLatency(latencyMs: number): string {
  const seconds = Math.max(0, latencyMs) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${pad2(whole % 60)} s`;
}

/** `just now`, `4 min`, `2 h 05 min`, `3 days`. */
export function formatOnAir(startedAt: string, nowMs: number): string {
  const startedMs = Date.parse(startedAt);
  if (Number.isNaN(startedMs)) return '';
  const minutes = Math.floor(Math.max(0, nowMs - startedMs) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${pad2(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** `720p60`: the short side, so that a portrait picture reads as people call it. */
export function formatVideo(video: VideoFormat | null): string {
  if (!video || !video.height) return '';
  const lines = Math.min(video.width || video.height, video.height);
  return `${lines}p${formatFrameRate(video.frame_rate)}`;
}

/** `60`, `29.97`; empty when unknown. */
export function formatFrameRate(frameRate: number): string {
  if (!(frameRate > 0)) return '';
  return Number(frameRate.toFixed(2)).toString();
}

export function formatAudio(audio: AudioFormat | null): string {
  if (!audio) return 'no sound';
  const layout = audio.channels === 1 ? 'mono' : audio.channels === 2 ? 'stereo' : `${audio.channels} channels`;
  return `${audio.codec} ${layout}`;
}

/** `1.5 Mbit/s`, `264 kbit/s`. */
export function formatBitrate(bitsPerSecond: number): string {
  if (!(bitsPerSecond > 0)) return 'unknown';
  if (bitsPerSecond < 999_500) return `${Math.round(bitsPerSecond / 1000)} kbit/s`;
  const mbit = bitsPerSecond / 1_000_000;
  return `${mbit < 9.95 ? mbit.toFixed(1) : Math.round(mbit)} Mbit/s`;
}

/** `0:07`, `12:30`, `1:02:03`. */
export function formatClock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${pad2(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${pad2(minutes % 60)}:${pad2(whole % 60)}`;
}

/** `999 B`, `12.3 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 1000 && unit + 1 < units.length) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `3 s`, `2 min`, `1 h 05 min`: what is left, no more exact than it is known. */
export function formatEta(etaMs: number): string {
  const seconds = Math.max(1, Math.round(etaMs / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${pad2(minutes % 60)} min`;
}

/** `1 channel`, `3 channels`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function pad2(value: number): string {
  return value.toString().padStart(2, '0');
}
