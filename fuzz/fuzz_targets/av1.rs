//! AV1: configuration records and temporal units. A canonical form is its own canonical form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use media::codec::av1;

fuzz_target!(|data: &[u8]| {
    let _ = av1::Config::from_sequence_header(data);
    let config = av1::Config::from_record(data).ok();
    if let Some(config) = &config {
        assert_eq!(av1::Config::from_record(&config.record).as_ref(), Ok(config));
    }
    if let Ok(unit) = av1::canonical(Bytes::copy_from_slice(data), config.as_ref()) {
        let again = av1::canonical(unit.payload.clone(), config.as_ref()).expect("a canonical form can be read");
        assert_eq!((again.payload, again.sync), (unit.payload, unit.sync));
    }
});
