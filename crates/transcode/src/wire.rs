//! FLV to and from FFmpeg's pipes.

use bytes::BytesMut;
use media::{
    Sample, Track, TrackKind,
    flv::{Demuxer, Muxer, Unit},
};

use crate::Error;

/// Writes what FFmpeg reads. Times are taken as they are.
pub(crate) struct Writer {
    muxer: Muxer,
    video: Track,
    audio: Option<Track>,
}

impl Writer {
    pub(crate) fn new(video: Track, audio: Option<Track>) -> Self {
        Self { muxer: Muxer::new(), video, audio }
    }

    /// The header and the sequence headers.
    pub(crate) fn begin(&self, out: &mut BytesMut) {
        let tracks: Vec<_> = std::iter::once(&self.video).chain(&self.audio).collect();
        self.muxer.start(&tracks, out);
    }

    /// The track of `kind`; sound that is not written counts as pictures.
    pub(crate) fn track(&self, kind: TrackKind) -> &Track {
        self.audio.as_ref().filter(|_| kind == TrackKind::Audio).unwrap_or(&self.video)
    }

    pub(crate) fn sample(&self, kind: TrackKind, sample: &Sample, out: &mut BytesMut) {
        self.muxer.sample(self.track(kind), sample, out);
    }
}

/// What FFmpeg has made.
#[derive(Debug)]
pub(crate) enum Made {
    Track(Track),
    /// With the track it belongs to.
    Sample(Track, Sample),
}

/// Reads what FFmpeg writes: at most one picture and one sound track in a stream of bytes.
#[derive(Default)]
pub(crate) struct Reader {
    demuxer: Demuxer,
    video: Option<Track>,
    audio: Option<Track>,
}

impl Reader {
    /// Where the next bytes go: append only.
    pub(crate) fn buffer_mut(&mut self) -> &mut BytesMut {
        self.demuxer.buffer_mut()
    }

    /// What the bytes so far have of the next unit; `None` until there are more.
    ///
    /// # Errors
    /// [`Error::Media`].
    pub(crate) fn next(&mut self) -> Result<Option<Made>, Error> {
        let broken = |source| Error::Media { what: "an output of FFmpeg", source };
        while let Some((kind, unit)) = self.demuxer.next_unit().map_err(broken)? {
            let known = match kind {
                TrackKind::Video => &mut self.video,
                TrackKind::Audio => &mut self.audio,
            };
            match (unit, known) {
                (Unit::Track { track, .. }, known) => {
                    *known = Some(track.clone());
                    return Ok(Some(Made::Track(track)));
                }
                (Unit::Sample { sample, .. }, Some(track)) => return Ok(Some(Made::Sample(track.clone(), sample))),
                (Unit::Sample { .. } | Unit::End, _) => {}
            }
        }
        Ok(None)
    }
}
