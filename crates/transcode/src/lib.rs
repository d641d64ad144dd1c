//! The only room that knows FFmpeg.
mod backoff;
mod capabilities;
mod child;
mod command;
mod config;
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
mod timeline;
mod watch;
mod wire;

pub use capabilities::{Capabilities, Encoder, Tool, Version};
pub use config::Config;
pub use error::Error;
pub use ladder::{Event, Feed, Ladder, LadderEvents, Overflow, Progress};
pub use plan::{Dropped, Output, Plan, Rendition, Source, VideoOutput, plan, plan_with};
pub use preset::{Preset, Rung};
pub use telemetry::describe_metrics;
