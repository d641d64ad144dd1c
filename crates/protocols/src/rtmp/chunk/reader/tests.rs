//! Chunks as peers write them, well and badly.

use bytes::BytesMut;

use super::*;
use crate::rtmp::chunk::write_message;

/// Reads `input` in one piece and byte by byte, which must agree.
fn read_all(input: &[u8]) -> Result<Vec<Message>, Error> {
    let whole = read_pieces(input.chunks(input.len().max(1)));
    let bytes = read_pieces(input.chunks(1));
    assert_eq!(whole.as_ref().map_err(Error::reason), bytes.as_ref().map_err(Error::reason));
    whole
}

fn read_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Message>, Error> {
    let mut reader = Reader::default();
    let mut messages = Vec::new();
    for mut piece in pieces {
        while let Some(message) = reader.read(&mut piece)? {
            if message.message_type == 1 {
                reader.set_chunk_size(u32::from_be_bytes(message.body[..].try_into().expect("four bytes")))?;
            }
            messages.push(message);
        }
        assert!(piece.is_empty());
    }
    Ok(messages)
}

/// Timestamp, type, message stream and body of each message.
fn check(input: &[&[u8]], expected: &[(u32, u8, u32, &[u8])]) {
    let messages = read_all(&input.concat()).expect("the chunks are well-formed");
    let read: Vec<_> =
        messages.iter().map(|m| (m.timestamp_ms, m.message_type, m.message_stream, &m.body[..])).collect();
    assert_eq!(read, expected);
}

fn check_error(input: &[&[u8]], reason: &str, text: &str) {
    let error = read_all(&input.concat()).expect_err(text);
    assert_eq!(error.reason(), reason, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

const TYPE_0: &[u8] = &[0x04, 0, 3, 232, 0, 0, 2, 8, 1, 0, 0, 0, 0xa1, 0xa2];

#[test]
fn the_four_header_types_of_the_specifications_example() {
    // RTMP 1.0, 5.3.2.1: audio with types 0, 2, 3, 3.
    let type_2 = &[0x84, 0, 0, 20, 0xb1, 0xb2];
    let type_3 = &[0xc4, 0xc1, 0xc2];
    check(
        &[TYPE_0, type_2, type_3, type_3],
        &[
            (1000, 8, 1, &[0xa1, 0xa2]),
            (1020, 8, 1, &[0xb1, 0xb2]),
            (1040, 8, 1, &[0xc1, 0xc2]),
            (1060, 8, 1, &[0xc1, 0xc2]),
        ],
    );
    let type_1 = &[0x44, 0, 0, 5, 0, 0, 1, 9, 0xd1];
    check(&[TYPE_0, type_1], &[(1000, 8, 1, &[0xa1, 0xa2]), (1005, 9, 1, &[0xd1])]);
}

#[test]
fn type_3_after_type_0_repeats_its_timestamp_as_delta() {
    // RTMP 1.0, 5.3.1.2.4.
    check(&[TYPE_0, &[0xc4, 1, 2]], &[(1000, 8, 1, &[0xa1, 0xa2]), (2000, 8, 1, &[1, 2])]);
}

#[test]
fn basic_headers_of_two_and_three_bytes() {
    let fields: &[u8] = &[0, 0, 1, 0, 0, 1, 8, 1, 0, 0, 0, 0xaa];
    for (basic, id) in [(&[0, 0][..], 64), (&[0, 255], 319), (&[1, 0, 1], 320), (&[1, 255, 255], 65_599)] {
        let messages = read_all(&[basic, fields].concat()).expect("well-formed");
        assert_eq!(messages.iter().map(|m| m.chunk_stream).collect::<Vec<_>>(), [id]);
    }
}

#[test]
fn messages_of_no_bytes() {
    let empty: &[u8] = &[0x04, 0, 0, 9, 0, 0, 0, 8, 1, 0, 0, 0];
    check(&[empty, &[0xc4]], &[(9, 8, 1, &[]), (18, 8, 1, &[])]);
}

#[test]
fn interleaved_chunk_streams_keep_apart() {
    // Video of 300 bytes in chunks of 128, audio of 200 bytes between them.
    let (video, audio) = ([0x11; 300], [0x22; 200]);
    let video_begin = [&[6, 0, 0, 1, 0, 1, 44, 9, 1, 0, 0, 0][..], &video[..128]].concat();
    let audio_begin = [&[4, 0, 0, 2, 0, 0, 200, 8, 1, 0, 0, 0][..], &audio[..128]].concat();
    let video_middle = [&[0xc6][..], &video[..128]].concat();
    let audio_end = [&[0xc4][..], &audio[..72]].concat();
    let video_end = [&[0xc6][..], &video[..44]].concat();
    check(
        &[&video_begin, &audio_begin, &video_middle, &audio_end, &video_end],
        &[(2, 8, 1, &audio), (1, 9, 1, &video)],
    );
}

#[test]
fn extended_timestamps_with_and_without_repetition() {
    let body = [7; 200];
    for timestamp in [0xff_fffe, 0xff_ffff, 0x100_0000, u32::MAX] {
        let mut out = BytesMut::new();
        write_message(&mut out, 128, 6, timestamp, 9, 1, &[&body]);
        check(&[&out], &[(timestamp, 9, 1, &body)]);
    }
    // The same without the timestamp in the type 3 chunk, at every length of what follows it.
    for length in 129..140 {
        let body = vec![7; length];
        let begin = [&[6, 255, 255, 255, 0, 0, length as u8, 9, 1, 0, 0, 0, 1, 0, 0, 0][..], &body[..128]].concat();
        let end = [&[0xc6][..], &body[128..]].concat();
        let next: &[u8] = &[0x86, 0, 0, 5, 8, 8, 8, 8];
        let input = [&begin[..], &end, next, &[9; 130]].concat();
        let messages = read_all(&input).expect("well-formed");
        assert_eq!(messages[0].timestamp_ms, 1 << 24);
        assert_eq!(messages[0].body, body, "length {length}");
    }
}

#[test]
fn extended_deltas_add_up() {
    let begin: &[u8] = &[6, 0, 0, 1, 0, 0, 1, 9, 1, 0, 0, 0, 0xaa];
    let delta: &[u8] = &[0x86, 255, 255, 255, 2, 0, 0, 0, 0xbb];
    let repeated: &[u8] = &[0xc6, 2, 0, 0, 0, 0xcc];
    check(&[begin, delta, repeated], &[(1, 9, 1, &[0xaa]), (0x200_0001, 9, 1, &[0xbb]), (0x400_0001, 9, 1, &[0xcc])]);
}

#[test]
fn timestamps_wrap() {
    let begin: &[u8] = &[6, 255, 255, 255, 0, 0, 1, 9, 1, 0, 0, 0, 255, 255, 255, 250, 0xaa];
    check(&[begin, &[0x86, 0, 0, 10, 0xbb]], &[(u32::MAX - 5, 9, 1, &[0xaa]), (4, 9, 1, &[0xbb])]);
}

#[test]
fn librtmp_may_begin_with_type_1() {
    check(&[&[0x42, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 9]], &[(0, 3, 0, &[0, 0, 0, 9])]);
}

#[test]
fn broken_chunks_name_the_cause() {
    check_error(&[&[0x84, 0, 0, 1, 5]], "chunk", "chunk stream 4");
    check_error(&[&[0xc4, 5]], "chunk", "begins without a message length");
    let cut: &[u8] = &[[4, 0, 0, 2, 0, 0, 200, 8, 1, 0, 0, 0].as_slice(), &[0; 128]].concat();
    check_error(&[cut, &[0x04, 0, 0, 2, 0, 0, 1, 8, 1, 0, 0, 0, 0]], "chunk", "unfinished");
    check_error(&[&[4, 0, 0, 0, 0xff, 0xff, 0xff, 20, 0, 0, 0, 0, 0]], "message_too_large", "16777215");
    check_error(&[&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]], "chunk_size", "chunk size of 0");
    check_error(&[&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x7f, 255, 255, 255]], "chunk_size", "2147483647");
    check_error(&[&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 1, 0, 0, 0]], "chunk_size", "16777216");
}

#[test]
fn the_number_of_chunk_streams_is_limited() {
    let begin = |id: usize| [&[0, id as u8][..], &[0, 0, 0, 0, 0, 1, 8, 1, 0, 0, 0, 0]].concat();
    let streams: Vec<_> = (0..LIMITS.chunk_streams).flat_map(begin).collect();
    assert_eq!(read_all(&streams).expect("within the limit").len(), LIMITS.chunk_streams);
    check_error(&[&streams, &begin(LIMITS.chunk_streams)], "chunk_streams", "more than 32 chunk streams");
}

#[test]
fn a_length_that_lies_reserves_little() {
    let mut reader = Reader::default();
    for id in 0..LIMITS.chunk_streams {
        let begin = [&[0, id as u8][..], &[0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0], &[0; 128]].concat();
        assert_eq!(reader.read(&mut &begin[..]), Ok(None));
    }
    assert_eq!(reader.partial_bytes(), LIMITS.chunk_streams * FIRST_RESERVE_BYTES);
}

#[test]
fn memory_follows_what_arrived_and_is_limited_in_total() {
    let mut reader = Reader::default();
    reader.set_chunk_size(CHUNK_SIZE_MAX).expect("the largest");
    let begin = |id: u8| [id, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0];
    reader.read(&mut &begin(4)[..]).expect("a header");
    let mut arrived = 0;
    for _ in 0..100 {
        arrived += reader.read(&mut &[0; 1000][..]).map(|_| 1000).expect("payload");
        assert!(reader.partial_bytes() <= (arrived * RESERVE_GROWTH).max(FIRST_RESERVE_BYTES));
    }

    // Three messages of 15 MiB, each but for its last byte.
    let mut reader = Reader::default();
    let mut input = Vec::new();
    for id in [4, 5, 6] {
        let chunks = (15 << 20) / 128 - 1;
        input.extend_from_slice(&[id, 0, 0, 0, 0xf0, 0, 0, 9, 1, 0, 0, 0]);
        input.extend_from_slice(&[0; 128]);
        (0..chunks - 1).for_each(|_| {
            input.push(0xc0 | id);
            input.extend_from_slice(&[0; 128]);
        });
    }
    let error = reader.read(&mut &input[..]).expect_err("over the limit");
    assert_eq!(error.reason(), "partial_messages");
    assert!(reader.partial_bytes() <= LIMITS.partial_bytes);
}

#[test]
fn an_aborted_message_is_forgotten() {
    let mut reader = Reader::default();
    let begin = [&[4, 0, 0, 2, 0, 0, 200, 8, 1, 0, 0, 0][..], &[0; 128]].concat();
    assert_eq!(reader.read(&mut &begin[..]), Ok(None));
    reader.abort(4);
    reader.abort(5);
    assert_eq!(reader.partial_bytes(), 0);
    let mut next = &[&[0xc4][..], &[1; 128], &[0xc4], &[1; 72]].concat()[..];
    let message = reader.read(&mut next).expect("well-formed").expect("a message");
    assert_eq!((message.timestamp_ms, message.body), (4, vec![1; 200].into()));
}

#[test]
fn the_message_buffer_is_exactly_the_message() {
    let mut reader = Reader::default();
    let mut out = BytesMut::new();
    write_message(&mut out, 128, 6, 0, 9, 1, &[&[1; 100_000]]);
    for mut piece in out.chunks(1000) {
        if let Some(message) = reader.read(&mut piece).expect("well-formed") {
            let vec = Vec::from(message.body);
            assert_eq!((vec.len(), vec.capacity()), (100_000, 100_000));
        }
    }
    assert_eq!(reader.partial_bytes(), 0);
}
