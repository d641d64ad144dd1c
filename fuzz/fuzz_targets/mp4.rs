//! ISO-BMFF: initialisation segments, fragments, and both through the push demuxer in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::mp4;

fuzz_target!(|data: &[u8]| {
    let whole = bytes::Bytes::copy_from_slice(data);
    let _ = mp4::read_init(&whole);
    let _ = mp4::read_chunks(&whole);
    let mut demuxer = mp4::Demuxer::new();
    for piece in data.chunks(61) {
        if demuxer.push(piece).is_err() {
            break;
        }
        while demuxer.poll().is_some() {}
    }
    let _ = demuxer.finish();
});
