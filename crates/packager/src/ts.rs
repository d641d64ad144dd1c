//! MPEG-TS for old players: the same grid and samples, muxed when somebody asks.

use std::fmt::Write;

use bytes::Bytes;
use media::{Track, TrackKind, ts};

use crate::{
    BodyPlan, Lookup, NotReady, Piece, Presentation, Role, TrackName,
    segment::{Segment, Storage},
    track::TrackState,
};

/// Playlists without anything newer than EXT-X-PROGRAM-DATE-TIME and floating-point EXTINF (RFC 8216bis 8).
const VERSION: u32 = 3;
/// Transport packets, PES headers and tables on top of the samples, in percent: an upper bound down to some 100 kbit/s.
const OVERHEAD_PERCENT: u64 = 12;

/// Segments to mux together.
struct Pair<'a> {
    video: Option<&'a Segment>,
    audio: Option<&'a Segment>,
}

impl Presentation {
    /// Answers `ts.m3u8`: one variant per picture track, each with the sound muxed in.
    ///
    /// # Errors
    /// [`NotReady`] before the first segment is complete, or without a codec that MPEG-TS carries.
    pub fn ts_multivariant_playlist(&self) -> Result<Bytes, NotReady> {
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n");
        let before = text.len();
        for state in self.listed_tracks().filter(|state| state.role != Role::Audio) {
            if self.ts_segments(state).next().is_some() {
                let audio: Vec<_> = self.ts_audio(state).into_iter().collect();
                self.render_ts_variant(&mut text, state, &audio);
            }
        }
        if text.len() > before { Ok(text.into()) } else { Err(NotReady) }
    }

    fn render_ts_variant(&self, text: &mut String, state: &TrackState, audio: &[&TrackState]) {
        let all = || std::iter::once(state).chain(audio.iter().copied());
        let over = |bits: u64| bits + bits / 100 * OVERHEAD_PERCENT;
        let peak = over(all().map(|state| self.bandwidth(state)).sum());
        let codecs: Vec<_> = all().map(|state| state.track().codec.rfc6381()).collect();
        let _ = write!(text, "#EXT-X-STREAM-INF:BANDWIDTH={peak},CODECS=\"{}\"", codecs.join(","));
        if let Some(video) = state.track().codec.video() {
            let _ = write!(text, ",RESOLUTION={}x{}", video.width, video.height);
        }
        let _ = writeln!(text, "\n{}/ts.m3u8", state.name);
    }

    /// Whether MPEG-TS carries any of the stream's pictures, or its sound where there are none: if not, `ts.m3u8` never comes.
    pub fn fits_ts(&self) -> bool {
        self.tracks.iter().any(|state| state.role != Role::Audio && carried(state.track()))
    }

    /// Answers `NAME/ts.m3u8`: the closed segments that are in memory.
    pub fn ts_media_playlist(&self, track: &TrackName) -> Lookup<Bytes> {
        let Some(state) = self.state(track).filter(|state| carried(state.track()) && state.role != Role::Audio) else {
            return Lookup::Gone;
        };
        let Some(first) = self.ts_segments(state).next() else { return Lookup::Pending };
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            self.target_s,
            first.msn,
            self.grid.get(first.msn).map_or(0, |cell| cell.discontinuity_sequence),
        );
        for segment in self.ts_segments(state) {
            if segment.msn > first.msn && self.grid.get(segment.msn).is_some_and(|cell| cell.discontinuity) {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            text.push_str(&segment.head_lines);
            if segment.is_gap() {
                text.push_str("#EXT-X-GAP\n");
            }
            text.push_str(&segment.tail_lines.replace(".m4s", ".ts"));
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Lookup::Found(text.into())
    }

    /// Answers `NAME/MSN.ts`: pictures of the track and the sound of the same segment, muxed once and kept for the newest few.
    pub fn ts_segment(&self, track: &TrackName, msn: u64) -> Lookup<BodyPlan> {
        let Some(state) = self.state(track).filter(|state| state.role != Role::Audio) else { return Lookup::Gone };
        let Some(segment) = state.segment(msn) else {
            let next = self.publishing && state.active && state.next_msn() == Some(msn);
            return if next { Lookup::Pending } else { Lookup::Gone };
        };
        let Some(pair) = self.ts_pair(state, segment) else {
            let coming = self.publishing && segment.storage == Storage::Memory;
            return if coming { Lookup::Pending } else { Lookup::Gone };
        };
        let whole = |bytes: &Bytes| Lookup::Found(BodyPlan { pieces: vec![Piece::Shared(bytes.clone())] });
        if let Some(bytes) = segment.ts.get() {
            return whole(bytes);
        }
        match self.mux(state, &pair) {
            Some(bytes) => whole(segment.ts.get_or_init(|| bytes)),
            None => Lookup::Gone,
        }
    }

    fn mux(&self, state: &TrackState, pair: &Pair) -> Option<Bytes> {
        let video = pair.video.and_then(|segment| Some((track_of(state, segment)?, segment.samples())));
        let audio_state = if state.kind() == TrackKind::Audio { Some(state) } else { self.ts_audio(state) };
        let audio = pair.audio.and_then(|segment| Some((track_of(audio_state?, segment)?, segment.samples())));
        let video = video.as_ref().map(|(track, samples)| (*track, samples.as_slice()));
        let audio = audio.as_ref().map(|(track, samples)| (*track, samples.as_slice()));
        ts::segment(video, audio, &ts::Options::default()).ok()
    }

    /// The sound that goes with `state`: none when that is sound itself.
    fn ts_audio(&self, state: &TrackState) -> Option<&TrackState> {
        let fits = |other: &&TrackState| other.role == Role::Audio && carried(other.track());
        self.listed_tracks().filter(|_| state.kind() == TrackKind::Video).find(fits)
    }

    /// The segments of a TS playlist: in the window, in memory, closed on both tracks; from the newest run of them.
    fn ts_segments<'a>(&'a self, state: &'a TrackState) -> impl Iterator<Item = &'a Segment> {
        let readable =
            |segment: &&Segment| matches!(segment.storage, Storage::Memory | Storage::Spilling | Storage::Gap);
        let listed = self.listed_segments(state).filter(|_| carried(state.track()));
        let listed = listed.skip_while(move |segment| segment.is_gap() || !readable(segment));
        listed.take_while(|segment| segment.is_gap() || self.ts_pair(state, segment).is_some())
    }

    /// The two segments to mux; `None` while one is open, or when payloads left memory.
    fn ts_pair<'a>(&'a self, state: &'a TrackState, segment: &'a Segment) -> Option<Pair<'a>> {
        let in_memory = |segment: &&Segment| segment.closed && !segment.parts.is_empty();
        let segment = Some(segment).filter(in_memory)?;
        if state.kind() == TrackKind::Audio {
            return Some(Pair { video: None, audio: Some(segment) });
        }
        let Some(audio) = self.ts_audio(state) else { return Some(Pair { video: Some(segment), audio: None }) };
        match audio.segment(segment.msn) {
            Some(sound) if sound.is_gap() => Some(Pair { video: Some(segment), audio: None }),
            Some(sound) => {
                Some(Pair { video: Some(segment), audio: Some(sound).filter(in_memory) }).filter(|p| p.audio.is_some())
            }
            // The sound began later, or has not come this far.
            None if audio.segments.front().is_some_and(|first| first.msn > segment.msn) => {
                Some(Pair { video: Some(segment), audio: None })
            }
            None => None,
        }
    }
}

fn track_of<'a>(state: &'a TrackState, segment: &Segment) -> Option<&'a Track> {
    state.inits.iter().find(|init| init.id == segment.init_id).map(|init| &init.track)
}

fn carried(track: &Track) -> bool {
    use media::CodecConfig::{Aac, Ac3, Avc, Hevc};
    matches!(&*track.codec, Avc(_) | Hevc(_) | Aac(_) | Ac3(_))
}
