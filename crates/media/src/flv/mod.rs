//! FLV (Adobe Flash Video File Format Specification 10.1, Annex E) with Enhanced RTMP v2: the bodies that RTMP messages
//! and FLV tags share, and the file or pipe format around them.
//!
//! [`Reader`] turns the bodies of audio and video messages into [`Unit`]s; [`Demuxer`] cuts an FLV byte stream into tags
//! for it. On the way out [`sequence_header`] and [`frame_header`] stand before a sample's shared payload; [`Muxer`] puts
//! them into tags.

mod demux;
mod fourcc;
mod message;
mod mux;
mod reader;
mod units;
mod write;

pub use demux::{Demuxer, MAX_TAG_BYTES};
pub use mux::{Muxer, TAG_HEADER_BYTES, tag_header};
pub use reader::{MAX_TRACKS, Reader};
pub use units::{Unit, Units, UnitsIter};
pub use write::{FrameHeader, frame_header, sequence_header, timestamp_ms};

/// Tag and message types (Annex E.4.1, RTMP 7.1).
const TYPE_AUDIO: u8 = 8;
const TYPE_VIDEO: u8 = 9;
const TYPE_SCRIPT: u8 = 18;

/// VideoTagHeader (Annex E.4.3.1): CodecID 7 is AVC; 12 is what encoders before Enhanced RTMP agreed on for HEVC.
const CODEC_ID_AVC: u8 = 7;
const CODEC_ID_HEVC: u8 = 12;
/// IsExVideoHeader (Enhanced RTMP v2, ExVideoTagHeader).
const VIDEO_EX_HEADER: u8 = 0x80;
/// FrameType values.
const FRAME_KEY: u8 = 1;
const FRAME_INTER: u8 = 2;
const FRAME_COMMAND: u8 = 5;
/// SoundFormat values (Annex E.4.2.1, Enhanced RTMP v2 ExAudioTagHeader).
const SOUND_EX_HEADER: u8 = 9;
const SOUND_AAC: u8 = 10;

/// VideoPacketType and AudioPacketType values that both have (Enhanced RTMP v2).
const PACKET_SEQUENCE_START: u8 = 0;
const PACKET_CODED_FRAMES: u8 = 1;
const PACKET_SEQUENCE_END: u8 = 2;
const PACKET_MOD_EX: u8 = 7;
/// VideoPacketType: coded frames without a composition time.
const VIDEO_CODED_FRAMES_X: u8 = 3;
