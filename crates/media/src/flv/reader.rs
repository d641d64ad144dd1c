use base::Timescale;
use bytes::Bytes;

use super::{
    Unit, Units,
    fourcc::{AudioCodec, VideoCodec},
    message::{Content, Packet, Packets},
};
use crate::{
    AudioClock, CodecConfig, Error, Result, Sample, Track,
    codec::{AccessUnit, aac, ac3, av1, avc, hevc, opus, vp9},
};

/// Tracks of one kind that a publisher may have: OBS sends up to six audio tracks and a ladder of a few video tracks.
pub const MAX_TRACKS: usize = 16;

/// Ticks of the video tracks per millisecond.
const VIDEO_TICKS_PER_MS: i64 = 90;

/// Reads the audio and video messages of one publisher: legacy FLV bodies and Enhanced RTMP v2.
///
/// Video samples are in 90 kHz, audio samples in the sample rate, on an exact clock ([`AudioClock`]). A payload shares the
/// memory of its message wherever its form allows that.
#[derive(Debug, Default)]
pub struct Reader {
    video: Vec<VideoTrack>,
    audio: Vec<AudioTrack>,
    orphans: u64,
}

impl Reader {
    /// A reader that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Frames without a configuration so far: before their sequence header, or on a track that never had one. They give no
    /// units.
    pub fn orphans(&self) -> u64 {
        self.orphans
    }

    /// Reads the body of a video message. `timestamp_ms` is the message's decoding time, already freed of its wrap-around.
    ///
    /// # Errors
    /// [`Error::Unsupported`] names a codec that cannot be packaged. Other errors mean a broken message: the reader stays
    /// usable.
    pub fn read_video(&mut self, timestamp_ms: i64, body: Bytes) -> Result<Units> {
        let mut units = Units::default();
        let mut packets = Packets::video(body)?;
        while let Some(Packet { track_id, codec, content }) = packets.next()? {
            match content {
                Content::Start(record) => self.start_video(track_id, codec, record, &mut units)?,
                Content::Frames { composition_ms, payload } => {
                    let offset = i64::from(packets.offset_ns) * VIDEO_TICKS_PER_MS / 1_000_000;
                    let dts = timestamp_ms.saturating_mul(VIDEO_TICKS_PER_MS).saturating_add(offset);
                    // 24 bits of milliseconds: the product fits.
                    let cts_offset = composition_ms * VIDEO_TICKS_PER_MS as i32;
                    self.video_frame(track_id, codec, [dts, cts_offset.into()], payload, &mut units)?;
                }
                Content::End => units.push(Unit::End),
            }
        }
        Ok(units)
    }

    /// Reads the body of an audio message, as [`Reader::read_video`] does for video.
    ///
    /// # Errors
    /// As [`Reader::read_video`].
    pub fn read_audio(&mut self, timestamp_ms: i64, body: Bytes) -> Result<Units> {
        let mut units = Units::default();
        let mut packets = Packets::audio(body)?;
        while let Some(Packet { track_id, codec, content }) = packets.next()? {
            match content {
                Content::Start(record) => self.start_audio(track_id, codec, record, &mut units)?,
                Content::Frames { payload, .. } => {
                    let timestamp_ms = timestamp_ms.saturating_add(i64::from(packets.offset_ns) / 1_000_000);
                    self.audio_frame(track_id, codec, timestamp_ms, payload, &mut units)?;
                }
                Content::End => units.push(Unit::End),
            }
        }
        Ok(units)
    }

    fn start_video(&mut self, id: u8, codec: VideoCodec, record: Bytes, units: &mut Units) -> Result<()> {
        let known = self.video.iter().position(|track| track.id == id);
        let current = known.and_then(|index| self.video.get(index));
        if record.is_empty() || current.is_some_and(|track| track.codec == codec && track.record == record) {
            return Ok(());
        }
        let mut started = VideoTrack::start(id, codec, record)?;
        // A record of other bytes may still say the same.
        if let (Some(old), Some(new)) = (current.and_then(|track| track.track.as_ref()), &started.track)
            && old == new
        {
            started.track = Some(old.clone());
        } else if let Some(track) = &started.track {
            units.push(Unit::Track { track_id: id, track: track.clone() });
        }
        put_track(&mut self.video, known, started)
    }

    fn video_frame(
        &mut self,
        id: u8,
        codec: VideoCodec,
        times: [i64; 2],
        payload: Bytes,
        units: &mut Units,
    ) -> Result<()> {
        let Some(state) = self.video.iter_mut().find(|track| track.id == id && track.codec == codec) else {
            self.orphans = self.orphans.saturating_add(1);
            return Ok(());
        };
        if payload.is_empty() {
            return Ok(());
        }
        let unit = state.access_unit(payload)?;
        if let Some(config) = unit.parameter_sets {
            let track = Track::new(config);
            state.track = Some(track.clone());
            units.push(Unit::Track { track_id: id, track });
        }
        if state.track.is_none() {
            self.orphans = self.orphans.saturating_add(1);
        } else if !unit.payload.is_empty() {
            let [dts, cts_offset] = times;
            let sample =
                Sample { dts, cts_offset: cts_offset as i32, duration: 0, sync: unit.sync, payload: unit.payload };
            units.push(Unit::Sample { track_id: id, sample });
        }
        Ok(())
    }

    fn start_audio(&mut self, id: u8, codec: AudioCodec, record: Bytes, units: &mut Units) -> Result<()> {
        // AC-3 has no sequence header: its frames describe themselves.
        if record.is_empty() || codec == AudioCodec::Ac3 {
            return Ok(());
        }
        let config = match codec {
            AudioCodec::Aac => CodecConfig::Aac(aac::Config::from_record(&record)?),
            AudioCodec::Opus => CodecConfig::Opus(opus::Config::from_head(&record)?),
            AudioCodec::Ac3 => return Ok(()),
        };
        self.put_audio(id, codec, config, units)
    }

    fn put_audio(&mut self, id: u8, codec: AudioCodec, config: CodecConfig, units: &mut Units) -> Result<()> {
        let known = self.audio.iter().position(|track| track.id == id);
        let current = known.and_then(|index| self.audio.get(index));
        if current.is_some_and(|state| *state.track.codec == config) {
            return Ok(());
        }
        let track = Track::new(config);
        units.push(Unit::Track { track_id: id, track: track.clone() });
        let clock = AudioClock::new(track.timescale);
        put_track(&mut self.audio, known, AudioTrack { id, codec, track, clock })
    }

    fn audio_frame(&mut self, id: u8, codec: AudioCodec, at_ms: i64, payload: Bytes, units: &mut Units) -> Result<()> {
        if payload.is_empty() {
            return Ok(());
        }
        if codec == AudioCodec::Ac3 {
            self.describe_ac3(id, &payload, units)?;
        }
        let Some(state) = self.audio.iter_mut().find(|track| track.id == id && track.codec == codec) else {
            self.orphans = self.orphans.saturating_add(1);
            return Ok(());
        };
        let duration = state.packet_samples(&payload)?;
        let dts = state.clock.stamp(at_ms, duration);
        units.push(Unit::Sample { track_id: id, sample: Sample { dts, cts_offset: 0, duration, sync: true, payload } });
        Ok(())
    }

    fn describe_ac3(&mut self, id: u8, packet: &[u8], units: &mut Units) -> Result<()> {
        let current = self.audio.iter().find(|track| track.id == id);
        if let Some(CodecConfig::Ac3(config)) = current.map(|state| state.track.codec.as_ref())
            && config.describes(packet)?
        {
            return Ok(());
        }
        let config = CodecConfig::Ac3(ac3::Config::from_packet(packet)?);
        self.put_audio(id, AudioCodec::Ac3, config, units)
    }
}

#[derive(Debug)]
struct VideoTrack {
    id: u8,
    codec: VideoCodec,
    /// The last sequence header: encoders repeat it.
    record: Bytes,
    /// Bytes of NAL unit lengths in the source; 0 for codecs without NAL units.
    length_size: u8,
    /// `None` while the record does not tell enough: VP9 has the picture size in key frames only, AV1 may.
    track: Option<Track>,
}

impl VideoTrack {
    fn start(id: u8, codec: VideoCodec, record: Bytes) -> Result<Self> {
        let (config, length_size) = match codec {
            VideoCodec::Avc => {
                let (config, length_size) = avc::Config::from_record(&record)?;
                (Some(CodecConfig::Avc(config)), length_size)
            }
            VideoCodec::Hevc => {
                let (config, length_size) = hevc::Config::from_record(&record)?;
                (Some(CodecConfig::Hevc(config)), length_size)
            }
            VideoCodec::Av1 if record.len() <= av1::RECORD_HEAD_BYTES => (None, 0),
            VideoCodec::Av1 => (Some(CodecConfig::Av1(av1::Config::from_record(&record)?)), 0),
            VideoCodec::Vp9 => (None, 0),
        };
        // A copy: the slice would hold on to the memory around it for as long as the publisher stays.
        let record = Bytes::copy_from_slice(&record);
        Ok(Self { id, codec, record, length_size, track: config.map(Track::new) })
    }

    fn access_unit(&self, payload: Bytes) -> Result<AccessUnit<CodecConfig>> {
        let config = self.track.as_ref().map(|track| track.codec.as_ref());
        match (self.codec, config) {
            (VideoCodec::Avc, Some(CodecConfig::Avc(config))) => {
                Ok(avc::canonical(payload, self.length_size, config)?.map(CodecConfig::Avc))
            }
            (VideoCodec::Hevc, Some(CodecConfig::Hevc(config))) => {
                Ok(hevc::canonical(payload, self.length_size, config)?.map(CodecConfig::Hevc))
            }
            (VideoCodec::Av1, Some(CodecConfig::Av1(config))) => {
                Ok(av1::canonical(payload, Some(config))?.map(CodecConfig::Av1))
            }
            (VideoCodec::Av1, _) => Ok(av1::canonical(payload, None)?.map(CodecConfig::Av1)),
            (VideoCodec::Vp9, Some(CodecConfig::Vp9(config))) => {
                Ok(vp9::access_unit(payload, &self.record, Some(config))?.map(CodecConfig::Vp9))
            }
            (VideoCodec::Vp9, _) => Ok(vp9::access_unit(payload, &self.record, None)?.map(CodecConfig::Vp9)),
            // Start puts codec and configuration there together.
            (VideoCodec::Avc | VideoCodec::Hevc, _) => Err(Error::invalid("FLV video message", "no configuration")),
        }
    }
}

#[derive(Debug)]
struct AudioTrack {
    id: u8,
    codec: AudioCodec,
    track: Track,
    clock: AudioClock,
}

impl AudioTrack {
    fn packet_samples(&self, packet: &[u8]) -> Result<u32> {
        match self.track.codec.as_ref() {
            CodecConfig::Opus(_) => opus::packet_samples(packet),
            CodecConfig::Ac3(_) => ac3::packet_samples(packet),
            codec => Ok(codec.audio().map_or(0, |info| info.frame_samples)),
        }
    }
}

fn put_track<T>(tracks: &mut Vec<T>, known: Option<usize>, track: T) -> Result<()> {
    if let Some(slot) = known.and_then(|index| tracks.get_mut(index)) {
        *slot = track;
    } else if tracks.len() < MAX_TRACKS {
        tracks.push(track);
    } else {
        let value = tracks.len() as u64 + 1;
        return Err(Error::TooLarge { what: "number of tracks", value, limit: MAX_TRACKS as u64 });
    }
    Ok(())
}

const _: () = assert!(Timescale::VIDEO.get() as i64 == VIDEO_TICKS_PER_MS * 1_000);
