// The quality menu's choices, and how a choice is remembered from one channel to the next.

import { formatBitrate, formatFrameRate } from './format';

export interface Quality {
  /** Position in the player's list of levels. */
  index: number;
  width: number;
  height: number;
  /** Bits per second. */
  bandwidth: number;
  frameRate: number;
}

/** What is stored: channels have different ladders, so a choice is a height and a bitrate, not a position. */
export interface QualityChoice {
  height: number;
  bandwidth: number;
}

/** Best picture first. */
export function sortQualities(qualities: Quality[]): Quality[] {
  return [...qualities].sort((a, b) => b.height - a.height || b.bandwidth - a.bandwidth);
}

/** `720p60 · 1.5 Mbit/s`; the frame rate only where it is above the usual 30. */
export function qualityLabel(quality: Quality): string {
  return `${qualityName(quality)} · ${formatBitrate(quality.bandwidth)}`;
}

/** `720p60`, or `Audio only`. */
export function qualityName(quality: Quality): string {
  if (!quality.height) return 'Audio only';
  const rate = quality.frameRate > 30.5 ? formatFrameRate(quality.frameRate) : '';
  return `${Math.min(quality.width || quality.height, quality.height)}p${rate}`;
}

/** The level of the same height that is nearest in bitrate; null (automatic) when the ladder has no such height. */
export function findQuality(qualities: Quality[], choice: QualityChoice | null): Quality | null {
  if (!choice) return null;
  const distance = (quality: Quality) => Math.abs(quality.bandwidth - choice.bandwidth);
  return (
    qualities
      .filter((quality) => quality.height === choice.height)
      .sort((a, b) => distance(a) - distance(b))[0] ?? null
  );
}

export function parseQualityChoice(stored: string | null): QualityChoice | null {
  const [height, bandwidth] = (stored ?? '').split('@').map(Number);
  if (!Number.isFinite(height) || !Number.isFinite(bandwidth)) return null;
  return { height: height ?? 0, bandwidth: bandwidth ?? 0 };
}

export function formatQualityChoice(quality: Quality): string {
  return `${quality.height}@${quality.bandwidth}`;
}
