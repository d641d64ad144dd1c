//! Configuration records as real encoders write them, named by encoder and quirk. `hex` keeps them readable.

use std::fmt::Write;

/// libx264 in Debian 12: 320x180, 30 fps, two B-frames.
pub(crate) const AVC_X264_HIGH: &str =
    "0164000dffe1001a6764000dacd941419f9f0110000003001000000303c0f142996001000668ebe3cb22c0fdf8f800";
/// libx264, Baseline: a record without the fields for high profiles.
pub(crate) const AVC_X264_BASELINE: &str =
    "0142c00dffe100196742c00dd901419f9f0110000003001000000303c0f142a48001000568cb83cb20";
/// libx264, High 10: interlaced, 1080 lines cropped out of 1088, scaling lists, 30000/1001 fps.
pub(crate) const AVC_X264_HIGH10_INTERLACED: &str =
    "016e0028ffe10019676e0028a6cd94078044fde022000007d20001d4c03e2c5b2c01000768fba3cb3002c0fdfafa00";
/// libx265 in Debian 12 (without its SEI): 1080 lines cropped out of 1088, scaling lists, 50 fps.
pub(crate) const HEVC_X265_MAIN: &str = "0101600000009000000000007bf000fcfdf8f800000f03a00001001840010c01ffff0160000003009\
     0000003000003007b959809a10001002a42010101600000030090000003000003007ba003c08010e596566924e5780b4040000003004000000c8\
     2a2000100074401c172b46240";
/// libx265, Main 10: high tier, 358 lines cropped out of 360, BT.2020 PQ, 24 fps.
pub(crate) const HEVC_X265_MAIN10_HIGH_TIER: &str = "01222000000090000000000096f000fcfdfafa00000f03a00001001840010c01ffff22\
     2000000300900000030000030096959809a10001002f420101222000000300900000030000030096a005020169f4d96566924caf016a122012080\
     00003000800000300c040a2000100074401c172b46240";
/// libaom: 8 bits.
pub(crate) const AV1_AOM: &str = "81000c000a0b000000043cfeccdaf90040";
/// SVT-AV1: 10 bits.
pub(crate) const AV1_SVT_10BIT: &str = "81004c000a0b000000043cfecc02f84040";
/// rav1e: level 31 (no limits), a colour description that says "unspecified".
pub(crate) const AV1_RAV1E_LEVEL_31: &str = "811f0c000a0e000000fa1e7f66210a88101010a0";
/// libvpx, with the version and flags of `vpcC` as FFmpeg sends them in Enhanced RTMP.
pub(crate) const VP9_FULL_BOX: &str = "01000000000b820202020000";
/// A 320x180 key frame of libvpx, profile 0 (its first bytes).
pub(crate) const VP9_KEY_FRAME: &str = "824983420013f00b360438241c184a0009507fddfa3c7718";
/// A 320x180 key frame of libvpx, profile 3: 10 bits, 4:2:2 (its first bytes).
pub(crate) const VP9_KEY_FRAME_PROFILE_3: &str = "b124c1a102009f8059b021c120e0c2c00045007fd9fa3c77";
/// FFmpeg's AAC encoder: LC, 48 kHz, stereo, and an extension that says there is no SBR.
pub(crate) const AAC_FFMPEG_STEREO: &str = "119056e500";
/// FFmpeg's AAC encoder, 2.1: channelConfiguration 0 and a program_config_element.
pub(crate) const AAC_FFMPEG_PCE_2_1: &str = "12000504010020000d4c61766335392e33372e31303056e500";
/// OpusHead of libopus through FFmpeg in Enhanced RTMP: mono.
pub(crate) const OPUS_HEAD: &str = "4f707573486561640101380180bb0000000000";
/// FFmpeg's AC-3 encoder: 48 kHz, stereo, 192 kbit/s (the first bytes of a syncframe).
pub(crate) const AC3_STEREO: &str = "0b77fe95144043e106f46370c0c0c21818187ff7aefdf3e7";
/// FFmpeg's AC-3 encoder: 5.1, 448 kbit/s.
pub(crate) const AC3_5_1: &str = "0b77c4b71e40ebf8403eff99c598b31662cc59fffbbe7cf9";
/// FFmpeg's E-AC-3 encoder: 48 kHz, stereo, 192 kbit/s.
pub(crate) const EAC3_STEREO: &str = "0b77017f3487c0002084210838008c06060601818187bd77";

/// Every golden of this file, to mutate.
pub(crate) const ALL: [&str; 17] = [
    AVC_X264_HIGH,
    AVC_X264_BASELINE,
    AVC_X264_HIGH10_INTERLACED,
    HEVC_X265_MAIN,
    HEVC_X265_MAIN10_HIGH_TIER,
    AV1_AOM,
    AV1_SVT_10BIT,
    AV1_RAV1E_LEVEL_31,
    VP9_FULL_BOX,
    VP9_KEY_FRAME,
    VP9_KEY_FRAME_PROFILE_3,
    AAC_FFMPEG_STEREO,
    AAC_FFMPEG_PCE_2_1,
    OPUS_HEAD,
    AC3_STEREO,
    AC3_5_1,
    EAC3_STEREO,
];

/// Bytes of a hexadecimal text; blanks are ignored.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("a digit")).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// The hexadecimal text of bytes, so that a failed comparison can be read.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
