//! H.264: configuration records and access units. A canonical form is its own canonical form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use media::codec::avc;

fuzz_target!(|data: &[u8]| {
    let _ = avc::annexb_to_canonical(data, None);
    for split in [data.len(), data.len() / 2] {
        let (record, payload) = data.split_at(split);
        let Ok((config, length_size)) = avc::Config::from_record(record) else { continue };
        assert_eq!(avc::Config::from_record(&config.record), Ok((config.clone(), 4)));
        let Ok(unit) = avc::canonical(Bytes::copy_from_slice(payload), length_size, &config) else { continue };
        let again = avc::canonical(unit.payload.clone(), 4, &config).expect("a canonical form can be read");
        assert_eq!((again.payload, again.sync, again.parameter_sets), (unit.payload.clone(), unit.sync, None));
        let mut annexb = Vec::new();
        avc::write_annexb(&config, &unit.payload, unit.sync, &mut annexb);
        let _ = avc::annexb_to_canonical(&annexb, Some(&config));
    }
});
