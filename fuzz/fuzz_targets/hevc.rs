//! H.265: configuration records and access units. A canonical form is its own canonical form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use media::codec::hevc;

fuzz_target!(|data: &[u8]| {
    let _ = hevc::annexb_to_canonical(data, None);
    for split in [data.len(), data.len() / 2] {
        let (record, payload) = data.split_at(split);
        let Ok((config, length_size)) = hevc::Config::from_record(record) else { continue };
        assert_eq!(hevc::Config::from_record(&config.record), Ok((config.clone(), 4)));
        let Ok(unit) = hevc::canonical(Bytes::copy_from_slice(payload), length_size, &config) else { continue };
        let again = hevc::canonical(unit.payload.clone(), 4, &config).expect("a canonical form can be read");
        assert_eq!((again.payload, again.sync, again.parameter_sets), (unit.payload.clone(), unit.sync, None));
        let mut annexb = Vec::new();
        hevc::write_annexb(&config, &unit.payload, unit.sync, &mut annexb);
        let _ = hevc::annexb_to_canonical(&annexb, Some(&config));
    }
});
