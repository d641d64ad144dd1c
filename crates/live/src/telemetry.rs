//! Counters and gauges of the live plane: one place for their names. Labels are bounded: stream names are, by `live.streams_max`.

use std::error::Error;

use base::StreamId;
use metrics::{counter, gauge};

use crate::hub::Figures;

pub(crate) fn published(stream: &StreamId) {
    counter!("headwater_live_publishes_total", "app" => stream.app().to_owned()).increment(1);
}

/// A stream off air has no figures.
pub(crate) fn unpublished(stream: &StreamId) {
    ingest(stream, &Figures::default());
}

pub(crate) fn ingest(stream: &StreamId, figures: &Figures) {
    let label = || stream.to_string();
    gauge!("headwater_live_ingest_kbps", "stream" => label()).set(figures.kbps as f64);
    gauge!("headwater_live_ingest_frame_rate", "stream" => label()).set(figures.frame_rate);
    gauge!("headwater_live_ingest_gop_ms", "stream" => label()).set(figures.gop_ms as f64);
}

/// What the packager holds and what it had to leave out.
pub(crate) fn presentation(stream: &StreamId, stats: &packager::Stats) {
    let label = || stream.to_string();
    let memory_bytes: u64 = stats.tracks.iter().map(|track| track.memory_bytes).sum();
    let window_ms = stats.tracks.iter().map(|track| track.window_ms).max().unwrap_or_default();
    gauge!("headwater_packager_memory_bytes", "stream" => label()).set(memory_bytes as f64);
    gauge!("headwater_packager_window_ms", "stream" => label()).set(window_ms as f64);
    gauge!("headwater_packager_discontinuities", "stream" => label()).set(stats.discontinuities as f64);
    gauge!("headwater_packager_misaligned_segments", "stream" => label()).set(stats.misaligned as f64);
    let dropped = [
        ("before_start", stats.dropped.before_start),
        ("before_boundary", stats.dropped.before_boundary),
        ("before_discontinuity", stats.dropped.before_discontinuity),
        ("off_timeline", stats.dropped.off_timeline),
        ("overflow", stats.dropped.overflow),
    ];
    for (reason, count) in dropped {
        counter!("headwater_packager_dropped_samples_total", "stream" => label(), "reason" => reason).absolute(count);
    }
}

pub(crate) fn streams(count: usize) {
    gauge!("headwater_live_streams").set(count as f64);
}

pub(crate) fn rtmp_connections(count: usize) {
    gauge!("headwater_live_rtmp_connections").set(count as f64);
}

pub(crate) fn rtmp_bytes_in(count: usize) {
    counter!("headwater_live_rtmp_in_bytes_total").increment(count as u64);
}

pub(crate) fn rtmp_bytes_out(count: usize) {
    counter!("headwater_live_rtmp_out_bytes_total").increment(count as u64);
}

pub(crate) fn reader_skips(count: u64) {
    if count > 0 {
        counter!("headwater_live_reader_skips_total").increment(count);
    }
}

/// `reason` is one of a fixed set of words.
pub(crate) fn connection_error(reason: &'static str) {
    counter!("headwater_live_connection_errors_total", "reason" => reason).increment(1);
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
