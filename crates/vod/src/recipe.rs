//! Recipes: what a job makes of a source, as versioned data. Stored in the catalogue as JSON; people write TOML.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use transcode::vod::{AudioCodec, VideoCodec};

/// The recipes that every installation has.
const BUILT_IN: &str = include_str!("recipes.toml");
/// Rungs of one ladder: more than any player chooses from.
const RUNGS_MAX: usize = 16;
/// Ladders of one recipe: one per codec.
const LADDERS_MAX: usize = 4;
/// Additional FFmpeg arguments of one ladder.
const EXTRA_ARGS_MAX: usize = 64;
/// Destinations, and URLs told, of one recipe.
const TARGETS_MAX: usize = 16;
/// Longest name of a recipe or destination, in bytes: it is a URL path segment.
const NAME_BYTES_MAX: usize = 64;

/// A recipe that cannot be used.
#[derive(Debug, Error)]
pub enum InvalidRecipe {
    /// It is not of the form of a recipe.
    #[error("this is no recipe: {0}; compare it with `headwater recipes show default`")]
    Form(String),
    /// A field is out of its bounds.
    #[error("{field}: {problem}")]
    Field {
        /// Where: `video[0].rungs[1].height`.
        field: String,
        /// What to do instead.
        problem: String,
    },
}

/// What a job makes of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// For people: what it is good for.
    #[serde(default)]
    pub description: String,
    /// Ladders, one per codec; the first one is played first. None: sound alone.
    #[serde(default)]
    pub video: Vec<Ladder>,
    /// What becomes of sound tracks; all of them are kept.
    #[serde(default = "AudioRecipe::usual")]
    pub audio: AudioRecipe,
    /// Text tracks become WebVTT.
    #[serde(default)]
    pub subtitles: bool,
    /// Posters.
    #[serde(default)]
    pub thumbnails: Option<Thumbnails>,
    /// Sprites for the seek bar.
    #[serde(default)]
    pub storyboard: Option<StoryboardRecipe>,
    /// Every rendition is decoded once more and compared with the source.
    #[serde(default)]
    pub validate: Option<Validation>,
    /// Target duration of a segment, 1,000 to 10,000 ms.
    #[serde(default = "segment_ms")]
    pub segment_ms: u32,
    /// Distance of key frames in every rendition, 500 to 10,000 ms.
    #[serde(default = "gop_ms")]
    pub gop_ms: u32,
    /// About how long a chunk is, the unit of encoding and of what is lost with a worker: 4,000 to 600,000 ms.
    #[serde(default = "chunk_ms")]
    pub chunk_ms: u32,
    /// Names of destinations that the finished asset is delivered to.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// URLs that get a POST when the job is done, beside webhooks.
    #[serde(default)]
    pub notify: Vec<String>,
}

/// A ladder: renditions of one codec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Codec.
    #[serde(default = "h264")]
    pub codec: VideoCodec,
    /// The encoder's speed preset: `veryfast`, `medium`, ...; for AV1 a number, for VP9 `good` or `realtime`.
    #[serde(default = "preset")]
    pub preset: String,
    /// Profile; by default the encoder's choice.
    #[serde(default)]
    pub profile: Option<String>,
    /// Pixel format.
    #[serde(default = "pixel_format")]
    pub pixel_format: String,
    /// Largest frame rate; faster sources are divided.
    #[serde(default = "fps_max")]
    pub fps_max: u32,
    /// When the source's own track is delivered as it is.
    #[serde(default)]
    pub passthrough: Passthrough,
    /// The top rendition.
    #[serde(default)]
    pub top: Top,
    /// Choose rate and rungs by trial encodes of each title.
    #[serde(default)]
    pub per_title: bool,
    /// Use a hardware encoder where a worker has one.
    #[serde(default)]
    pub hardware: bool,
    /// Further FFmpeg output arguments, from the list of allowed ones.
    #[serde(default)]
    pub extra: Vec<String>,
    /// From the largest to the smallest.
    pub rungs: Vec<Rung>,
}

/// A rung of a ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// The short side of the picture in pixels, even: 720 is 1280x720, or 720x1280 for a portrait.
    pub height: u32,
    /// Peak bit rate in kbit/s at 30 frames per second.
    pub kbps_max: u32,
    /// Constant rate factor; without one the rate alone decides.
    #[serde(default)]
    pub crf: Option<f32>,
    /// Largest frame rate of this rung.
    #[serde(default)]
    pub fps_max: Option<u32>,
}

/// When a source's own track is delivered as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passthrough {
    /// Everything is encoded.
    #[default]
    Never,
    /// It is the rendition of its size when every player plays it; smaller ones are encoded.
    WhenItFits,
    /// It is the only rendition; where it does not fit it is encoded once, at its own size.
    Only,
}

/// What the largest rendition of a ladder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Top {
    /// The source's own size when it lies between two rungs by more than a tenth.
    #[default]
    Source,
    /// The largest rung that is not larger than the source.
    Rung,
}

/// What becomes of sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioRecipe {
    /// Codec.
    #[serde(default = "aac")]
    pub codec: AudioCodec,
    /// Bit rate in kbit/s of two channels; more channels get as much for each pair.
    #[serde(default = "audio_kbps")]
    pub kbps: u32,
    /// More channels are mixed down to this many.
    #[serde(default = "channels_max")]
    pub channels_max: u32,
    /// AAC with at most two channels is kept as it is.
    #[serde(default)]
    pub passthrough: bool,
    /// Bring the programme to this loudness: -31 to -8 LUFS, without clipping.
    #[serde(default)]
    pub loudness_lufs: Option<f32>,
}

impl AudioRecipe {
    fn usual() -> Self {
        Self { codec: aac(), kbps: audio_kbps(), channels_max: channels_max(), passthrough: true, loudness_lufs: None }
    }
}

/// Posters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thumbnails {
    /// Positions in thousandths of the length; the first one is the asset's poster.
    pub at_permille: Vec<u32>,
    /// Width in pixels.
    pub width: u32,
}

/// Sprites for the seek bar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoryboardRecipe {
    /// Time between two pictures; longer for long films.
    pub interval_ms: i64,
    /// Pictures beside each other.
    pub columns: u32,
    /// Pictures below each other.
    pub rows: u32,
    /// Width of one picture.
    pub width: u32,
}

/// What is measured of every rendition. A rendition below a threshold is still delivered; an event tells of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// Measure SSIM.
    #[serde(default)]
    pub ssim: bool,
    /// Measure VMAF where FFmpeg has it.
    #[serde(default)]
    pub vmaf: bool,
    /// Tell when SSIM is lower, 0 to 1.
    #[serde(default)]
    pub ssim_min: Option<f64>,
    /// Tell when VMAF is lower, 0 to 100.
    #[serde(default)]
    pub vmaf_min: Option<f64>,
}

fn h264() -> VideoCodec {
    VideoCodec::H264
}
fn aac() -> AudioCodec {
    AudioCodec::Aac
}
fn preset() -> String {
    "veryfast".to_owned()
}
fn pixel_format() -> String {
    "yuv420p".to_owned()
}
const fn segment_ms() -> u32 {
    4_000
}
const fn gop_ms() -> u32 {
    2_000
}
const fn chunk_ms() -> u32 {
    20_000
}
const fn fps_max() -> u32 {
    60
}
const fn audio_kbps() -> u32 {
    128
}
const fn channels_max() -> u32 {
    2
}

impl Recipe {
    /// The recipes that every installation has, by name.
    pub fn built_in() -> BTreeMap<String, Self> {
        toml::from_str(BUILT_IN).expect("recipes.toml is part of this crate and tested")
    }

    /// A recipe as people write it: TOML.
    ///
    /// # Errors
    /// [`InvalidRecipe`], with the field and what to do.
    pub fn from_toml(text: &str) -> Result<Self, InvalidRecipe> {
        toml::from_str::<Self>(text).map_err(|error| InvalidRecipe::Form(error.message().to_owned()))?.checked()
    }

    /// A recipe as the catalogue keeps it: JSON.
    ///
    /// # Errors
    /// [`InvalidRecipe`], with the field and what to do.
    pub fn from_json(body: &Value) -> Result<Self, InvalidRecipe> {
        Self::deserialize(body).map_err(|error| InvalidRecipe::Form(error.to_string()))?.checked()
    }

    /// The form that the catalogue keeps.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a recipe has text keys alone")
    }

    /// Whether `name` can be a recipe's: a letter or digit, then letters, digits, `-` and `_`.
    pub fn valid_name(name: &str) -> bool {
        name.len() <= NAME_BYTES_MAX
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    }

    fn checked(self) -> Result<Self, InvalidRecipe> {
        within("segment_ms", self.segment_ms, 1_000, 10_000)?;
        within("gop_ms", self.gop_ms, 500, 10_000)?;
        within("chunk_ms", self.chunk_ms, 4_000, 600_000)?;
        within("video", self.video.len(), 0, LADDERS_MAX)?;
        let mut codecs = HashSet::new();
        for (index, ladder) in self.video.iter().enumerate() {
            let field = format!("video[{index}]");
            if !codecs.insert(format!("{:?}", ladder.codec)) {
                return Err(wrong(field, "there is a ladder of this codec already; add the rungs to it"));
            }
            ladder.check(&field)?;
        }
        self.audio.check()?;
        if let Some(thumbnails) = &self.thumbnails {
            within("thumbnails.at_permille", thumbnails.at_permille.len(), 1, 20)?;
            within("thumbnails.width", thumbnails.width, 16, 3_840)?;
            if thumbnails.at_permille.iter().any(|&at| at > 1_000) {
                return Err(wrong("thumbnails.at_permille", "positions are 0 to 1000"));
            }
        }
        if let Some(storyboard) = &self.storyboard {
            within("storyboard.interval_ms", storyboard.interval_ms, 500, 600_000)?;
            within("storyboard.columns", storyboard.columns, 1, 20)?;
            within("storyboard.rows", storyboard.rows, 1, 20)?;
            within("storyboard.width", storyboard.width, 16, 640)?;
        }
        within("destinations", self.destinations.len(), 0, TARGETS_MAX)?;
        if let Some(name) = self.destinations.iter().find(|name| !Self::valid_name(name)) {
            return Err(wrong("destinations", format!("{name:?} is no name: use letters, digits, - and _")));
        }
        within("notify", self.notify.len(), 0, TARGETS_MAX)?;
        for text in &self.notify {
            let http = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !http {
                return Err(wrong("notify", format!("{text:?} is no http or https URL")));
            }
        }
        Ok(self)
    }
}

impl Ladder {
    fn check(&self, field: &str) -> Result<(), InvalidRecipe> {
        within(&format!("{field}.rungs"), self.rungs.len(), 1, RUNGS_MAX)?;
        within(&format!("{field}.fps_max"), self.fps_max, 1, 240)?;
        within(&format!("{field}.extra"), self.extra.len(), 0, EXTRA_ARGS_MAX)?;
        transcode::vod::check_extra(&self.extra).map_err(|problem| wrong(format!("{field}.extra"), problem))?;
        if self.passthrough != Passthrough::Never && self.codec != VideoCodec::H264 {
            return Err(wrong(format!("{field}.passthrough"), "only H.264 is passed through; leave it out"));
        }
        if self.preset.is_empty() || !self.preset.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(wrong(format!("{field}.preset"), "a preset is one word, such as veryfast"));
        }
        for (index, rung) in self.rungs.iter().enumerate() {
            let field = format!("{field}.rungs[{index}]");
            within(&format!("{field}.height"), rung.height, 64, 4_320)?;
            within(&format!("{field}.kbps_max"), rung.kbps_max, 20, 200_000)?;
            if rung.height % 2 != 0 {
                return Err(wrong(format!("{field}.height"), "heights are even"));
            }
            if rung.crf.is_some_and(|crf| !(0.0..=63.0).contains(&crf)) {
                return Err(wrong(format!("{field}.crf"), "a rate factor is 0 to 63"));
            }
            if rung.fps_max == Some(0) {
                return Err(wrong(format!("{field}.fps_max"), "a frame rate is at least 1"));
            }
        }
        if !self.rungs.is_sorted_by(|a, b| a.height > b.height) {
            return Err(wrong(
                format!("{field}.rungs"),
                "list the rungs from the largest to the smallest, each height once",
            ));
        }
        Ok(())
    }
}

impl AudioRecipe {
    fn check(&self) -> Result<(), InvalidRecipe> {
        within("audio.kbps", self.kbps, 16, 512)?;
        within("audio.channels_max", self.channels_max, 1, 8)?;
        if self.loudness_lufs.is_some_and(|lufs| !(-31.0..=-8.0).contains(&lufs)) {
            return Err(wrong("audio.loudness_lufs", "a loudness is -31 to -8 LUFS; -16 is usual for the web"));
        }
        Ok(())
    }
}

fn wrong(field: impl Into<String>, problem: impl Into<String>) -> InvalidRecipe {
    InvalidRecipe::Field { field: field.into(), problem: problem.into() }
}

fn within<T: PartialOrd + std::fmt::Display>(field: &str, value: T, min: T, max: T) -> Result<(), InvalidRecipe> {
    if value < min || value > max {
        return Err(wrong(field, format!("{value} is not between {min} and {max}")));
    }
    Ok(())
}
