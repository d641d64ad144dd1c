//! A transport stream as it arrives: packets, tables, PES packets, samples.

use std::collections::VecDeque;

use super::{
    PACKET_BYTES, SYNC_BYTE,
    pes::{Assembler, Elementary, Unroller},
    psi::{PAT_PID, SECTION_BYTES_MAX, StreamType, Table, read_section},
};
use crate::{Error, Result, Sample, Track};

/// Most elementary streams of a program that are read.
pub const STREAMS_MAX: usize = 16;

/// What came out of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The program's elementary streams; again when they change.
    Program(Vec<(u16, StreamType)>),
    /// A stream's configuration, before its samples; again when it changes.
    Track {
        /// Of the elementary stream.
        pid: u16,
        /// In 90 kHz for video, the sample rate for audio.
        track: Track,
    },
    /// A sample in canonical form. Times begin at the stream's own and go on over the wrap of 2^33; a video's duration is zero.
    Sample {
        /// Of the elementary stream.
        pid: u16,
        /// Of the last [`Event::Track`] with this PID.
        sample: Sample,
    },
}

/// What went wrong so far; none of it ends the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets read.
    pub packets: u64,
    /// Bytes passed over in search of a packet's beginning.
    pub skipped_bytes: u64,
    /// Packets marked as broken or scrambled.
    pub unreadable_packets: u64,
    /// Places where a continuity counter tells a loss.
    pub continuity_errors: u64,
    /// Tables, PES packets and frames that could not be read.
    pub broken_units: u64,
}

/// Reads the first program of a transport stream: H.264, H.265 and AAC in ADTS. Push bytes as they come, then take the events.
///
/// Loss and damage are counted and passed over. Memory is bounded by [`PES_BYTES_MAX`](super::PES_BYTES_MAX) for each of
/// [`STREAMS_MAX`] streams, and what was pushed since the last [`Demuxer::poll`].
#[derive(Debug, Default)]
pub struct Demuxer {
    /// Less than two packets between pushes.
    buffer: Vec<u8>,
    synced: bool,
    pat: SectionBuffer,
    pmt: SectionBuffer,
    pmt_pid: Option<u16>,
    program: Vec<(u16, StreamType)>,
    streams: Vec<Stream>,
    unroller: Unroller,
    events: VecDeque<Event>,
    stats: Stats,
    last_error: Option<Error>,
}

#[derive(Debug)]
struct Stream {
    pid: u16,
    continuity: Option<u8>,
    assembler: Assembler,
    elementary: Elementary,
}

impl Demuxer {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they come, cut anywhere.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        while let Some(rest) = buffer.get(at..) {
            let Some(packet) = rest.first_chunk::<PACKET_BYTES>() else { break };
            if self.begins_packet(rest) {
                let Some(_) = rest.get(PACKET_BYTES).or(self.synced.then_some(&SYNC_BYTE)) else { break };
                self.synced = true;
                self.read_packet(packet);
                at += PACKET_BYTES;
            } else {
                let skip = 1 + rest.iter().skip(1).position(|&b| b == SYNC_BYTE).unwrap_or(rest.len() - 1);
                self.synced = false;
                self.stats.skipped_bytes += skip as u64;
                at += skip;
            }
        }
        self.buffer = buffer.get(at..).unwrap_or_default().to_vec();
    }

    /// The next event, in the order of the stream.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Says that no more bytes come: the last PES packets, which only the next ones would have ended, are read.
    pub fn finish(&mut self) {
        if let Some(packet) = self.buffer.first_chunk::<PACKET_BYTES>().copied()
            && packet.first() == Some(&SYNC_BYTE)
        {
            self.read_packet(&packet);
        }
        self.buffer.clear();
        for i in 0..self.streams.len() {
            let complete = self.streams.get_mut(i).and_then(|s| s.assembler.finish());
            self.read_pes(i, complete);
        }
    }

    /// What went wrong so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The last thing that could not be read, for a log line.
    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }

    /// While searching, one sync byte is not enough: the next packet must begin with another.
    fn begins_packet(&self, rest: &[u8]) -> bool {
        let next = rest.get(PACKET_BYTES).unwrap_or(&SYNC_BYTE);
        rest.first() == Some(&SYNC_BYTE) && (self.synced || *next == SYNC_BYTE)
    }

    fn read_packet(&mut self, packet: &[u8; PACKET_BYTES]) {
        self.stats.packets += 1;
        let Some(packet) = Packet::parse(packet) else {
            self.stats.unreadable_packets += 1;
            return;
        };
        if packet.pid == PAT_PID {
            self.read_pat(&packet);
        } else if Some(packet.pid) == self.pmt_pid {
            self.read_pmt(&packet);
        } else if let Some(i) = self.streams.iter().position(|s| s.pid == packet.pid) {
            self.read_stream(i, &packet);
        }
    }

    fn read_pat(&mut self, packet: &Packet) {
        let table = self.pat.add(packet);
        if let Some(Table::Pat { pmt_pid }) = self.note(table).flatten()
            && self.pmt_pid != Some(pmt_pid)
        {
            self.pmt_pid = Some(pmt_pid);
            self.pmt = SectionBuffer::default();
        }
    }

    fn read_pmt(&mut self, packet: &Packet) {
        let table = self.pmt.add(packet);
        let Some(Table::Pmt { mut streams }) = self.note(table).flatten() else { return };
        streams.truncate(STREAMS_MAX);
        if streams == self.program {
            return;
        }
        let mut before = std::mem::take(&mut self.streams);
        for &(pid, stream_type) in streams.iter().filter(|(_, stream_type)| Elementary::reads(*stream_type)) {
            let same = before.iter().position(|s| s.elementary.is(pid, stream_type));
            let stream = same.map_or_else(|| Stream::new(pid, stream_type), |i| before.swap_remove(i));
            self.streams.push(stream);
        }
        self.program.clone_from(&streams);
        self.events.push_back(Event::Program(streams));
    }

    fn read_stream(&mut self, i: usize, packet: &Packet) {
        let Some(stream) = self.streams.get_mut(i) else { return };
        match stream.follow(packet) {
            Continuity::Repeated => return,
            Continuity::Lost => self.stats.continuity_errors += 1,
            Continuity::Good => {}
        }
        if packet.payload.is_empty() {
            return;
        }
        if packet.start {
            let complete = stream.assembler.begin();
            self.read_pes(i, complete);
        }
        let Some(stream) = self.streams.get_mut(i) else { return };
        let complete = stream.assembler.add(packet.payload);
        let complete = self.note(complete).flatten();
        self.read_pes(i, complete);
    }

    fn read_pes(&mut self, i: usize, data: Option<Vec<u8>>) {
        if let (Some(data), Some(stream)) = (data, self.streams.get_mut(i)) {
            let read = stream.elementary.read(&data, &mut self.unroller, &mut self.events);
            self.note(read);
        }
    }

    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.stats.broken_units += 1;
                self.last_error = Some(error.clone());
            })
            .ok()
    }
}

/// What a continuity counter says (2.4.3.3).
enum Continuity {
    Good,
    Repeated,
    Lost,
}

impl Stream {
    fn new(pid: u16, stream_type: StreamType) -> Self {
        Self { pid, continuity: None, assembler: Assembler::default(), elementary: Elementary::new(pid, stream_type) }
    }

    fn follow(&mut self, packet: &Packet) -> Continuity {
        if packet.payload.is_empty() {
            return Continuity::Good;
        }
        match self.continuity.replace(packet.continuity) {
            Some(last) if last == packet.continuity && !packet.discontinuity => Continuity::Repeated,
            Some(last) if (last + 1) & 0x0F != packet.continuity && !packet.discontinuity => {
                self.assembler.abandon();
                self.elementary.lose();
                Continuity::Lost
            }
            _ => Continuity::Good,
        }
    }
}

/// A transport packet's header and payload (2.4.3.2).
struct Packet<'a> {
    pid: u16,
    start: bool,
    continuity: u8,
    discontinuity: bool,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` for a packet marked as broken or scrambled, or whose adaptation field is too long.
    fn parse(packet: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        let (&[_, flags, pid_low, control], rest) = packet.split_first_chunk()?;
        let broken = flags & 0x80 != 0;
        let scrambled = control & 0xC0 != 0;
        if broken || scrambled {
            return None;
        }
        let (field, payload) = match control & 0x20 {
            0 => (&[][..], rest),
            _ => rest.split_first().and_then(|(&length, rest)| rest.split_at_checked(length.into()))?,
        };
        Some(Self {
            pid: u16::from_be_bytes([flags & 0x1F, pid_low]),
            start: flags & 0x40 != 0,
            continuity: control & 0x0F,
            discontinuity: field.first().is_some_and(|flags| flags & 0x80 != 0),
            payload: if control & 0x10 != 0 { payload } else { &[] },
        })
    }
}

/// Gathers the sections of one PID (2.4.4.1).
#[derive(Debug, Default)]
struct SectionBuffer {
    buffer: Vec<u8>,
    active: bool,
    /// The last section read: tables are repeated many times a second.
    last: Vec<u8>,
}

impl SectionBuffer {
    /// The table, when the packet completes one that differs from the last.
    fn add(&mut self, packet: &Packet) -> Result<Option<Table>> {
        let mut payload = packet.payload;
        if packet.start {
            let Some((&pointer, rest)) = payload.split_first() else { return Ok(None) };
            self.buffer.clear();
            self.active = true;
            payload = rest.get(usize::from(pointer)..).unwrap_or_default();
        }
        if !self.active {
            return Ok(None);
        }
        self.buffer.extend_from_slice(payload);
        let Some(&[_, high, low]) = self.buffer.first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high & 0x0F, low]));
        if length > SECTION_BYTES_MAX {
            self.active = false;
            return Err(Error::TooLarge { what: "section", value: length as u64, limit: SECTION_BYTES_MAX as u64 });
        }
        let Some(section) = self.buffer.get(..3 + length) else { return Ok(None) };
        self.active = false;
        if section == self.last {
            return Ok(None);
        }
        let table = read_section(section)?;
        self.last = section.to_vec();
        Ok(table)
    }
}
