//! `/channels.json`: what can be watched, for the viewer app. With `?after=VERSION` the answer waits for another version, so that
//! one request tells every viewer of a change at once.

use std::time::Duration;

use http::Response;
use serde::Serialize;

use crate::{
    hub::{Hub, Stream},
    origin::{Body, json},
};

/// How long an answer waits for a change at most.
const WAIT: Duration = Duration::from_secs(25);

#[derive(Serialize)]
struct Guide {
    version: u64,
    server: &'static str,
    channels: Vec<Channel>,
}

/// A stream as the viewer app shows it. URLs are paths on this host.
#[derive(Serialize)]
struct Channel {
    id: String,
    app: String,
    name: String,
    title: String,
    live: bool,
    /// When the current or last publisher went on air.
    started_at: Option<String>,
    hls: String,
    dash: String,
    /// `null` until there is a picture, and where none can be made.
    thumbnail: Option<String>,
    video: Option<Video>,
    audio: Option<Audio>,
    renditions: Vec<Rendition>,
    kbps: u64,
    gop_ms: i64,
    notices: Vec<String>,
}

#[derive(Serialize)]
struct Video {
    codec: &'static str,
    width: u32,
    height: u32,
    frame_rate: f64,
}

#[derive(Serialize)]
struct Audio {
    codec: &'static str,
    sample_rate: u32,
    channels: u32,
}

#[derive(Serialize)]
struct Rendition {
    name: String,
    width: u32,
    height: u32,
    bandwidth: u64,
}

/// The guide, at once or when its version is another than `after`.
pub(crate) async fn answer(hub: &Hub, after: Option<&str>) -> Response<Body> {
    let mut version = hub.watch_version();
    if let Some(after) = after.and_then(|text| text.parse::<u64>().ok()) {
        // Without a change in time the current guide is the answer.
        let _ = tokio::time::timeout(WAIT, version.wait_for(|version| *version != after)).await;
    }
    let version = *version.borrow();
    let can_picture = hub.capabilities.tool().is_ok();
    let watchable = hub.all().into_iter().filter(|stream| stream.is_watchable());
    let channels = watchable.map(|stream| channel(&stream, can_picture)).collect();
    json(&Guide { version, server: concat!("headwater ", env!("CARGO_PKG_VERSION")), channels })
}

fn channel(stream: &Stream, can_picture: bool) -> Channel {
    let summary = stream.summary();
    let (stats, keyframe) = stream.present(|presentation| (presentation.stats(), presentation.latest_keyframe()));
    let tracks = stream.ring().tracks().clone();
    let video = tracks.video.and_then(|track| {
        let info = track.codec.video()?;
        // The packager's figure is the stream's nominal rate; the encoder may be a frame early or late in any second.
        let source = stats.tracks.iter().find(|stats| stats.name == crate::hub::track_name(track.kind()));
        let nominal = source.map(|stats| stats.frame_rate).filter(|rate| *rate > 0.0);
        let frame_rate = nominal.unwrap_or_else(|| header_rate(info.frame_rate));
        Some(Video {
            codec: track.codec.name(),
            width: info.width,
            height: info.height,
            frame_rate: rounded(frame_rate),
        })
    });
    let audio = tracks.audio.and_then(|track| {
        let info = track.codec.audio()?;
        Some(Audio { codec: track.codec.name(), sample_rate: info.sample_rate, channels: info.channels })
    });
    let renditions = stats.tracks.iter().filter(|track| track.active && track.parts > 0).filter_map(|track| {
        let (width, height) = track.size?;
        Some(Rendition { name: track.name.to_string(), width, height, bandwidth: track.bandwidth })
    });
    let id = stream.id.to_string();
    Channel {
        app: stream.id.app().to_owned(),
        name: stream.id.name().to_owned(),
        title: stream.id.name().to_owned(),
        live: summary.live,
        started_at: summary.started_at.map(|at| at.to_string()),
        hls: format!("/{id}/index.m3u8"),
        dash: format!("/{id}/manifest.mpd"),
        thumbnail: (can_picture && keyframe.is_some()).then(|| format!("/{id}/thumb.jpg")),
        video,
        audio,
        renditions: renditions.collect(),
        kbps: summary.kbps,
        gop_ms: summary.gop_ms,
        notices: summary.notices,
        id,
    }
}

fn header_rate(rate: Option<(u32, u32)>) -> f64 {
    rate.map_or(0.0, |(frames, seconds)| f64::from(frames) / f64::from(seconds.max(1)))
}

fn rounded(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}
