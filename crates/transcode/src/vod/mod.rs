//! Video on demand: what a file is, where it may be cut, and how a piece of it becomes a rendition.
//!
//! Every function here runs FFmpeg or ffprobe once or twice, as a process group of its own under [`Limits`], and hands back
//! plain data. Media times are ticks of 90 kHz on the timeline of the source's container, so that pieces made on different
//! machines join; [`Probe::start_ms`] says where that timeline begins.
//!
//! Header values of an [`Input`] stand on FFmpeg's command line, which other users of the machine can read: give a token
//! that lives as short as the step, never a key.

mod analysis;
mod failure;
mod input;
mod outcome;
mod pending;
mod source;
mod spec;

pub use analysis::{Analysis, CHUNKS_MAX, Chunk, Loudness};
pub use failure::{Class, Failure};
pub use input::{Cancel, Input, Limits, Work, WorkSink};
pub use outcome::{Encoded, Quality, RungChoice, Storyboard};
pub use pending::{
    analyse, copy_track, encode_audio, encode_video, per_title, poster, probe, quality, storyboard, subtitles,
    video_args,
};
pub use source::{AudioInfo, Probe, SourceTrack, TrackKind, VideoInfo};
pub use spec::{AnalyseSpec, AudioCodec, AudioEncode, RungSpec, StoryboardSpec, VideoCodec, VideoEncode};
