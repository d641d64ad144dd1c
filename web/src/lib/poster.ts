// A picture for channels without one: contour lines of a spring, different for every name and always the same for one.

export const POSTER_WIDTH = 320;
export const POSTER_HEIGHT = 180;
const RINGS = 9;
const STEPS = 48;

/** SVG path data, innermost line first. */
export function contourPaths(seed: string): string[] {
  const random = seededRandom(seed);
  const centreX = POSTER_WIDTH * (0.25 + 0.5 * random());
  const centreY = POSTER_HEIGHT * (0.3 + 0.4 * random());
  const waves = [2, 3, 5].map((frequency) => ({
    frequency,
    phase: random() * 2 * Math.PI,
    height: (0.1 + 0.16 * random()) / Math.sqrt(frequency),
  }));
  return Array.from({ length: RINGS }, (_ring, ring) => {
    const radius = 14 + ring * 23;
    const points = Array.from({ length: STEPS }, (_step, step) => {
      const angle = (step / STEPS) * 2 * Math.PI;
      const bend = waves.reduce(
        (sum, wave) => sum + wave.height * Math.sin(wave.frequency * angle + wave.phase + ring * 0.18),
        1,
      );
      const x = centreX + Math.cos(angle) * radius * bend * 1.25;
      const y = centreY + Math.sin(angle) * radius * bend;
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    });
    return `M${points.join('L')}Z`;
  });
}

/** FNV-1a into a 32-bit xorshift: small, and the same on every machine. */
function seededRandom(seed: string): () => number {
  let state = 0x811c9dc5;
  for (const character of seed) state = Math.imul(state ^ (character.codePointAt(0) ?? 0), 0x01000193);
  state = state >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
