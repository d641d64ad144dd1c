//! PES packets out of transport packets (ISO/IEC 13818-1 2.4.3.6), and samples out of them.

use std::collections::VecDeque;

use base::{Timescale, time::rescale};
use bytes::Bytes;

use super::{CLOCK_WRAP, Event, psi::StreamType};
use crate::{
    CodecConfig, Error, Result, Sample, Track,
    codec::{
        aac::{self, AdtsHeader},
        avc, hevc,
    },
};

/// Largest PES packet, in bytes: one access unit of 50 Mbit/s video with a second of bits in its keyframe.
pub const PES_BYTES_MAX: usize = 8 << 20;

/// Turns 33-bit times into a line that goes on over the wrap; one for all streams of a program, so that they stay together.
#[derive(Debug, Default)]
pub(super) struct Unroller {
    last: Option<i64>,
}

impl Unroller {
    /// The time nearest to the last one that has these 33 bits.
    fn unroll(&mut self, time: i64) -> i64 {
        let Some(last) = self.last else {
            self.last = Some(time);
            return time;
        };
        let ahead = (time - last).rem_euclid(CLOCK_WRAP);
        let step = if ahead >= CLOCK_WRAP / 2 { ahead - CLOCK_WRAP } else { ahead };
        let time = last.saturating_add(step);
        self.last = Some(time);
        time
    }
}

/// Gathers one PID's PES packets.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    buffer: Vec<u8>,
    /// Between a beginning that was seen and a loss.
    active: bool,
}

impl Assembler {
    /// Begins a PES packet; gives the one before it.
    pub(super) fn begin(&mut self) -> Option<Vec<u8>> {
        let complete = std::mem::take(&mut self.buffer);
        let was_active = std::mem::replace(&mut self.active, true);
        (was_active && !complete.is_empty()).then_some(complete)
    }

    /// Adds to the PES packet; gives it when its length says that it is complete.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<Option<Vec<u8>>> {
        if !self.active {
            return Ok(None);
        }
        let bytes = self.buffer.len() + payload.len();
        if bytes > PES_BYTES_MAX {
            self.abandon();
            return Err(Error::TooLarge { what: "PES packet", value: bytes as u64, limit: PES_BYTES_MAX as u64 });
        }
        self.buffer.extend_from_slice(payload);
        let announced = match self.buffer.get(4..6) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        };
        if announced == 0 || self.buffer.len() < announced + 6 {
            return Ok(None);
        }
        self.buffer.truncate(announced + 6);
        self.active = false;
        Ok(Some(std::mem::take(&mut self.buffer)))
    }

    /// Forgets the PES packet: a part of it is lost.
    pub(super) fn abandon(&mut self) {
        self.buffer = Vec::new();
        self.active = false;
    }

    /// The stream is at its end.
    pub(super) fn finish(&mut self) -> Option<Vec<u8>> {
        self.active = std::mem::take(&mut self.active) && !self.buffer.is_empty();
        std::mem::take(&mut self.active).then(|| std::mem::take(&mut self.buffer))
    }
}

/// A PES packet's times, unrolled, and payload.
struct Pes<'a> {
    pts: Option<i64>,
    dts: Option<i64>,
    payload: &'a [u8],
}

impl<'a> Pes<'a> {
    fn parse(data: &'a [u8], unroller: &mut Unroller) -> Result<Self> {
        const WHAT: &str = "PES packet header";
        let truncated = |need| Error::Truncated { what: WHAT, need, have: data.len() };
        let Some((&[0, 0, 1, _, _, _, marker, flags, header_data], rest)) = data.split_first_chunk() else {
            return Err(if data.len() < 9 { truncated(9) } else { Error::invalid(WHAT, "no start code prefix") });
        };
        if marker >> 6 != 0b10 {
            return Err(Error::invalid(WHAT, "no marker bits"));
        }
        let (header, payload) =
            rest.split_at_checked(header_data.into()).ok_or_else(|| truncated(9 + usize::from(header_data)))?;
        let pts = (flags & 0x80 != 0).then(|| time_stamp(header)).flatten();
        let dts = (flags & 0xC0 == 0xC0).then(|| time_stamp(header.get(5..).unwrap_or_default())).flatten();
        // The decoding time first: it is the one that goes on evenly.
        let dts = dts.or(pts).map(|t| unroller.unroll(t));
        let pts = pts.zip(dts).map(|(pts, dts)| dts + (pts - dts).rem_euclid(CLOCK_WRAP));
        Ok(Self { pts, dts, payload })
    }
}

fn time_stamp(data: &[u8]) -> Option<i64> {
    let [a, b, c, d, e] = *data.first_chunk::<5>()?;
    let word = |high: u8, low: u8| i64::from(u16::from_be_bytes([high, low]) >> 1);
    Some(i64::from(a >> 1 & 7) << 30 | word(b, c) << 15 | word(d, e))
}

/// One elementary stream on its way to samples.
#[derive(Debug)]
pub(super) struct Elementary {
    pid: u16,
    stream_type: StreamType,
    config: Option<CodecConfig>,
    aac: AacClock,
}

/// What AAC needs from one PES packet to the next.
#[derive(Debug, Default)]
struct AacClock {
    /// The beginning of a frame that goes on in the next PES packet.
    carry: Vec<u8>,
    /// Where the next frame begins, in ticks of the sample rate.
    next: Option<i64>,
}

impl Elementary {
    pub(super) fn new(pid: u16, stream_type: StreamType) -> Self {
        Self { pid, stream_type, config: None, aac: AacClock::default() }
    }

    /// Whether this reader makes samples of the type.
    pub(super) fn reads(stream_type: StreamType) -> bool {
        matches!(stream_type, StreamType::Avc | StreamType::Hevc | StreamType::Aac)
    }

    pub(super) fn is(&self, pid: u16, stream_type: StreamType) -> bool {
        (self.pid, self.stream_type) == (pid, stream_type)
    }

    /// Reads a PES packet.
    pub(super) fn read(&mut self, data: &[u8], unroller: &mut Unroller, events: &mut VecDeque<Event>) -> Result<()> {
        let pes = Pes::parse(data, unroller)?;
        match self.stream_type {
            StreamType::Aac => self.read_aac(&pes, events),
            _ => self.read_video(&pes, events),
        }
    }

    /// A loss: what was carried over has no continuation.
    pub(super) fn lose(&mut self) {
        self.aac = AacClock::default();
    }

    /// One PES packet is one access unit, as RFC 8216 3.2 and every live encoder have it.
    fn read_video(&mut self, pes: &Pes, events: &mut VecDeque<Event>) -> Result<()> {
        let (Some(pts), Some(dts)) = (pes.pts, pes.dts) else {
            return Err(Error::invalid("PES packet header", "an access unit without PTS"));
        };
        let (payload, sync, config) = match self.stream_type {
            StreamType::Hevc => {
                let current = if let Some(CodecConfig::Hevc(config)) = &self.config { Some(config) } else { None };
                let unit = hevc::annexb_to_canonical(pes.payload, current)?;
                (unit.payload, unit.sync, unit.parameter_sets.map(CodecConfig::Hevc))
            }
            _ => {
                let current = if let Some(CodecConfig::Avc(config)) = &self.config { Some(config) } else { None };
                let unit = avc::annexb_to_canonical(pes.payload, current)?;
                (unit.payload, unit.sync, unit.parameter_sets.map(CodecConfig::Avc))
            }
        };
        if let Some(config) = config {
            self.configure(config, events);
        }
        if self.config.is_some() && !payload.is_empty() {
            let cts_offset = i32::try_from(pts - dts).unwrap_or(0);
            let sample = Sample { dts, cts_offset, duration: 0, sync, payload };
            events.push_back(Event::Sample { pid: self.pid, sample });
        }
        Ok(())
    }

    fn configure(&mut self, config: CodecConfig, events: &mut VecDeque<Event>) {
        if self.config.as_ref() != Some(&config) {
            events.push_back(Event::Track { pid: self.pid, track: Track::new(config.clone()) });
            self.config = Some(config);
        }
    }

    /// Frames may go over PES packets; a PTS is that of the first frame that begins in its packet (2.4.3.7).
    fn read_aac(&mut self, pes: &Pes, events: &mut VecDeque<Event>) -> Result<()> {
        let mut data = std::mem::take(&mut self.aac.carry);
        let carried = data.len();
        data.extend_from_slice(pes.payload);
        let mut pts = pes.pts;
        let mut at = 0;
        let mut outcome = Ok(());
        while let Some(rest) = data.get(at..).filter(|rest| rest.len() >= aac::ADTS_HEADER_BYTES) {
            let header = match AdtsHeader::parse(rest) {
                Ok(header) => header,
                Err(error) => {
                    outcome = Err(error);
                    at += 1 + rest.iter().skip(1).position(|&byte| byte == 0xFF).unwrap_or(rest.len() - 1);
                    continue;
                }
            };
            let Some(frame) = rest.get(header.header_bytes..header.frame_bytes) else { break };
            let pts = if at >= carried { pts.take() } else { None };
            if let Err(error) = self.read_frame(&header, frame, pts, events) {
                outcome = Err(error);
            }
            at += header.frame_bytes;
        }
        // Shorter than one ADTS frame: a longer one would have been complete.
        self.aac.carry = data.split_off(at.min(data.len()));
        outcome
    }

    fn read_frame(
        &mut self,
        header: &AdtsHeader,
        frame: &[u8],
        pts: Option<i64>,
        events: &mut VecDeque<Event>,
    ) -> Result<()> {
        if header.raw_data_blocks != 1 {
            return Err(Error::Unsupported(format!("ADTS with {} raw_data_blocks", header.raw_data_blocks)));
        }
        let config = aac::Config::from_adts(header)?;
        let (rate, duration) = (config.sample_rate, config.frame_samples);
        let timescale = Timescale::new(rate).ok_or_else(|| Error::invalid("ADTS header", "sample rate 0"))?;
        let config = CodecConfig::Aac(config);
        if self.config.as_ref() != Some(&config) {
            self.aac.next = None;
        }
        let Some(dts) = self.aac.time(pts.map(|t| rescale(t, Timescale::VIDEO, timescale)), duration) else {
            return Ok(());
        };
        self.configure(config, events);
        let payload = Bytes::copy_from_slice(frame);
        let sample = Sample { dts, cts_offset: 0, duration, sync: true, payload };
        events.push_back(Event::Sample { pid: self.pid, sample });
        Ok(())
    }
}

impl AacClock {
    /// Counts frames exactly, and follows the stream's times only when they differ by more than half a frame: 90 kHz cannot tell
    /// a frame of 44.1 kHz. `None` until there is a time.
    fn time(&mut self, told: Option<i64>, duration: u32) -> Option<i64> {
        let time = match (self.next, told) {
            (Some(next), Some(told)) if (next - told).unsigned_abs() > u64::from(duration / 2) => told,
            (Some(next), _) => next,
            (None, told) => told?,
        };
        self.next = Some(time.saturating_add(duration.into()));
        Some(time)
    }
}
