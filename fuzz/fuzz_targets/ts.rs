//! MPEG-TS: packets, tables, PES packets and the access units in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::ts;

fuzz_target!(|data: &[u8]| {
    let mut demuxer = ts::Demuxer::new();
    for piece in data.chunks(501) {
        demuxer.push(piece);
        while demuxer.poll().is_some() {}
    }
    demuxer.finish();
    while demuxer.poll().is_some() {}
});
