//! Messages to chunks.

use bytes::{BufMut, BytesMut};

use super::EXTENDED_TIMESTAMP;

/// Longest chunk header: a basic header of 3 bytes, a message header of 11, an extended timestamp of 4.
const HEADER_BYTES_MAX: usize = 18;

/// Appends a message, made of `parts` one after another, cut into chunks of `chunk_size` bytes.
///
/// Without state: the first chunk always has a header of type 0, so that the same bytes can be sent to every player with the
/// same chunk size and message stream. A chunk size of 0 counts as 1.
///
/// `chunk_stream` is 2 to 65,599. A message longer than 2^24-1 bytes cannot be expressed; nothing is written for it.
pub fn write_message(
    out: &mut BytesMut,
    chunk_size: usize,
    chunk_stream: u32,
    timestamp_ms: u32,
    message_type: u8,
    message_stream: u32,
    parts: &[&[u8]],
) {
    let chunk_size = chunk_size.max(1);
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let Some(length_field) = u32::try_from(length).ok().filter(|length| *length <= 0xff_ffff) else { return };
    let extended = (timestamp_ms >= EXTENDED_TIMESTAMP).then_some(timestamp_ms);

    out.reserve(length + HEADER_BYTES_MAX + length / chunk_size * 7);
    write_basic_header(out, 0, chunk_stream);
    out.put_uint(u64::from(timestamp_ms.min(EXTENDED_TIMESTAMP)), 3);
    out.put_uint(u64::from(length_field), 3);
    out.put_u8(message_type);
    out.put_u32_le(message_stream);
    extended.into_iter().for_each(|timestamp| out.put_u32(timestamp));

    let mut room = chunk_size;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            if room == 0 {
                write_basic_header(out, 3, chunk_stream);
                extended.into_iter().for_each(|timestamp| out.put_u32(timestamp));
                room = chunk_size;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            out.put_slice(now);
            room -= now.len();
            rest = later;
        }
    }
}

/// RTMP 1.0, 5.3.1.1.
fn write_basic_header(out: &mut BytesMut, format: u8, chunk_stream: u32) {
    let format = format << 6;
    match chunk_stream {
        0..64 => out.put_u8(format | chunk_stream as u8),
        64..320 => out.put_slice(&[format, (chunk_stream - 64) as u8]),
        _ => {
            out.put_u8(format | 1);
            out.put_u16_le((chunk_stream - 64) as u16);
        }
    }
}
