import { expect, it } from 'vitest';
import { contourPaths } from './poster';

it('draws the same picture for a name, and another one for another name', () => {
  expect(contourPaths('live/a')).toEqual(contourPaths('live/a'));
  expect(contourPaths('live/a')).not.toEqual(contourPaths('live/b'));
});

it('draws closed lines of numbers only', () => {
  for (const path of contourPaths('')) expect(path).toMatch(/^M(-?\d+\.\d -?\d+\.\d L?)*.*Z$/), expect(path).not.toContain('NaN');
});
