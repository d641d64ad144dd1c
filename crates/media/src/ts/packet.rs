//! Transport packets (ISO/IEC 13818-1 2.4.3.2 to 2.4.3.5): PES packets cut into them, counters kept.

use super::{CLOCK_WRAP, PACKET_BYTES, SYNC_BYTE};

/// Bytes of a packet after its header.
pub(super) const PAYLOAD_BYTES: usize = PACKET_BYTES - 4;
/// Bytes of an adaptation field with a PCR: length, flags, six of PCR.
pub(super) const PCR_FIELD_BYTES: usize = 8;

const PAYLOAD_UNIT_START: u16 = 0x4000;
const HAS_ADAPTATION_FIELD: u8 = 0x20;
const HAS_PAYLOAD: u8 = 0x10;
const RANDOM_ACCESS: u8 = 0x40;
const PCR_FLAG: u8 = 0x10;

/// A PID being written.
#[derive(Debug)]
pub(super) struct Pid {
    number: u16,
    /// The next packet with payload has it.
    continuity: u8,
}

impl Pid {
    pub(super) fn new(number: u16) -> Self {
        Self { number, continuity: 0 }
    }

    fn put_header(&self, out: &mut Vec<u8>, start: bool, control: u8, continuity: u8) {
        let [high, low] = (self.number | if start { PAYLOAD_UNIT_START } else { 0 }).to_be_bytes();
        out.extend_from_slice(&[SYNC_BYTE, high, low, control | continuity & 0x0F]);
    }

    /// A packet that holds a whole section of up to 183 bytes.
    pub(super) fn put_section(&mut self, out: &mut Vec<u8>, section: &[u8]) {
        self.put_header(out, true, HAS_PAYLOAD, self.continuity);
        self.continuity = self.continuity.wrapping_add(1);
        out.push(0); // pointer_field
        out.extend_from_slice(section);
        stuff(out, PAYLOAD_BYTES.saturating_sub(1 + section.len()));
    }

    /// A packet with nothing but a PCR: it repeats the counter of the packet before it (2.4.3.3).
    pub(super) fn put_pcr(&self, out: &mut Vec<u8>, pcr: i64) {
        self.put_header(out, false, HAS_ADAPTATION_FIELD, self.continuity.wrapping_sub(1));
        put_adaptation_field(out, PAYLOAD_BYTES, PCR_FLAG, Some(pcr));
    }
}

/// One PES packet on its way into transport packets.
pub(super) struct PesWriter<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) pid: &'a mut Pid,
    /// For the first packet.
    pub(super) pcr: Option<i64>,
    /// For the first packet.
    pub(super) random_access: bool,
    /// Bytes of the PES packet still to come.
    pub(super) bytes_left: usize,
    /// Transport packets to spread them over: at least as many as they fill.
    pub(super) packets_left: usize,
    pub(super) started: bool,
    pub(super) room: usize,
}

impl PesWriter<'_> {
    /// Appends bytes of the PES packet; together they must come to the announced number.
    pub(super) fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.room == 0 {
                self.begin_packet();
            }
            let (now, later) = data.split_at(self.room.min(data.len()));
            self.out.extend_from_slice(now);
            self.room -= now.len();
            self.bytes_left -= now.len();
            data = later;
        }
    }

    /// Leaves at least one byte for each packet after this one.
    fn begin_packet(&mut self) {
        let first = !self.started;
        self.started = true;
        let pcr = self.pcr.take();
        let flags = if std::mem::take(&mut self.random_access) { RANDOM_ACCESS } else { 0 };
        let capacity = PAYLOAD_BYTES - field_bytes(pcr.is_some(), flags != 0);
        self.packets_left = self.packets_left.saturating_sub(1);
        self.room = capacity.min(self.bytes_left.saturating_sub(self.packets_left)).max(1);
        let field = PAYLOAD_BYTES - self.room;
        let control = if field > 0 { HAS_ADAPTATION_FIELD | HAS_PAYLOAD } else { HAS_PAYLOAD };
        self.pid.put_header(self.out, first, control, self.pid.continuity);
        self.pid.continuity = self.pid.continuity.wrapping_add(1);
        let flags = if pcr.is_some() { flags | PCR_FLAG } else { flags };
        put_adaptation_field(self.out, field, flags, pcr);
    }
}

/// Bytes an adaptation field takes for what it says.
pub(super) fn field_bytes(pcr: bool, random_access: bool) -> usize {
    match (pcr, random_access) {
        (true, _) => PCR_FIELD_BYTES,
        (false, true) => 2,
        (false, false) => 0,
    }
}

/// An adaptation field of `bytes` in all, stuffed to that size (2.4.3.4); none when that is zero.
fn put_adaptation_field(out: &mut Vec<u8>, bytes: usize, flags: u8, pcr: Option<i64>) {
    let Some(length) = bytes.checked_sub(1) else { return };
    out.push(length as u8);
    if length == 0 {
        return;
    }
    out.push(flags);
    let mut used = 2;
    if let Some(pcr) = pcr {
        let base = pcr.rem_euclid(CLOCK_WRAP) as u64;
        let field = base << 15 | 0x7E00; // six reserved bits, extension 0
        out.extend_from_slice(&field.to_be_bytes()[2..]);
        used += 6;
    }
    stuff(out, bytes.saturating_sub(used));
}

fn stuff(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, 0xFF);
}
