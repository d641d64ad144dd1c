//! The only room that knows FFmpeg: what this machine can encode, which renditions of a source are worth making, and a
//! supervised child process that makes them.
//!
//! It deliberately does not know what a stream is called in a URL, what a segment is, or who watches. It never links
//! FFmpeg. Start from [`plan`] and [`Ladder`].
//!
//! ```no_run
//! # async fn example(video: media::Track, audio: media::Track, keyframe: media::Sample) -> Result<(), transcode::Error> {
//! use transcode::{Capabilities, Config, Event, Feed, Ladder, Preset, Source, plan};
//!
//! let config = Config::default();
//! let caps = Capabilities::probe(&config).await;
//! let source = Source { video, audio: Some(audio), frame_rate: None, video_kbps: None };
//! let plan = plan(&Preset::named(&config.preset)?, &source, &caps, 2);
//! let (ladder, mut events) = Ladder::start(plan, &config, "encoder/colorbar");
//! ladder.push(Feed::Sample(media::TrackKind::Video, keyframe)).ok();
//! while let Some(event) = events.next().await {
//!     if let Event::Sample { rendition, sample } = event { println!("{rendition}: {}", sample.pts()) }
//! }
//! # Ok(()) }
//! ```

mod backoff;
mod capabilities;
mod child;
mod command;
mod config;
mod demo;
mod error;
mod gate;
mod ladder;
mod plan;
mod preset;
mod progress;
mod queue;
mod run;
mod supervisor;
mod telemetry;
mod thumbnail;
mod timeline;
pub mod vod;
mod watch;
mod wire;

pub use capabilities::{Capabilities, Encoder, Tool, Version};
pub use config::Config;
pub use demo::{DemoSource, bars};
pub use error::Error;
pub use ladder::{Event, Feed, Ladder, LadderEvents, Overflow, Progress};
pub use plan::{Dropped, Output, Plan, Rendition, Source, VideoOutput, plan, plan_with};
pub use preset::{Preset, Rung};
pub use telemetry::describe_metrics;
pub use thumbnail::{THUMBNAIL_MS_MAX, THUMBNAILS_MAX, thumbnail};
