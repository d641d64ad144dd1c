//! Where sync pictures go and which pictures stay, from a picture's time alone: every machine that encodes a chunk, at any
//! size and frame rate, comes to the same answer as the one that analysed the source.

use super::Chunk;

/// Evenly spaced points on the timeline; the first picture at or behind each point is a sync picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    /// None: the first picture, whichever it is.
    start: Option<i64>,
    /// `count` points in this many ticks.
    length: i64,
    count: i64,
}

/// The first picture's time in expressions of the `select` filter.
const FIRST: &str = "start_pts";
/// In FFmpeg's expressions numbers are doubles: cells of different points of the grid are told apart by this much.
const CELLS_PER_POINT: f64 = 1e6;
/// A picture up to this part of a cell early belongs to the cell: containers round times to milliseconds.
const EARLY: f64 = 0.25;

impl Grid {
    /// A chunk's: as many GOPs of equal length as fit best.
    pub(super) fn of_chunk(chunk: &Chunk, gop_ms: i64) -> Self {
        Self::between(chunk.start_pts, chunk.end_pts, gop_ms)
    }

    /// The same for a piece from `start` to `end`.
    pub(super) fn between(start: i64, end: i64, gop_ms: i64) -> Self {
        let (length, gop) = ((end - start).max(1), (gop_ms * 90).max(1));
        Self { start: Some(start), length, count: ((length + gop / 2) / gop).max(1) }
    }

    /// Of a track of unknown length, from its first picture on.
    pub(super) fn endless(gop_ms: i64) -> Self {
        Self { start: None, length: (gop_ms * 90).max(1), count: 1 }
    }

    /// The same on a timeline that is `ticks` earlier.
    pub(super) fn earlier_by(self, ticks: i64) -> Self {
        Self { start: self.start.map(|start| start - ticks), ..self }
    }

    /// The first picture is at `pts`.
    fn begin(&mut self, pts: i64) {
        self.start.get_or_insert(pts);
    }

    /// Just before each point, in microseconds: the first picture behind such a time is the first at or behind the point. None
    /// when there is no end of them, or more than `count_max`.
    pub(super) fn points_us(&self, count_max: usize) -> Option<Vec<i128>> {
        let start = self.start.filter(|_| self.count as usize <= count_max && self.count > 0)?;
        let tick = |n: i64| {
            let behind = i128::from(n) * i128::from(self.length);
            i128::from(start) + -(-behind).div_euclid(i128::from(self.count))
        };
        // Half a tick before the first tick that is not before the point; 100 us are nine ticks.
        Some((0..self.count).map(|n| ((tick(n) * 2 - 1) * 100).div_euclid(18)).collect())
    }

    /// The number of the last point at or before `pts`.
    pub(super) fn point(&self, pts: i64) -> f64 {
        let start = self.start.unwrap_or(pts) as f64;
        let (length, count) = (self.length as f64, self.count as f64);
        ((pts as f64 - start) * count / length).floor()
    }

    /// [`Grid::point`] as an expression of FFmpeg's, of `pts`; `first` is the first picture's.
    pub(super) fn point_text(&self, pts: &str, first: &str) -> String {
        format!("floor(({pts}-({}))*{}/{})", self.start_text(first), self.count, self.length)
    }

    fn start_text(&self, first: &str) -> String {
        self.start.map_or_else(|| first.to_owned(), |start| start.to_string())
    }

    /// Pictures with the same cell number are too many for `fps`; the first of them stays.
    pub(super) fn cell(&self, pts: i64, fps: u32) -> f64 {
        let start = self.start.unwrap_or(pts) as f64;
        let (length, count) = (self.length as f64, self.count as f64);
        let point = self.point(pts);
        let behind = pts as f64 - (start + point * length / count);
        point * CELLS_PER_POINT + (behind * f64::from(fps) / 90_000.0 + EARLY).floor()
    }

    /// [`Grid::cell`] as an expression, with the same operations in the same order.
    pub(super) fn cell_text(&self, pts: &str, fps: u32) -> String {
        let point = self.point_text(pts, FIRST);
        let behind = format!("({pts}-(({})+{point}*{}/{}))", self.start_text(FIRST), self.length, self.count);
        format!("({point}*{CELLS_PER_POINT}+floor({behind}*{fps}/90000+{EARLY}))")
    }
}

/// Which pictures of a source stay: each later than the one before, and at most `fps_max` in a second.
#[derive(Clone, Debug)]
pub(super) struct Thinning {
    grid: Grid,
    fps_max: Option<u32>,
    last: Option<i64>,
}

impl Thinning {
    pub(super) fn new(grid: Grid, fps_max: Option<u32>) -> Self {
        Self { grid, fps_max, last: None }
    }

    /// Whether the next picture stays.
    pub(super) fn keeps(&mut self, pts: i64) -> bool {
        self.grid.begin(pts);
        let keeps = match (self.last, self.fps_max) {
            (None, _) => true,
            (Some(last), None) => pts > last,
            (Some(last), Some(fps)) => self.grid.cell(pts, fps) > self.grid.cell(last, fps),
        };
        if keeps {
            self.last = Some(pts);
        }
        keeps
    }

    /// The same as a filter of FFmpeg's.
    pub(super) fn filter(&self) -> String {
        let later = match self.fps_max {
            None => "gt(pts,prev_selected_pts)".to_owned(),
            Some(fps) => {
                let cell = |pts| self.grid.cell_text(pts, fps);
                format!("gt({},{})", cell("pts"), cell("prev_selected_pts"))
            }
        };
        format!("select='isnan(prev_selected_pts)+{later}'")
    }
}

/// Which pictures are sync pictures: the first at or behind each point.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    grid: Grid,
    point: Option<f64>,
}

impl Marks {
    pub(super) fn new(grid: Grid) -> Self {
        Self { grid, point: None }
    }

    /// Whether the next picture is one.
    pub(super) fn marks(&mut self, pts: i64) -> bool {
        self.grid.begin(pts);
        let point = self.grid.point(pts);
        let marked = self.point.is_none_or(|before| point > before);
        if marked {
            self.point = Some(point);
        }
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(grid: Grid, fps_max: u32, times: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut thinning = Thinning::new(grid, Some(fps_max));
        times.into_iter().filter(|pts| thinning.keeps(*pts)).collect()
    }

    #[test]
    fn half_the_pictures_stay_whatever_the_rounding() {
        let grid = Grid::between(0, 900_000, 2_000);
        let every_other: Vec<i64> = (0..300).map(|n| n * 3_000).collect();
        assert_eq!(kept(grid, 30, (0..600).map(|n| n * 1_500)), every_other);
        let rounded: Vec<i64> = (0..600).map(|n: i64| (n * 1_000 + 30).div_euclid(60) * 90).collect();
        let expected: Vec<i64> = rounded.iter().copied().step_by(2).collect();
        assert_eq!(kept(grid, 30, rounded), expected);
    }

    #[test]
    fn a_slower_source_keeps_all() {
        let grid = Grid::between(0, 900_900, 2_000);
        let film: Vec<i64> = (0..240).map(|n| n * 15_015 / 4).collect();
        assert_eq!(kept(grid, 30, film.clone()), film);
        let ntsc: Vec<i64> = (0..300).map(|n| n * 3_003).collect();
        assert_eq!(kept(grid, 30, ntsc.clone()), ntsc);
    }

    #[test]
    fn points_are_told_just_before_the_pictures_they_mean() {
        let check = |grid: Grid, times: &[i64], step: i64| {
            let mut points = grid.points_us(100).unwrap().into_iter().peekable();
            let mut marks = Marks::new(grid);
            for pts in times.iter().flat_map(|pts| [*pts - step, *pts, *pts + step]).filter(|pts| *pts >= times[0]) {
                // FFmpeg: at or behind the time, compared exactly.
                let told = points.next_if(|us| i128::from(pts) * 100 >= us * 9).is_some();
                assert_eq!(told, marks.marks(pts), "{pts}");
            }
        };
        check(Grid::between(133_200, 133_200 + 360_000, 1_000), &[133_200, 223_200, 313_200, 403_200], 1);
        check(Grid::between(-7, 100_000, 370), &[-7, 33_329, 66_665], 2);
        assert_eq!(Grid::endless(1_000).points_us(100), None);
    }

    #[test]
    fn chunks_agree_with_one_another_and_sync_pictures_stay() {
        let grid = Grid::between(4_500, 4_500 + 901_000, 2_000);
        let times: Vec<i64> = (0..600).map(|n| 4_500 + n * 1_501).collect();
        let stay = kept(grid, 24, times.clone());
        let mut marks = Marks::new(grid);
        let marked: Vec<i64> = times.into_iter().filter(|pts| marks.marks(*pts)).collect();
        assert_eq!(marked.len(), 5);
        assert!(marked.iter().all(|pts| stay.contains(pts)));
    }
}
