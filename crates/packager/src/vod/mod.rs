//! Packaging on demand: one CMAF track file per rendition, made once, and an index from which playlists, manifests, segments and
//! progressive MP4 follow without reading the media.
//!
//! The initialization segment, the fragments and the lines of playlists are live's own. Start from [`TrackWriter`] to make a track
//! file, from [`TrackIndex`] to serve it.
//!
//! **Timeline.** Every track of an asset is shifted by the same amount, which the caller gives ([`TrackWriter::zero_at`]): the source
//! time that becomes the beginning of the presentation. In the files that beginning is [`MEDIA_ORIGIN_S`] seconds, so that the decoding
//! times of reordered pictures and the sound before it have positive times: players disagree about negative composition offsets, and
//! an edit list is not looked at by all of them. Presentation times come out as they went in; packets of sound that end before the
//! beginning (an encoder's priming) are left out.
//!
//! ```
//! use media::{CodecConfig, Sample, Track, codec::aac};
//! use packager::vod::{SegmentRule, TrackWriter, media_playlist};
//!
//! let track = Track::new(CodecConfig::Aac(aac::Config::from_record(&[0x11, 0x90])?));
//! let mut writer = TrackWriter::new(track, SegmentRule { target_ms: 4_000 });
//! let mut file = Vec::new();
//! for n in 0..600 {
//!     let payload = bytes::Bytes::from_static(b"a packet");
//!     let sample = Sample { dts: 1_024 * n, cts_offset: 0, duration: 1_024, sync: true, payload };
//!     file.extend(writer.push(sample)?);
//! }
//! let (rest, index) = writer.finish()?;
//! file.extend(rest);
//! assert_eq!(file.concat().len() as u64, index.bytes());
//! assert!(media_playlist(&index, "").contains("#EXT-X-ENDLIST"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod column;
mod error;
mod hls;
mod index;
mod mpd;
mod progressive;
mod rate;
mod tracks;
mod webvtt;
mod wire;
mod writer;

pub use error::Error;
pub use hls::{iframe_playlist, media_playlist, multivariant_playlist, subtitle_playlist};
pub use index::{Fragment, INDEX_VERSION, IndexedSegment, TrackIndex, TrackSample};
pub use mpd::mpd;
pub use progressive::{Progressive, Stretch, progressive};
pub use tracks::{Images, Presentation, TextTrack, Variant};
pub use webvtt::segment as webvtt_segment;
pub use writer::{SegmentRule, TrackWriter};

/// Where the presentation begins in the media's own time, in seconds: more than pictures are reordered by, 16 frames at most, down
/// to two frames a second.
pub const MEDIA_ORIGIN_S: u32 = 10;
