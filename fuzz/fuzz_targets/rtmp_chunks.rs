//! The chunk reader: the same messages however the input is cut, and never more memory than the limits allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::rtmp::{
    Error,
    chunk::{LIMITS, Message, Reader},
};

fuzz_target!(|data: &[u8]| {
    let Some((first, input)) = data.split_first() else { return };
    let whole = read(input, input.len().max(1));
    assert_eq!(whole, read(input, usize::from(*first).max(1)));
});

fn read(input: &[u8], piece_bytes: usize) -> (Vec<Message>, Option<&'static str>) {
    let mut reader = Reader::default();
    let mut messages = Vec::new();
    let result = input.chunks(piece_bytes).try_for_each(|piece| read_piece(&mut reader, piece, &mut messages));
    assert!(reader.partial_bytes() <= LIMITS.partial_bytes);
    (messages, result.err().map(|error| error.reason()))
}

fn read_piece(reader: &mut Reader, mut piece: &[u8], messages: &mut Vec<Message>) -> Result<(), Error> {
    while let Some(message) = reader.read(&mut piece)? {
        match (message.message_type, message.body.first_chunk().copied().map(u32::from_be_bytes)) {
            (1, Some(size)) => reader.set_chunk_size(size)?,
            (2, Some(chunk_stream)) => reader.abort(chunk_stream),
            _ => {}
        }
        messages.push(message);
    }
    Ok(())
}
