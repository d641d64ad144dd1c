//! FLV streams, the messages in them, and the way back.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use media::{
    Track, TrackKind,
    flv::{Demuxer, Muxer, Reader, Unit},
};

fuzz_target!(|data: &[u8]| {
    let (mut demuxer, muxer, mut out) = (Demuxer::new(), Muxer::new(), BytesMut::new());
    let mut tracks: [Option<Track>; 2] = [None, None];
    for piece in data.chunks(499) {
        demuxer.push(piece);
        while !demuxer.is_broken() {
            match demuxer.next_unit() {
                Ok(None) => break,
                Ok(Some((kind, Unit::Track { track, .. }))) => tracks[usize::from(kind == TrackKind::Audio)] = Some(track),
                Ok(Some((kind, Unit::Sample { sample, .. }))) => {
                    if let Some(track) = &tracks[usize::from(kind == TrackKind::Audio)] {
                        muxer.sample(track, &sample, &mut out);
                    }
                }
                Ok(Some((_, Unit::End))) | Err(_) => {}
            }
        }
    }
    // The same bytes as messages of one publisher, each behind its length.
    let (mut reader, mut rest) = (Reader::new(), Bytes::copy_from_slice(data));
    while rest.len() > 1 {
        let length = usize::from(rest.split_to(1)[0]).min(rest.len());
        let message = rest.split_to(length);
        let _ = (reader.read_video(7, message.clone()), reader.read_audio(7, message));
    }
});
