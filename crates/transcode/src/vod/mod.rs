//! Video on demand: what a file is, where it may be cut, and how a piece of it becomes a rendition.
//!
//! Every function here runs FFmpeg or ffprobe a few times, each as a process group of its own under [`Limits`], and hands back
//! plain data. Start from [`probe`], then [`analyse`], then [`encode_video`] for each [`Chunk`].
//!
//! Media times are ticks of 90 kHz on one timeline per source, so that pieces made on different machines join: that of the
//! source's container, moved up by whole seconds when it begins below zero. [`Probe::start_ms`] says where it begins.
//!
//! Foreign files are opened with the one protocol they come by and without demuxers that follow references: a playlist in
//! disguise reaches neither other files nor other hosts. Header values of an [`Input`] stand on FFmpeg's command line, which
//! other users of the machine can read: give a token that lives as short as the step, never a lasting key.
//!
//! ```no_run
//! # async fn example(tool: &transcode::Tool) -> Result<(), transcode::vod::Failure> {
//! use transcode::vod::{Cancel, Input, Limits, TrackKind, probe};
//!
//! let source = probe(tool, &Input::new("film.mkv"), &Limits::default(), &Cancel::new()).await?;
//! for track in source.of_kind(TrackKind::Audio) {
//!     println!("{}: {:?}", track.codec, track.language);
//! }
//! # Ok(()) }
//! ```

mod analyse;
mod analysis;
mod audio;
mod cut;
mod encode;
mod failure;
mod features;
mod frames;
mod grid;
mod input;
mod outcome;
mod picture;
mod probe;
mod process;
mod scan;
mod similarity;
mod source;
mod spec;
mod stills;
mod subtitles;
mod times;
mod title;
mod track_file;

pub use analyse::analyse;
pub use analysis::{Analysis, CHUNKS_MAX, Chunk, Loudness};
pub use audio::{copy_track, encode_audio};
pub use encode::encode_video;
pub use failure::{Class, Failure};
pub use input::{Cancel, Input, Limits, Work, WorkSink};
pub use outcome::{Encoded, Quality, RungChoice, Storyboard};
pub use picture::{check_extra, video_args};
pub use probe::probe;
pub use similarity::quality;
pub use source::{AudioInfo, Probe, SourceTrack, TrackKind, VideoInfo};
pub use spec::{AnalyseSpec, AudioCodec, AudioEncode, RungSpec, StoryboardSpec, VideoCodec, VideoEncode};
pub use stills::{poster, storyboard};
pub use subtitles::subtitles;
pub use title::per_title;
