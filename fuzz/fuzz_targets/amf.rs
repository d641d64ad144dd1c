//! AMF 0 and 3: whatever can be read can be written, and reads back as what it was.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocols::rtmp::amf;

fuzz_target!(|data: &[u8]| {
    if let Ok(values) = amf::read_all(data) {
        let written = |values: &[amf::Value]| {
            let mut out = BytesMut::new();
            values.iter().for_each(|value| amf::write(&mut out, value));
            out
        };
        // Byte arrays and references become undefined the first time; after that nothing changes. Compared as bytes: NaN is not equal to itself.
        let once = written(&values);
        let again = amf::read_all(&once).expect("what was written can be read");
        assert_eq!(written(&again), once);
    }
});
