//! The planner: what a job does next, from its recipe and what is known of its source. Pure: the same arguments give the same
//! steps, so that a completion that is repeated, on another manager, adds nothing twice.
//!
//! ```text
//! fetch → probe → analyse → encode/v360/0..n → stitch/v360 → package/v360 → validate/v360
//!              ├→ encode/a0 → package/a0                          └→ transfer/NAME → notify/0
//!              └→ subtitles/s0, thumbnails, storyboard                            └→ clean-up, behind everything
//! ```

mod admit;
mod expand;
mod ladder;
pub(crate) mod language;
mod outcome;
pub(crate) mod steps;
pub(crate) mod weigh;

use base::Wall;
use store::catalogue::{Asset, ErrorClass, Expansion, Job, NewStep, Rendition, Source, Step, StepError};
use transcode::vod::{Analysis, Probe};

pub use admit::admit;
pub use ladder::{How, Picture, pictures};
pub(crate) use outcome::outputs;
pub use outcome::{check, prefix, valid_object_name};

use crate::{
    protocol::{Output, Spec},
    recipe::Recipe,
};

/// Queue class of what stands between a new asset and its first viewer.
pub const CLASS_FIRST: i64 = 0;
/// Queue class of further renditions.
pub const CLASS_OTHER: i64 = 1;
/// Queue class of what no viewer waits for.
pub const CLASS_LATER: i64 = 2;
/// Key of [`Job::context`]: core-seconds of steps that are still to be added.
pub const AHEAD: &str = "ahead";
/// How often a chunk that does not match its source is made again.
pub const REDOS_MAX: i64 = 2;

/// Uploads up to this size are checked against the announced hash as they are completed.
const CHECKED_BYTES_MAX: u64 = 1 << 30;
/// Bit rate of a source of which nothing but its size is known, in bytes per second.
const BYTES_PER_SECOND_USUAL: f64 = 625_000.0;

/// What a source may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Longest.
    pub duration_ms_max: i64,
    /// Largest.
    pub bytes_max: u64,
    /// Largest picture, in pixels.
    pub pixels_max: u64,
    /// Largest object that a fetch stores.
    pub part_bytes: u64,
    /// Fetches and notices may go to private networks.
    pub private_addresses: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A day: recordings of whole days exist; longer files are mistakes or attacks.
            duration_ms_max: 24 * 3_600_000 + 60_000,
            bytes_max: 200 << 30,
            // 8K, either way up.
            pixels_max: 8_192 * 4_352,
            part_bytes: 64 << 20,
            private_addresses: false,
        }
    }
}

/// What a completion is judged by.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its asset.
    pub asset: &'a Asset,
    /// Its recipe.
    pub recipe: &'a Recipe,
    /// What a source may be.
    pub limits: &'a Limits,
    /// The job's steps; may be empty for steps other than stitch, package and validate.
    pub steps: &'a [Step],
    /// What the asset delivers already.
    pub renditions: &'a [Rendition],
    /// The database's time.
    pub now: Wall,
}

/// The first steps of a job for a source: fetch when the bytes are elsewhere, then probe.
pub fn first(source: &Source, limits: &Limits) -> Vec<NewStep> {
    let fetch =
        source.blob.is_none().then_some(source.url.as_ref()).flatten().map(|url| steps::fetch(source, url, limits));
    let behind = fetch.iter().map(|step| step.name.clone()).collect();
    // Smaller uploads were checked as they came, and what is fetched is hashed on the way.
    let unchecked = source.bytes.is_some_and(|bytes| bytes > CHECKED_BYTES_MAX);
    let hash = source.sha256.is_some() && unchecked && fetch.is_none();
    fetch.into_iter().chain([steps::probe(hash, behind)]).collect()
}

/// [`AHEAD`] of a job that nothing is known of but the size of its source: about real time on one core.
pub fn ahead_at_first(source: &Source) -> f64 {
    source.bytes.map_or(60.0, |bytes| bytes as f64 / BYTES_PER_SECOND_USUAL).max(1.0)
}

/// What the completion of `step` with `output` adds to its job. `output` has passed [`check`].
///
/// # Errors
/// When the output shows that the job cannot go on: the source is not accepted, or a chunk never matches. The step failed
/// with this error then.
pub fn after(view: &View<'_>, step: &Step, output: &Output) -> Result<Expansion, StepError> {
    match output {
        Output::Fetched { file_name, parts, bytes, sha256 } => {
            Ok(expand::fetched(view, file_name, parts, *bytes, sha256))
        }
        Output::Probed { probe, sha256 } => expand::probed(view, probe, sha256.as_deref()),
        Output::Analysed { analysis, per_title } => expand::analysed(view, analysis, per_title),
        Output::Stitched { bad, .. } => expand::stitched(view, step, bad),
        Output::Packaged { media, index, summary } => Ok(expand::packaged(view, step, media, index, summary)),
        Output::Validated { quality, .. } => Ok(expand::validated(view, step, quality.as_ref())),
        Output::Thumbnails { images } => Ok(expand::thumbnails(images)),
        Output::Storyboard(storyboard) => Ok(expand::storyboard(storyboard)),
        Output::Subtitles { media, cues, .. } => Ok(expand::subtitles(view, step, media, *cues)),
        Output::Transferred { files, bytes, location } => Ok(expand::transferred(view, step, *files, *bytes, location)),
        Output::Encoded { .. } | Output::Done {} => Ok(Expansion::default()),
    }
}

/// A whole plan as a dry run shows it: every step that a source like this one would get.
///
/// # Errors
/// When the source is not accepted.
pub fn whole(
    source: &Source,
    recipe: &Recipe,
    limits: &Limits,
    probe: &Probe,
    analysis: &Analysis,
) -> Result<Vec<NewStep>, StepError> {
    admit(probe, recipe, limits)?;
    let mut all = first(source, limits);
    all.extend(expand::after_probe(recipe, probe, source.bytes).steps);
    if expand::needs_analysis(recipe, probe) {
        all.extend(expand::after_analysis(recipe, probe, analysis, &[]));
    }
    Ok(all)
}

/// The steps' own description, read back from a row.
///
/// # Errors
/// A row that this version does not understand: class bug.
pub fn spec(step: &Step) -> Result<Spec, StepError> {
    use serde::Deserialize;
    Spec::deserialize(&step.spec).map_err(|error| {
        bug("unknown_step", format!("Step {} cannot be read by this version ({error}). Update the manager.", step.name))
    })
}

/// Whether a video rendition, or sound alone, and the default sound are there: the asset plays.
pub fn plays(recipe: &Recipe, probe: &Probe, renditions: &[Rendition]) -> bool {
    let tracks = expand::Tracks::of(recipe, probe);
    let has = |name: &str| renditions.iter().any(|rendition| rendition.name == name);
    let seen = renditions.iter().any(|rendition| rendition.kind == store::catalogue::MediaKind::Video);
    (tracks.video.is_none() || seen) && tracks.audio.iter().find(|t| t.default).is_none_or(|t| has(&t.name))
}

pub(crate) fn input(code: &str, human: impl Into<String>) -> StepError {
    failure(ErrorClass::Input, code, human)
}

/// A worker's report that does not hold: another node tries, and the one that erred is counted against.
pub(crate) fn disbelieved(human: impl Into<String>) -> StepError {
    failure(ErrorClass::Capacity, "bad_output", human)
}

pub(crate) fn bug(code: &str, human: impl Into<String>) -> StepError {
    failure(ErrorClass::Bug, code, human)
}

fn failure(class: ErrorClass, code: &str, human: impl Into<String>) -> StepError {
    StepError { class, code: code.to_owned(), human: human.into(), log: None, worker: None }
}
