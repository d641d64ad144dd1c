//! A ladder for one title: trial encodes of sampled shots tell what each size and quality costs, and what it looks like.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Analysis, Cancel, Class, Failure, Input, Limits, Probe, RungChoice, RungSpec, Work, WorkSink, failure,
    features::Features,
    picture::{frame_mode, global_args, seek_args},
    probe::{Source, look},
    process::{Program, Step, Text},
    similarity,
};
use crate::Tool;

/// Qualities that are tried, as x264 counts them, from the best.
const CRFS: [f64; 3] = [20.0, 26.0, 32.0];
/// The best and the worst that is chosen: a little beyond what was tried.
const CRF_RANGE: (f64, f64) = (18.0, 34.0);
/// Shots that are tried, and how much of each, in milliseconds.
const SHOTS: usize = 3;
const SHOT_MS: i64 = 2_000;
/// Trials end after this long, in milliseconds; rungs choose by what is known then.
const TRIALS_MS_MAX: u64 = 240_000;
/// Most rungs.
const RUNGS_MAX: usize = 12;
/// The quality that the largest rung is to have: VMAF, or SSIM times 100; above it few people see a difference.
const VMAF_WANTED: f64 = 95.0;
const SSIM_WANTED: f64 = 98.0;
/// A rung gets at most this much of the rate it has without analysis, and its peaks may be this much over its mean.
const RATE_MAX: f64 = 1.5;
/// Largest trial encode, in bytes: 2 s of 64 Mbit/s.
const TRIAL_BYTES_MAX: usize = 16 << 20;

/// Chooses quality and rate for each of `rungs` by trial encodes, and leaves out rungs that a larger one beats at the same rate.
/// The order is that of `rungs`. Without a video track there are none.
///
/// # Errors
/// `no_such_track`; else by what FFmpeg said.
#[allow(clippy::too_many_arguments, reason = "a step's tool, source, task, limits, end and report")]
pub async fn per_title(
    tool: &Tool,
    input: &Input,
    probe: &Probe,
    analysis: &Analysis,
    rungs: &[RungSpec],
    limits: &Limits,
    cancel: &Cancel,
    progress: WorkSink<'_>,
) -> Result<Vec<RungChoice>, Failure> {
    let track = probe.video().ok_or_else(|| failure::no_track(0, "video"))?.index;
    if rungs.len() > RUNGS_MAX {
        let human = format!("A recipe tries at most {RUNGS_MAX} rungs per title. Leave some out.");
        return Err(Failure::new(Class::Bug, "bad_recipe", human));
    }
    let Some(top) = rungs.iter().max_by_key(|rung| u64::from(rung.width) * u64::from(rung.height)) else {
        return Ok(Vec::new());
    };
    let step = Step::begin(tool, input, limits, cancel);
    let source = look(&step).await?;
    let stage = Stage { step: &step, source: &source, track, target: (top.width, top.height) };
    let deadline = Instant::now() + Duration::from_millis(TRIALS_MS_MAX);
    let samples = samples(analysis, source.lift());
    let all = samples.len() * rungs.len() * CRFS.len();
    let mut curves = vec![Curve::default(); rungs.len()];
    let mut done = 0;
    for range in samples {
        let mut tried = vec![Curve::default(); rungs.len()];
        for (rung, curve) in rungs.iter().zip(&mut tried) {
            for crf in CRFS {
                if Instant::now() >= deadline {
                    break;
                }
                curve.points.push(stage.trial(rung, crf, range).await?);
                done += 1;
                let permille = u32::try_from(done * 1_000 / all.max(1)).unwrap_or(1_000);
                progress(Work { permille, ..Work::default() });
            }
        }
        // A sample counts only when every rung has tried all of it.
        if tried.iter().all(|curve| curve.points.len() == CRFS.len()) {
            curves.iter_mut().zip(&tried).for_each(|(curve, one)| curve.add(one));
        }
    }
    progress(Work { permille: 1_000, ..Work::default() });
    Ok(choose(rungs, &curves))
}

/// The first seconds of chunks, evenly spread; on the container's timeline.
fn samples(analysis: &Analysis, lift: i64) -> Vec<(i64, i64)> {
    let chunks = &analysis.chunks;
    let count = SHOTS.min(chunks.len());
    let nth = |n: usize| chunks.get((2 * n + 1) * chunks.len() / (2 * count));
    let range = |start: i64, end: i64| (start - lift, end.min(start + SHOT_MS * 90) - lift);
    (0..count).filter_map(nth).map(|chunk| range(chunk.start_pts, chunk.end_pts)).collect()
}

struct Stage<'a> {
    step: &'a Step<'a>,
    source: &'a Source,
    track: u32,
    /// The size in which pictures are compared.
    target: (u32, u32),
}

impl Stage<'_> {
    async fn trial(&self, rung: &RungSpec, crf: f64, range: (i64, i64)) -> Result<Point, Failure> {
        let features = Features::of(self.step.tool).await?;
        let (start, end) = range;
        let mut args = global_args(self.step.limits);
        args.0.extend(seek_args(self.source, start, 0));
        args.add("-copyts");
        args.0.extend(self.step.input.args(&features.demuxers));
        args.push("-filter_complex");
        let (width, height) = (rung.width.max(2) / 2 * 2, rung.height.max(2) / 2 * 2);
        args.push(format!(
            "[0:{}]settb=1/90000,trim=start_pts={start}:end_pts={end},setpts=PTS-STARTPTS,\
             scale={width}:{height}:flags=bicubic,setsar=1,format=yuv420p[some]",
            self.track
        ));
        args.add("-map [some]");
        args.add(frame_mode(self.step.tool));
        args.add(&format!("-enc_time_base 1/90000 -c:v libx264 -preset veryfast -crf {crf} -f nut pipe:1"));
        let mut made = Text::up_to(TRIAL_BYTES_MAX);
        self.step.run(Program::Ffmpeg, args.0, &mut made).await?;
        let ms = ((end - start) / 90).max(1);
        let kbps = (made.text.len() as f64 * 8.0 / ms as f64).max(1.0);
        let quality = similarity::of_sample(self.step, self.source, self.track, range, self.target, made.text).await?;
        let (score, wanted) = quality.vmaf.map_or((quality.ssim * 100.0, SSIM_WANTED), |vmaf| (vmaf, VMAF_WANTED));
        Ok(Point { kbps, score, wanted })
    }
}

/// What one quality costs and looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    kbps: f64,
    score: f64,
    wanted: f64,
}

/// A rung's points, in the order of [`CRFS`]; sums over `weight` samples.
#[derive(Clone, Debug, Default, PartialEq)]
struct Curve {
    points: Vec<Point>,
    weight: f64,
}

impl Curve {
    fn add(&mut self, one: &Self) {
        self.weight += 1.0;
        if self.points.is_empty() {
            self.points.clone_from(&one.points);
            return;
        }
        for (sum, point) in self.points.iter_mut().zip(&one.points) {
            sum.kbps += point.kbps;
            sum.score += point.score;
        }
    }

    fn point(&self, at: usize) -> Option<(f64, f64)> {
        let point = self.points.get(at)?;
        Some((point.kbps / self.weight, point.score / self.weight))
    }

    /// A line through `(x, y)` of each quality, at `wanted`; beyond the ends the last piece goes on.
    fn between(
        &self,
        wanted: f64,
        x: impl Fn(usize, f64, f64) -> f64,
        y: impl Fn(usize, f64, f64) -> f64,
    ) -> Option<f64> {
        let mut places = Vec::with_capacity(CRFS.len());
        for at in 0..CRFS.len() {
            let (kbps, score) = self.point(at)?;
            places.push((x(at, kbps, score), y(at, kbps, score)));
        }
        let rising = places.first()?.0 < places.last()?.0;
        let piece = places.windows(2).find(|pair| if rising { wanted <= pair[1].0 } else { wanted >= pair[1].0 });
        let pair = piece.or(places.windows(2).last())?;
        let ((x0, y0), (x1, y1)) = (*pair.first()?, *pair.last()?);
        Some(if (x1 - x0).abs() < 1e-9 { y0 } else { y0 + (y1 - y0) * (wanted - x0) / (x1 - x0) })
    }

    fn crf_for_score(&self, score: f64) -> Option<f64> {
        self.between(score, |_, _, score| score, |at, _, _| CRFS.get(at).copied().unwrap_or_default())
    }

    /// Rates fall by about half with six steps of quality: their logarithm is a line.
    fn crf_for_kbps(&self, kbps: f64) -> Option<f64> {
        self.between(kbps.max(1.0).ln(), |_, kbps, _| kbps.ln(), |at, _, _| CRFS.get(at).copied().unwrap_or_default())
    }

    fn kbps_at(&self, crf: f64) -> Option<f64> {
        self.between(crf, |at, _, _| CRFS.get(at).copied().unwrap_or_default(), |_, kbps, _| kbps.ln()).map(f64::exp)
    }

    fn score_at(&self, crf: f64) -> Option<f64> {
        let score = self.between(crf, |at, _, _| CRFS.get(at).copied().unwrap_or_default(), |_, _, score| score)?;
        Some(score.clamp(0.0, 100.0))
    }
}

/// The largest rung gets the quality wanted, the others their usual share of its rate; a rung under the hull of the larger
/// ones' curves is left out, but for the smallest.
fn choose(rungs: &[RungSpec], curves: &[Curve]) -> Vec<RungChoice> {
    let pixels = |at: usize| rungs.get(at).map_or(0, |rung| u64::from(rung.width) * u64::from(rung.height));
    let mut order: Vec<usize> = (0..rungs.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(pixels(*at)));
    let smallest = order.last().copied();
    let mut share = 1.0;
    let mut chosen: Vec<(usize, RungChoice)> = Vec::new();
    for (nth, &at) in order.iter().enumerate() {
        let (Some(rung), Some(curve)) = (rungs.get(at), curves.get(at)) else { continue };
        let choice = choice(rung, curve, nth == 0, share);
        let Some(choice) = choice else {
            chosen.push((at, untried(rung)));
            continue;
        };
        if nth == 0 {
            share = f64::from(choice.kbps) / f64::from(rung.kbps.max(1));
        }
        let larger = chosen.iter().filter_map(|(larger, _)| curves.get(*larger));
        let beaten = larger.into_iter().any(|larger| beats(larger, &choice));
        if !beaten || Some(at) == smallest {
            chosen.push((at, choice));
        }
    }
    chosen.sort_by_key(|(at, _)| *at);
    chosen.into_iter().map(|(_, choice)| choice).collect()
}

fn choice(rung: &RungSpec, curve: &Curve, is_top: bool, share: f64) -> Option<RungChoice> {
    let usual = f64::from(rung.kbps.max(1));
    let lid = usual * RATE_MAX;
    let crf = if is_top {
        let wanted = curve.points.first()?.wanted;
        curve.crf_for_score(wanted)?.max(curve.crf_for_kbps(lid)?)
    } else {
        curve.crf_for_kbps((usual * share).min(lid))?
    };
    // To a tenth: the same title gives the same recipe.
    let crf = (crf.clamp(CRF_RANGE.0, CRF_RANGE.1) * 10.0).round() / 10.0;
    let kbps = curve.kbps_at(crf)?;
    let score = (curve.score_at(crf)? * 100.0).round() / 100.0;
    let whole = |kbps: f64| kbps.round().clamp(1.0, 1e9) as u32;
    Some(RungChoice {
        width: rung.width,
        height: rung.height,
        crf: crf as f32,
        kbps: whole(kbps),
        kbps_max: whole((kbps * RATE_MAX).clamp(usual / 10.0, lid)),
        score,
    })
}

/// A rung that there was no time to try.
fn untried(rung: &RungSpec) -> RungChoice {
    let (width, height, kbps) = (rung.width, rung.height, rung.kbps);
    RungChoice { width, height, crf: 23.0, kbps, kbps_max: kbps, score: 0.0 }
}

/// Whether the larger picture looks better at the same rate, as far as it was tried.
fn beats(larger: &Curve, choice: &RungChoice) -> bool {
    let kbps = f64::from(choice.kbps);
    let tried = larger.point(CRFS.len() - 1).is_some_and(|(least, _)| kbps >= least);
    let score = larger.crf_for_kbps(kbps).and_then(|crf| larger.score_at(crf));
    tried && score.is_some_and(|score| score > choice.score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: [(f64, f64); 3]) -> Curve {
        let point = |(kbps, score)| Point { kbps, score, wanted: VMAF_WANTED };
        Curve { points: points.map(point).to_vec(), weight: 1.0 }
    }

    fn rung(width: u32, kbps: u32) -> RungSpec {
        RungSpec { width, height: width * 9 / 16, kbps }
    }

    #[test]
    fn an_easy_title_gets_less_and_a_hard_one_no_more_than_the_lid() {
        let rungs = [rung(1_920, 5_000)];
        let easy = choose(&rungs, &[curve([(2_000.0, 97.0), (1_000.0, 95.0), (500.0, 90.0)])]);
        assert_eq!((easy[0].crf, easy[0].kbps, easy[0].kbps_max), (26.0, 1_000, 1_500));
        let hard = choose(&rungs, &[curve([(40_000.0, 97.0), (20_000.0, 95.0), (10_000.0, 90.0)])]);
        assert!(hard[0].kbps <= 8_000 && hard[0].crf > 32.0, "{hard:?}");
    }

    #[test]
    fn a_rung_that_a_larger_one_beats_is_left_out() {
        let rungs = [rung(640, 800), rung(1_280, 2_500), rung(1_920, 5_000)];
        let full = curve([(4_000.0, 97.0), (2_000.0, 95.0), (800.0, 92.0)]);
        let middle = curve([(2_500.0, 91.0), (1_200.0, 89.0), (500.0, 84.0)]);
        let small = curve([(1_000.0, 80.0), (400.0, 75.0), (200.0, 70.0)]);
        let chosen = choose(&rungs, &[small, middle, full]);
        let widths: Vec<u32> = chosen.iter().map(|choice| choice.width).collect();
        assert_eq!(widths, [640, 1_920]);
    }

    #[test]
    fn without_a_trial_a_rung_is_as_usual() {
        let chosen = choose(&[rung(640, 800)], &[Curve::default()]);
        assert_eq!((chosen[0].kbps, chosen[0].kbps_max, chosen[0].crf), (800, 800, 23.0));
    }
}
