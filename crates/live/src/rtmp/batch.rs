//! Frames as RTMP messages, serialised once for all players. Pure.

use bytes::{Bytes, BytesMut};
use media::{Sample, Track, TrackKind, flv};
use protocols::rtmp::chunk;

use crate::hub::{Item, Ring, Tracks};

const AUDIO_MESSAGE: u8 = 8;
const VIDEO_MESSAGE: u8 = 9;
const AUDIO_CHUNK_STREAM: u32 = 4;
const VIDEO_CHUNK_STREAM: u32 = 6;

/// How a group of players wants its messages: players with equal values share their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Framing {
    pub(crate) chunk_size: usize,
    pub(crate) message_stream: u32,
}

/// Whole messages in one piece.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    /// Where a player that skipped can join in.
    pub(crate) entrance: Option<Entrance>,
}

/// A keyframe in a batch.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) offset: usize,
    /// The decoder configurations as they are there: a player that skipped may have missed a change.
    pub(crate) headers: Bytes,
}

/// Collects messages into a [`Batch`].
pub(crate) struct Builder {
    framing: Framing,
    out: BytesMut,
    entrance: Option<Entrance>,
    tracks: Tracks,
}

impl Builder {
    pub(crate) fn new(framing: Framing, tracks: Tracks) -> Self {
        Self { framing, out: BytesMut::new(), entrance: None, tracks }
    }

    /// Adds the decoder configurations, as every player needs them first.
    pub(crate) fn headers(&mut self) {
        let tracks: Vec<Track> = self.tracks.iter().cloned().collect();
        tracks.iter().for_each(|track| self.sequence_header(track, 0));
    }

    pub(crate) fn item(&mut self, item: &Item) {
        match item {
            Item::Track(track) => {
                self.tracks.set(track.clone());
                self.sequence_header(track, 0);
            }
            Item::Sample(kind, sample) => self.sample(*kind, sample),
        }
    }

    fn sequence_header(&mut self, track: &Track, timestamp_ms: u32) {
        if let Some(header) = flv::sequence_header(&track.codec) {
            self.message(track.kind(), timestamp_ms, &[&header]);
        }
    }

    fn sample(&mut self, kind: TrackKind, sample: &Sample) {
        let Some(track) = self.tracks.of(kind) else { return };
        let header = flv::frame_header(track, sample);
        // RTMP's clock is 32 bits of milliseconds and wraps (RTMP 1.0, 5.3.1.2.1). What lies before the stream's beginning is
        // not the end of that clock.
        let timestamp_ms = flv::timestamp_ms(track, sample).max(0) as u32;
        if sample.sync && self.entrance.is_none() && Ring::is_entrance(&self.tracks, kind) {
            let mut headers = Self::new(self.framing, self.tracks.clone());
            headers.headers();
            self.entrance = Some(Entrance { offset: self.out.len(), headers: headers.out.freeze() });
        }
        self.message(kind, timestamp_ms, &[&header, &sample.payload]);
    }

    fn message(&mut self, kind: TrackKind, timestamp_ms: u32, parts: &[&[u8]]) {
        let (chunk_stream, message_type) = match kind {
            TrackKind::Audio => (AUDIO_CHUNK_STREAM, AUDIO_MESSAGE),
            TrackKind::Video => (VIDEO_CHUNK_STREAM, VIDEO_MESSAGE),
        };
        let Framing { chunk_size, message_stream } = self.framing;
        chunk::write_message(
            &mut self.out,
            chunk_size,
            chunk_stream,
            timestamp_ms,
            message_type,
            message_stream,
            parts,
        );
    }

    pub(crate) fn finish(self) -> Batch {
        Batch { bytes: self.out.freeze(), entrance: self.entrance }
    }
}
