//! Log lines and metrics, together and with bounded labels.

use crate::Progress;

/// Registers the descriptions of this room's metrics; called once by the binary, harmless when called again.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!("headwater_transcode_ladders", "Ladders running");
    describe_gauge!(
        "headwater_transcode_speed_ratio",
        "Media time made per unit of time; below 1 the ladder falls behind"
    );
    describe_gauge!("headwater_transcode_fps", "Pictures per second in the fastest rendition");
    describe_gauge!(
        "headwater_transcode_lag_seconds",
        Unit::Seconds,
        "How far the slowest rendition is behind its source"
    );
    describe_counter!("headwater_transcode_restarts_total", "Restarts of FFmpeg, by cause");
    describe_counter!("headwater_transcode_shed_total", "Rungs given up because the machine is too slow");
    describe_counter!("headwater_transcode_failed_total", "Ladders that ended for good");
    describe_counter!("headwater_transcode_dropped_samples_total", "Pictures dropped, by place");
    describe_counter!("headwater_transcode_samples_total", "Samples made");
    describe_counter!("headwater_transcode_thumbnails_total", "Posters made, by result");
}

/// Why a child ended: the label of the restart counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Exit,
    Stall,
    Shed,
    Source,
    Start,
}

impl Cause {
    fn label(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Stall => "stall",
            Self::Shed => "shed",
            Self::Source => "source",
            Self::Start => "start",
        }
    }
}

pub(crate) fn started(stream: &str, pid: u32, renditions: &[&str]) {
    tracing::info!(stream, pid, ?renditions, "ladder started");
}

pub(crate) fn interrupted(stream: &str, cause: Cause, reason: &str) {
    metrics::counter!("headwater_transcode_restarts_total", "cause" => cause.label()).increment(1);
    tracing::warn!(stream, cause = cause.label(), reason, "ladder interrupted");
}

pub(crate) fn shed(stream: &str, rendition: &str, reason: &str) {
    metrics::counter!("headwater_transcode_shed_total").increment(1);
    tracing::warn!(stream, rendition, reason, "rung shed");
}

pub(crate) fn failed(stream: &str, reason: &str) {
    metrics::counter!("headwater_transcode_failed_total").increment(1);
    tracing::error!(stream, reason, "ladder ended: the source plays alone");
}

pub(crate) fn passthrough(stream: &str, reason: &str) {
    tracing::info!(stream, reason, "no ladder: the source plays alone");
}

pub(crate) fn overflow(pictures: u64) {
    metrics::counter!("headwater_transcode_dropped_samples_total", "place" => "queue").increment(pictures);
}

/// Pictures a new child made again although they had been delivered.
pub(crate) fn repeated() {
    metrics::counter!("headwater_transcode_dropped_samples_total", "place" => "resume").increment(1);
}

pub(crate) fn sample() {
    metrics::counter!("headwater_transcode_samples_total").increment(1);
}

pub(crate) fn progress(stream: &str, progress: &Progress) {
    // A gauge per stream would be an unbounded label: the newest reading stands for the machine, the log has the stream.
    metrics::gauge!("headwater_transcode_speed_ratio").set(progress.speed);
    metrics::gauge!("headwater_transcode_fps").set(progress.fps);
    metrics::gauge!("headwater_transcode_lag_seconds").set(progress.lag_ms as f64 / 1e3);
    tracing::debug!(stream, ?progress, "ladder");
}

pub(crate) fn thumbnail(result: &'static str) {
    metrics::counter!("headwater_transcode_thumbnails_total", "result" => result).increment(1);
}

/// Counts a ladder for as long as it lives.
#[derive(Debug)]
pub(crate) struct Running;

impl Running {
    pub(crate) fn new() -> Self {
        metrics::gauge!("headwater_transcode_ladders").increment(1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        metrics::gauge!("headwater_transcode_ladders").decrement(1);
    }
}
