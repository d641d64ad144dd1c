//! Counters and gauges of the live plane: one place for their names. Labels are bounded: stream names are, by `live.streams_max`.
//!
//! What is counted often is counted through handles that are looked up once: the look-up by name costs more than the counting.

use std::error::Error;

use base::StreamId;
use metrics::{Counter, Gauge, counter, gauge};

use crate::hub::Figures;

/// Handles of the node's counters. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Counters {
    pub(crate) rtmp_in_bytes: Counter,
    pub(crate) rtmp_out_bytes: Counter,
    pub(crate) reader_skips: Counter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            rtmp_in_bytes: counter!("headwater_live_rtmp_in_bytes_total"),
            rtmp_out_bytes: counter!("headwater_live_rtmp_out_bytes_total"),
            reader_skips: counter!("headwater_live_reader_skips_total"),
        }
    }
}

/// Handles of one stream's figures.
pub(crate) struct StreamMetrics {
    ingest_kbps: Gauge,
    ingest_frame_rate: Gauge,
    ingest_gop_ms: Gauge,
    rtmp_viewers: Gauge,
    memory_bytes: Gauge,
    window_ms: Gauge,
    discontinuities: Gauge,
    misaligned_segments: Gauge,
    /// In the order of [`dropped`].
    dropped_samples: [Counter; 5],
}

impl StreamMetrics {
    pub(crate) fn new(stream: &StreamId) -> Self {
        let label = || stream.to_string();
        Self {
            ingest_kbps: gauge!("headwater_live_ingest_kbps", "stream" => label()),
            ingest_frame_rate: gauge!("headwater_live_ingest_frame_rate", "stream" => label()),
            ingest_gop_ms: gauge!("headwater_live_ingest_gop_ms", "stream" => label()),
            rtmp_viewers: gauge!("headwater_live_viewers", "stream" => label(), "protocol" => "rtmp"),
            memory_bytes: gauge!("headwater_packager_memory_bytes", "stream" => label()),
            window_ms: gauge!("headwater_packager_window_ms", "stream" => label()),
            discontinuities: gauge!("headwater_packager_discontinuities", "stream" => label()),
            misaligned_segments: gauge!("headwater_packager_misaligned_segments", "stream" => label()),
            dropped_samples: dropped(&packager::Dropped::default()).map(
                |(reason, _)| counter!("headwater_packager_dropped_samples_total", "stream" => label(), "reason" => reason),
            ),
        }
    }

    /// What the encoder sends; the default for a stream off air.
    pub(crate) fn ingest(&self, figures: &Figures) {
        self.ingest_kbps.set(figures.kbps as f64);
        self.ingest_frame_rate.set(figures.frame_rate);
        self.ingest_gop_ms.set(figures.gop_ms as f64);
    }

    /// Players over RTMP.
    pub(crate) fn rtmp_viewers(&self, count: usize) {
        self.rtmp_viewers.set(count as f64);
    }

    /// What the packager holds and what it had to leave out.
    pub(crate) fn presentation(&self, stats: &packager::Stats) {
        let memory_bytes: u64 = stats.tracks.iter().map(|track| track.memory_bytes).sum();
        let window_ms = stats.tracks.iter().map(|track| track.window_ms).max().unwrap_or_default();
        self.memory_bytes.set(memory_bytes as f64);
        self.window_ms.set(window_ms as f64);
        self.discontinuities.set(stats.discontinuities as f64);
        self.misaligned_segments.set(stats.misaligned as f64);
        for (counter, (_, count)) in self.dropped_samples.iter().zip(dropped(&stats.dropped)) {
            counter.absolute(count);
        }
    }
}

fn dropped(dropped: &packager::Dropped) -> [(&'static str, u64); 5] {
    [
        ("before_start", dropped.before_start),
        ("before_boundary", dropped.before_boundary),
        ("before_discontinuity", dropped.before_discontinuity),
        ("off_timeline", dropped.off_timeline),
        ("overflow", dropped.overflow),
    ]
}

pub(crate) fn published(stream: &StreamId) {
    counter!("headwater_live_publishes_total", "app" => stream.app().to_owned()).increment(1);
}

pub(crate) fn streams(count: usize) {
    gauge!("headwater_live_streams").set(count as f64);
}

pub(crate) fn rtmp_connections(count: usize) {
    gauge!("headwater_live_rtmp_connections").set(count as f64);
}

/// `reason` is one of a fixed set of words.
pub(crate) fn connection_error(reason: &'static str) {
    counter!("headwater_live_connection_errors_total", "reason" => reason).increment(1);
}

/// A segment that could not be stored, or a stored one that could not be deleted; `what` is `put` or `delete`.
pub(crate) fn store_failure(what: &'static str) {
    counter!("headwater_live_store_failures_total", "what" => what).increment(1);
}

/// A panic in the plane's own housekeeping; its next round goes on.
pub(crate) fn housekeeping_panic() {
    counter!("headwater_live_housekeeping_panics_total").increment(1);
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
