//! Sound: AudioSpecificConfig, ADTS, and the headers of Opus and AC-3.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::codec::{aac, ac3, opus};

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = aac::Config::from_record(data) {
        assert_eq!(aac::Config::from_record(&config.record).as_ref(), Ok(&config));
        if let Ok(header) = aac::adts_header(&config, data.len()) {
            let parsed = aac::AdtsHeader::parse(&header).expect("our own header can be read");
            assert_eq!(parsed.frame_bytes, data.len() + aac::ADTS_HEADER_BYTES);
        }
    }
    if let Ok(header) = aac::AdtsHeader::parse(data) {
        let _ = aac::Config::from_adts(&header);
    }
    if let Ok(config) = opus::Config::from_head(data) {
        assert_eq!(opus::Config::from_dops(&config.dops()), Ok(config));
    }
    let _ = opus::packet_samples(data);
    if let Ok(config) = ac3::Config::from_packet(data) {
        assert_eq!(config.describes(data), Ok(true));
        assert!(ac3::packet_samples(data).is_ok_and(|samples| samples > 0));
    }
});
