//! Configuration records and access units of every codec.

use bytes::Bytes;
use media::{
    CodecConfig, Error,
    codec::{VideoInfo, aac, ac3, av1, avc, hevc, opus, vp9},
};
use proptest::prelude::*;

use crate::codec_golden::*;

fn avc_config(record: &str) -> avc::Config {
    avc::Config::from_record(&hex(record)).expect("a record of an encoder").0
}

fn hevc_config(record: &str) -> hevc::Config {
    hevc::Config::from_record(&hex(record)).expect("a record of an encoder").0
}

/// NAL units behind lengths of `size` bytes.
fn lengths(size: usize, nals: &[&[u8]]) -> Bytes {
    nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[4 - size..], nal].concat()).collect()
}

fn start_codes(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}

/// Whether `part` lies in the memory of `whole`.
fn shares_memory(part: &Bytes, whole: &Bytes) -> bool {
    whole.as_ptr_range().contains(&part.as_ptr())
}

#[test]
fn avc_records_of_encoders() {
    let check = |record: &str, codec: &str, size: (u32, u32), frame_rate| {
        let (config, length_size) = avc::Config::from_record(&hex(record)).unwrap();
        assert_eq!((config.rfc6381().as_str(), length_size), (codec, 4));
        assert_eq!(config.info, VideoInfo { width: size.0, height: size.1, frame_rate });
        assert_eq!(to_hex(&config.record), record);
        assert_eq!(avc::Config::from_parameter_sets(config.sps.clone(), config.pps.clone()), Ok(config));
    };
    check(AVC_X264_HIGH, "avc1.64000D", (320, 180), Some((30, 1)));
    check(AVC_X264_BASELINE, "avc1.42C00D", (320, 180), Some((30, 1)));
    check(AVC_X264_HIGH10_INTERLACED, "avc1.6E0028", (1920, 1080), Some((30_000, 1_001)));
}

#[test]
fn avc_records_are_normalised() {
    let want = avc_config(AVC_X264_HIGH);
    let mut short_lengths = hex(AVC_X264_HIGH);
    short_lengths[4] = 0xFD;
    assert_eq!(avc::Config::from_record(&short_lengths), Ok((want.clone(), 2)));
    // Encoders that leave out the fields for high profiles.
    let bare = hex(AVC_X264_HIGH);
    assert_eq!(avc::Config::from_record(&bare[..bare.len() - 4]), Ok((want, 4)));
}

#[test]
fn avc_records_that_cannot_be_used_say_why() {
    let check = |index: usize, byte: u8, want: &str| {
        let mut record = hex(AVC_X264_HIGH);
        record[index] = byte;
        assert_eq!(avc::Config::from_record(&record).unwrap_err().to_string(), want);
    };
    check(0, 0, "AVCDecoderConfigurationRecord: configurationVersion 0, not 1");
    check(4, 0xFE, "AVCDecoderConfigurationRecord: lengthSizeMinusOne 2");
    check(5, 0xE0, "SPS: there is none");
    check(6, 5, "AVCDecoderConfigurationRecord ends after 47 bytes, before its 1314");
    check(8, 0x68, "SPS: a NAL unit of another type, beginning [68, 64]");
    check(34, 0, "PPS: there is none");
    assert!(matches!(avc::Config::from_record(&[]), Err(Error::Truncated { .. })));
}

const SLICE: &[u8] = &[0x41, 0x9A, 1, 2, 3];
const IDR: &[u8] = &[0x65, 0x88, 4, 5, 6, 7];
const SEI: &[u8] = &[0x06, 5, 1, 0x80];
const AUD: &[u8] = &[0x09, 0xF0];
const FILLER: &[u8] = &[0x0C, 0xFF, 0x80];

#[test]
fn avc_access_units_in_canonical_form_are_not_copied() {
    let config = avc_config(AVC_X264_HIGH);
    let check = |nals: &[&[u8]], kept: &[&[u8]], sync: bool| {
        let payload = lengths(4, nals);
        let unit = avc::canonical(payload.clone(), 4, &config).unwrap();
        assert_eq!((unit.payload.clone(), unit.sync), (lengths(4, kept), sync));
        assert!(shares_memory(&unit.payload, &payload));
        assert_eq!(unit.parameter_sets, None);
    };
    check(&[IDR], &[IDR], true);
    check(&[SEI, SLICE, SLICE], &[SEI, SLICE, SLICE], false);
    // What stands in front is cut off without a copy.
    check(&[AUD, &config.sps[0], &config.pps[0], SEI, IDR], &[SEI, IDR], true);
    check(&[AUD, SLICE], &[SLICE], false);
}

#[test]
fn avc_access_units_in_other_forms_are_rebuilt() {
    let config = avc_config(AVC_X264_HIGH);
    let check = |size: u8, nals: &[&[u8]], kept: &[&[u8]], sync: bool| {
        let unit = avc::canonical(lengths(size.into(), nals), size, &config).unwrap();
        assert_eq!((unit.payload, unit.sync, unit.parameter_sets), (lengths(4, kept), sync, None));
    };
    check(1, &[AUD, SEI, IDR], &[SEI, IDR], true);
    check(2, &[SLICE, SLICE], &[SLICE, SLICE], false);
    check(4, &[SEI, &config.sps[0], IDR, FILLER], &[SEI, IDR], true);
    check(4, &[IDR, &[], SLICE], &[IDR, SLICE], true);
    // No picture, no sample.
    check(4, &[SEI], &[], false);
    check(4, &[&config.sps[0], &config.pps[0]], &[], false);
    check(4, &[], &[], false);
}

#[test]
fn avc_in_band_parameter_sets_change_the_configuration_only_when_they_differ() {
    let high = avc_config(AVC_X264_HIGH);
    let baseline = avc_config(AVC_X264_BASELINE);
    let unit = avc::canonical(lengths(4, &[&baseline.sps[0], &baseline.pps[0], IDR]), 4, &high).unwrap();
    assert_eq!(unit.parameter_sets, Some(baseline.clone()), "the ids are the same: the new sets replace the old");
    assert_eq!(unit.payload, lengths(4, &[IDR]));

    // pic_parameter_set_id 1: one more set.
    let second_pps: &[u8] = &[0x68, 0x5A, 0xE3, 0xCB];
    let unit = avc::canonical(lengths(4, &[second_pps, SLICE]), 4, &high).unwrap();
    let changed = unit.parameter_sets.expect("a new set");
    assert_eq!(changed.pps, [high.pps[0].clone(), Bytes::from_static(second_pps)]);
    let again = avc::canonical(lengths(4, &[second_pps, SLICE]), 4, &changed).unwrap();
    assert_eq!(again.parameter_sets, None);
}

#[test]
fn avc_lengths_that_lie_are_errors() {
    let config = avc_config(AVC_X264_HIGH);
    let whole = lengths(4, &[SEI, IDR]);
    for end in 1..whole.len() {
        let got = avc::canonical(whole.slice(..end), 4, &config);
        match end {
            8 => assert_eq!(got.map(|unit| unit.payload), Ok(Bytes::new()), "the SEI alone"),
            _ => assert!(matches!(got, Err(Error::Truncated { .. })), "{end} bytes"),
        }
    }
    let huge = Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFF, 0x65]);
    assert!(avc::canonical(huge, 4, &config).is_err());
}

#[test]
fn avc_annex_b_there_and_back() {
    let config = avc_config(AVC_X264_HIGH);
    let (sps, pps) = (&config.sps[0], &config.pps[0]);
    let check = |payload: Bytes, sync: bool, want: &[&[u8]]| {
        let mut out = Vec::new();
        avc::write_annexb(&config, &payload, sync, &mut out);
        assert_eq!(to_hex(&out), to_hex(&start_codes(want)));
        let back = avc::annexb_to_canonical(&out, Some(&config)).unwrap();
        assert_eq!((back.payload, back.sync, back.parameter_sets), (payload, sync, None));
    };
    check(lengths(4, &[SEI, IDR]), true, &[AUD, sps, pps, SEI, IDR]);
    check(lengths(4, &[SLICE, SLICE]), false, &[AUD, SLICE, SLICE]);
}

#[test]
fn avc_annex_b_brings_its_own_configuration() {
    let config = avc_config(AVC_X264_HIGH);
    let stream = start_codes(&[AUD, &config.sps[0], &config.pps[0], IDR]);
    assert_eq!(avc::annexb_to_canonical(&stream, None).unwrap().parameter_sets, Some(config.clone()));
    let half = start_codes(&[AUD, &config.sps[0], IDR]);
    assert_eq!(avc::annexb_to_canonical(&half, None).unwrap().parameter_sets, None);
}

#[test]
fn hevc_records_of_encoders() {
    let check = |record: &str, codec: &str, size: (u32, u32), frame_rate| {
        let (config, length_size) = hevc::Config::from_record(&hex(record)).unwrap();
        assert_eq!((config.rfc6381().as_str(), length_size), (codec, 4));
        assert_eq!(config.info, VideoInfo { width: size.0, height: size.1, frame_rate });
        assert_eq!(to_hex(&config.record), to_hex(&hex(record)));
        let hevc::Config { vps, sps, pps, .. } = config.clone();
        assert_eq!(hevc::Config::from_parameter_sets(vps, sps, pps), Ok(config));
    };
    check(HEVC_X265_MAIN, "hvc1.1.6.L123.90", (1920, 1080), Some((50, 1)));
    check(HEVC_X265_MAIN10_HIGH_TIER, "hvc1.2.4.H150.90", (640, 358), Some((24, 1)));
}

#[test]
fn hevc_records_keep_sei_and_lose_the_rest() {
    let sei: &[u8] = &[39 << 1, 1, 137, 24, 0x80];
    let mut record = hex(HEVC_X265_MAIN);
    record[21] = 0x0D;
    record[22] = 5;
    record.extend([&[0x80 | 39, 0, 1, 0, 5], sei, &[0x80 | 48, 0, 1, 0, 2, 96, 1]].concat());
    let (config, length_size) = hevc::Config::from_record(&record).unwrap();
    assert_eq!(length_size, 2);
    let mut want = hex(HEVC_X265_MAIN);
    want[22] = 4;
    want.extend([&[0x80 | 39, 0, 1, 0, 5], sei].concat());
    assert_eq!(to_hex(&config.record), to_hex(&want));
}

#[test]
fn hevc_access_units() {
    let config = hevc_config(HEVC_X265_MAIN);
    let (vps, sps, pps) = (&config.vps[0], &config.sps[0], &config.pps[0]);
    let nal = |kind: u8| vec![kind << 1, 1, 0xAA, 0xBB];
    let (trail, idr, cra, aud, sei) = (nal(1), nal(19), nal(21), nal(35), nal(39));
    let check = |nals: &[&[u8]], kept: &[&[u8]], sync: bool, copied: bool| {
        let payload = lengths(4, nals);
        let unit = hevc::canonical(payload.clone(), 4, &config).unwrap();
        assert_eq!((unit.payload.clone(), unit.sync, unit.parameter_sets), (lengths(4, kept), sync, None));
        assert_eq!(shares_memory(&unit.payload, &payload), !copied);
    };
    check(&[&trail], &[&trail], false, false);
    check(&[&cra, &cra], &[&cra, &cra], true, false);
    check(&[&aud, vps, sps, pps, &sei, &idr], &[&sei, &idr], true, false);
    check(&[&sei, sps, &idr], &[&sei, &idr], true, true);
    // A NAL unit of an enhancement layer.
    check(&[&idr, &[1 << 1, 9, 0]], &[&idr], true, true);

    let mut out = Vec::new();
    hevc::write_annexb(&config, &lengths(4, &[&sei, &idr]), true, &mut out);
    assert_eq!(to_hex(&out), to_hex(&start_codes(&[&[0x46, 1, 0x50], vps, sps, pps, &sei, &idr])));
    let back = hevc::annexb_to_canonical(&out, None).unwrap();
    assert_eq!((back.payload, back.sync, back.parameter_sets), (lengths(4, &[&sei, &idr]), true, Some(config)));
}

#[test]
fn hevc_parameter_sets_of_a_new_size_change_the_configuration() {
    let (old, new) = (hevc_config(HEVC_X265_MAIN), hevc_config(HEVC_X265_MAIN10_HIGH_TIER));
    let idr: &[u8] = &[19 << 1, 1, 0];
    let unit = hevc::canonical(lengths(4, &[&new.vps[0], &new.sps[0], &new.pps[0], idr]), 4, &old).unwrap();
    assert_eq!(unit.parameter_sets, Some(new));
}

#[test]
fn av1_records_of_encoders() {
    let check = |record: &str, codec: &str| {
        let config = av1::Config::from_record(&hex(record)).unwrap();
        assert_eq!(config.rfc6381(), codec);
        assert_eq!(config.info, VideoInfo { width: 320, height: 180, frame_rate: None });
        assert_eq!(to_hex(&config.record), record);
        assert_eq!(av1::Config::from_sequence_header(config.sequence_header().unwrap()), Ok(config));
    };
    check(AV1_AOM, "av01.0.00M.08");
    check(AV1_SVT_10BIT, "av01.0.00M.10");
    check(AV1_RAV1E_LEVEL_31, "av01.0.31M.08");
}

#[test]
fn av1_records_without_a_sequence_header_say_so() {
    let error = av1::Config::from_record(&hex("81000c00")).unwrap_err();
    assert_eq!(error.to_string(), "AV1CodecConfigurationRecord: no sequence header OBU");
}

#[test]
fn av1_temporal_units() {
    let config = av1::Config::from_record(&hex(AV1_AOM)).unwrap();
    let header = hex("0a0b000000043cfeccdaf90040");
    let (delimiter, key, inter) = (hex("1200"), hex("320310aabb"), hex("320330aabb"));
    let shown_again = hex("1a01d8");
    let check = |parts: &[&[u8]], kept: &[&[u8]], sync: bool, copied: bool| {
        let payload = Bytes::from(parts.concat());
        let unit = av1::canonical(payload.clone(), Some(&config)).unwrap();
        assert_eq!(to_hex(&unit.payload), to_hex(&kept.concat()));
        assert_eq!((unit.sync, unit.parameter_sets), (sync, None));
        assert_eq!(shares_memory(&unit.payload, &payload), !copied);
    };
    check(&[&header, &key], &[&header, &key], true, false);
    check(&[&delimiter, &header, &key], &[&header, &key], true, false);
    check(&[&delimiter, &inter], &[&inter], false, false);
    check(&[&shown_again], &[&shown_again], false, false);
    // A key frame that needs the configuration's sequence header to be a sync sample.
    check(&[&delimiter, &key], &[&header, &key], true, true);
    // The last OBU may lack its size.
    check(&[&delimiter, &hex("3030aabb")], &[&inter], false, true);
    check(&[&inter, &delimiter, &inter], &[&inter, &inter], false, true);
    check(&[&delimiter], &[], false, true);
}

#[test]
fn av1_sequence_headers_in_band_are_configurations() {
    let (aom, svt) = (hex(AV1_AOM), hex(AV1_SVT_10BIT));
    let config = av1::Config::from_record(&aom).unwrap();
    let unit = |record: &[u8]| Bytes::from([&record[4..], &hex("320310aabb")].concat());
    assert_eq!(av1::canonical(unit(&aom), None).unwrap().parameter_sets, Some(config.clone()));
    let changed = av1::canonical(unit(&svt), Some(&config)).unwrap().parameter_sets.unwrap();
    assert_eq!(to_hex(&changed.record), AV1_SVT_10BIT);
}

#[test]
fn av1_obus_that_lie_are_errors() {
    for text in ["0a", "0a0b0000", "328080808080808080808001", "3a", "16ff"] {
        assert!(av1::canonical(Bytes::from(hex(text)), None).is_err(), "{text}");
    }
}

#[test]
fn vp9_records_and_key_frames() {
    let info = VideoInfo { width: 320, height: 180, frame_rate: None };
    let record = vp9::Config::from_record(&hex(VP9_FULL_BOX), info).unwrap();
    assert_eq!((record.rfc6381().as_str(), to_hex(&record.record).as_str()), ("vp09.00.11.08", "000b820202020000"));
    assert_eq!(vp9::Config::from_record(&record.record, info), Ok(record));

    let check = |frame: &str, codec: &str, record: &str| {
        let config = vp9::Config::from_key_frame(&hex(frame)).unwrap();
        assert_eq!((config.rfc6381().as_str(), to_hex(&config.record).as_str()), (codec, record));
        assert_eq!(config.info, info);
    };
    check(VP9_KEY_FRAME, "vp09.00.11.08", "000b820202020000");
    check(VP9_KEY_FRAME_PROFILE_3, "vp09.03.11.10", "030ba40202020000");
    let inter = vp9::FrameHeader::parse(&hex("86004092f0614000")).unwrap();
    assert_eq!(inter.key, None);
    assert!(vp9::Config::from_key_frame(&hex("86004092f0614000")).is_err());
    assert!(vp9::FrameHeader::parse(&hex("02")).is_err());
}

#[test]
fn aac_records_of_encoders() {
    let check = |record: &str, object_type, sample_rate, channels, frame_samples| {
        let config = aac::Config::from_record(&hex(record)).unwrap();
        assert_eq!((config.object_type, config.sample_rate), (object_type, sample_rate), "{record}");
        assert_eq!((config.channels, config.frame_samples), (channels, frame_samples), "{record}");
        assert_eq!(to_hex(&config.record), record);
    };
    check(AAC_FFMPEG_STEREO, 2, 48_000, 2, 1_024);
    check(AAC_FFMPEG_PCE_2_1, 2, 44_100, 3, 1_024);
    check("1210", 2, 44_100, 2, 1_024);
    check("1214", 2, 44_100, 2, 960);
    check("1780562210", 2, 44_100, 2, 1_024);
    // HE-AAC: SBR told at the front, and at the end for decoders that know none.
    check("2b920800", 5, 22_050, 2, 1_024);
    check("131056e59d4800", 5, 24_000, 2, 1_024);
    // HE-AAC v2 with parametric stereo: one coded channel makes two.
    check("eb8a0800", 29, 22_050, 2, 1_024);
    check("130856e59d4880", 29, 24_000, 2, 1_024);
    // 7.1.
    check("11b8", 2, 48_000, 8, 1_024);
}

#[test]
fn aac_records_that_cannot_be_used_say_why() {
    let check =
        |record: &str, want: &str| assert_eq!(aac::Config::from_record(&hex(record)).unwrap_err().to_string(), want);
    check("", "AudioSpecificConfig ends after 0 bytes, before its 1");
    check("12", "AudioSpecificConfig ends after 1 bytes, before its 2");
    check("1690", "AudioSpecificConfig: samplingFrequencyIndex 13, which is reserved");
    check("1248", "AudioSpecificConfig: channelConfiguration 9, which is reserved");
    check("1780000010", "AudioSpecificConfig: a sample rate of 0 Hz");
    check("f94640", "AAC with audio object type 42 is not supported");
    check("b8e6c0", "AAC with audio object type 23 is not supported");
    // A program_config_element whose 3 channels are not there.
    check("1200050401", "AudioSpecificConfig ends after 5 bytes, before its 6");
}

#[test]
fn adts_headers() {
    let stereo = aac::Config::from_record(&hex("1190")).unwrap();
    let header = aac::adts_header(&stereo, 100).unwrap();
    assert_eq!(to_hex(&header), "fff14c800d7ffc");
    let parsed = aac::AdtsHeader::parse(&header).unwrap();
    assert_eq!((parsed.header_bytes, parsed.frame_bytes, parsed.raw_data_blocks), (7, 107, 1));
    assert_eq!(aac::Config::from_adts(&parsed), Ok(stereo.clone()));

    // As FFmpeg writes it: mono, 44.1 kHz.
    let ffmpeg = aac::AdtsHeader::parse(&hex("fff15040213ffcde02004c61")).unwrap();
    assert_eq!((ffmpeg.object_type, ffmpeg.sample_rate(), ffmpeg.channel_configuration), (2, 44_100, 1));
    let mono = aac::Config::from_adts(&ffmpeg).unwrap();
    assert_eq!(to_hex(&aac::adts_header(&mono, ffmpeg.frame_bytes - 7).unwrap()), "fff15040213ffc");

    // The core of HE-AAC.
    let high_efficiency = aac::Config::from_record(&hex("2b920800")).unwrap();
    let parsed = aac::AdtsHeader::parse(&aac::adts_header(&high_efficiency, 1).unwrap()).unwrap();
    assert_eq!((parsed.object_type, parsed.sample_rate()), (2, 22_050));
}

#[test]
fn what_adts_cannot_say_is_an_error() {
    let stereo = aac::Config::from_record(&hex("1190")).unwrap();
    assert!(aac::adts_header(&stereo, 8_184).is_ok());
    assert!(matches!(aac::adts_header(&stereo, 8_185), Err(Error::TooLarge { value: 8_192, .. })));
    assert!(matches!(aac::adts_header(&stereo, usize::MAX), Err(Error::TooLarge { .. })));
    for record in [AAC_FFMPEG_PCE_2_1, "1214"] {
        let config = aac::Config::from_record(&hex(record)).unwrap();
        assert!(matches!(aac::adts_header(&config, 1), Err(Error::Unsupported(_))), "{record}");
    }
    for header in ["", "fff1", "fef14c800d7ffc", "fff14c80007ffc", "fff174800d7ffc"] {
        assert!(aac::AdtsHeader::parse(&hex(header)).is_err(), "{header}");
    }
}

#[test]
fn opus_headers() {
    let config = opus::Config::from_head(&hex(OPUS_HEAD)).unwrap();
    let want =
        opus::Config { channels: 1, pre_skip: 312, input_sample_rate: 48_000, output_gain: 0, mapping_family: 0 };
    assert_eq!(config, want);
    assert_eq!(to_hex(&config.head()), OPUS_HEAD);
    assert_eq!(to_hex(&config.dops()), "000101380000bb80000000");
    assert_eq!(opus::Config::from_dops(&config.dops()), Ok(config));
    let surround = hex("4f707573486561640106380180bb000000000104020004010203 05");
    assert!(matches!(opus::Config::from_head(&surround), Err(Error::Unsupported(_))));
    for head in
        ["", "4f70757348656164", "4f70757348656165010138018 0bb0000000000", "4f707573486561640100380180bb0000000000"]
    {
        assert!(opus::Config::from_head(&hex(head)).is_err(), "{head}");
    }
}

#[test]
fn opus_packet_durations() {
    let check = |packet: &[u8], samples| assert_eq!(opus::packet_samples(packet), Ok(samples), "{packet:02x?}");
    check(&[0xF8], 960);
    check(&[0xFB, 3], 2_880);
    check(&[0x00], 480);
    check(&[0x18, 1], 2_880);
    check(&[0x19, 1], 5_760);
    check(&[0x60], 480);
    check(&[0x80], 120);
    check(&[0x83, 48], 5_760);
    for packet in [&[][..], &[0xFB], &[0xFB, 0], &[0xFB, 7], &[0x1B, 3]] {
        assert!(opus::packet_samples(packet).is_err(), "{packet:02x?}");
    }
}

#[test]
fn ac3_syncframes() {
    let check = |frame: &str, record: &str, enhanced, channels| {
        let packet = hex(frame);
        let config = ac3::Config::from_packet(&packet).unwrap();
        assert_eq!((to_hex(&config.record).as_str(), config.enhanced), (record, enhanced));
        assert_eq!((config.sample_rate, config.channels), (48_000, channels));
        assert_eq!((config.describes(&packet), ac3::packet_samples(&packet)), (Ok(true), Ok(1_536)));
    };
    // The boxes are those that FFmpeg writes into MP4.
    check(AC3_STEREO, "101140", false, 2);
    check(AC3_5_1, "103de0", false, 6);
    check(EAC3_STEREO, "0600200400", true, 2);
    let stereo = ac3::Config::from_packet(&hex(AC3_STEREO)).unwrap();
    assert_eq!(stereo.describes(&hex(AC3_5_1)), Ok(false));
    assert_eq!(stereo.describes(&hex(EAC3_STEREO)), Ok(false));
    assert!(ac3::Config::from_packet(&[]).is_err() && ac3::Config::from_packet(&[1, 2, 3, 4, 5, 6]).is_err());
}

#[test]
fn ac3_packets_of_several_syncframes_last_longer() {
    // 192 kbit/s at 48 kHz: 768 bytes.
    let mut frame = hex(AC3_STEREO);
    frame.resize(768, 0);
    assert_eq!(ac3::packet_samples(&[frame.clone(), frame.clone()].concat()), Ok(3_072));
    // One block per syncframe: numblkscod 0, six syncframes to a packet.
    let mut block = hex("0b77003f0487c000");
    block.resize(128, 0);
    assert_eq!(ac3::packet_samples(&block.repeat(6)), Ok(1_536));
}

/// Everything that reads bytes from a peer, on the same bytes.
fn read_everything(data: &[u8]) {
    let info = VideoInfo { width: 1, height: 1, frame_rate: None };
    let (payload, avc, hevc) = (Bytes::copy_from_slice(data), avc_config(AVC_X264_HIGH), hevc_config(HEVC_X265_MAIN));
    for config in [
        avc::Config::from_record(data).ok().map(|(config, _)| CodecConfig::Avc(config)),
        hevc::Config::from_record(data).ok().map(|(config, _)| CodecConfig::Hevc(config)),
        av1::Config::from_record(data).ok().map(CodecConfig::Av1),
        av1::Config::from_sequence_header(data).ok().map(CodecConfig::Av1),
        vp9::Config::from_record(data, info).ok().map(CodecConfig::Vp9),
        vp9::Config::from_key_frame(data).ok().map(CodecConfig::Vp9),
        aac::Config::from_record(data).ok().map(CodecConfig::Aac),
        opus::Config::from_head(data).ok().map(CodecConfig::Opus),
        ac3::Config::from_packet(data).ok().map(CodecConfig::Ac3),
    ]
    .into_iter()
    .flatten()
    {
        assert!(!config.rfc6381().is_empty());
        assert_eq!(config.video().is_some(), config.audio().is_none());
        if let CodecConfig::Aac(config) = &config {
            let _ = aac::adts_header(config, data.len());
        }
    }
    for size in [1, 2, 4] {
        let _ = avc::canonical(payload.clone(), size, &avc);
        let _ = hevc::canonical(payload.clone(), size, &hevc);
    }
    let mut out = Vec::new();
    avc::write_annexb(&avc, data, true, &mut out);
    hevc::write_annexb(&hevc, data, false, &mut out);
    let _ = (avc::annexb_to_canonical(data, None), hevc::annexb_to_canonical(data, Some(&hevc)));
    let _ = (av1::canonical(payload.clone(), None), vp9::access_unit(payload, data, None));
    let _ = (aac::AdtsHeader::parse(data), opus::packet_samples(data), ac3::packet_samples(data));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_parser_panics_on_arbitrary_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&data);
    }

    #[test]
    fn no_parser_panics_on_mutated_records(
        golden in prop::sample::select(&ALL[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut data = hex(golden);
        for (index, byte) in changes {
            let index = index.index(data.len());
            data[index] = byte;
        }
        read_everything(&data);
        data.truncate(cut.index(data.len()));
        read_everything(&data);
    }

    #[test]
    fn avc_annex_b_round_trip(
        nals in prop::collection::vec(prop::collection::vec(1..=u8::MAX, 1..40), 1..6),
        sync in any::<bool>(),
    ) {
        let config = avc_config(AVC_X264_HIGH);
        let nals: Vec<Vec<u8>> = nals.into_iter().map(|nal| [&[if sync { 0x65 } else { 0x41 }], &nal[..]].concat()).collect();
        let payload = lengths(4, &nals.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut annexb = Vec::new();
        avc::write_annexb(&config, &payload, sync, &mut annexb);
        let unit = avc::annexb_to_canonical(&annexb, Some(&config)).unwrap();
        prop_assert_eq!((unit.payload, unit.sync), (payload, sync));
    }
}
