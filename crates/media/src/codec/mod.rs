//! Decoder configurations and what can be read from them.

pub mod aac;
pub mod ac3;
pub mod av1;
pub mod avc;
pub mod hevc;
mod nal;
pub mod opus;
mod records;
pub mod vp9;

use bytes::Bytes;

use crate::{Error, Result, TrackKind};

/// The longer side of a picture, in pixels. Level 6.2 of H.264 and H.265 ends at 16,888; AV1 and VP9 could say 65,536,
/// which no decoder in a browser or television takes.
pub const MAX_PICTURE_SIDE_PIXELS: u32 = 16_888;

/// Frames per second over which a header's timing is taken for a placeholder (encoders write 1/90000 and the like).
const MAX_FRAME_RATE: u32 = 1_000;

/// aspect_ratio_idc that is followed by an explicit ratio (ITU-T H.264 Table E-1, H.265 Table E-1).
const EXTENDED_SAR: u8 = 255;

/// A track's decoder configuration, parsed once from the bytes the encoder sent.
#[derive(Clone, Debug, PartialEq)]
pub enum CodecConfig {
    /// H.264 / MPEG-4 AVC.
    Avc(avc::Config),
    /// H.265 / HEVC.
    Hevc(hevc::Config),
    /// AV1.
    Av1(av1::Config),
    /// VP9.
    Vp9(vp9::Config),
    /// MPEG-4 AAC.
    Aac(aac::Config),
    /// Opus.
    Opus(opus::Config),
    /// AC-3 or E-AC-3.
    Ac3(ac3::Config),
}

/// What a picture track says of itself. The sizes count coded pixels: a sample aspect ratio other than 1:1 is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoInfo {
    /// Width in pixels, after cropping.
    pub width: u32,
    /// Height in pixels, after cropping.
    pub height: u32,
    /// Frames per second as a fraction, where the header tells (H.264 and H.265 VUI, AV1 timing info).
    pub frame_rate: Option<(u32, u32)>,
}

/// What a sound track says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioInfo {
    /// Samples per second of the core coder, which is the track's clock; with SBR the output has twice as many.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// Samples at that rate in one packet (1024 for AAC-LC, 960 for a 20 ms Opus packet).
    pub frame_samples: u32,
}

/// An access unit of video in the form that [`Sample`](crate::Sample) describes; `C` is its codec's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessUnit<C> {
    /// The canonical payload; empty when the access unit holds no picture.
    pub payload: Bytes,
    /// Decoding can start here.
    pub sync: bool,
    /// The configuration from now on, when the access unit carries another one than the track's.
    pub parameter_sets: Option<C>,
}

impl<C> AccessUnit<C> {
    /// The same with another type of configuration.
    pub fn map<D>(self, wrap: impl FnOnce(C) -> D) -> AccessUnit<D> {
        AccessUnit { payload: self.payload, sync: self.sync, parameter_sets: self.parameter_sets.map(wrap) }
    }
}

impl CodecConfig {
    /// Video or audio.
    pub fn kind(&self) -> TrackKind {
        match self {
            Self::Avc(_) | Self::Hevc(_) | Self::Av1(_) | Self::Vp9(_) => TrackKind::Video,
            Self::Aac(_) | Self::Opus(_) | Self::Ac3(_) => TrackKind::Audio,
        }
    }

    /// The codec's usual name, for people: `H.264`, `AAC`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Avc(_) => "H.264",
            Self::Hevc(_) => "H.265",
            Self::Av1(_) => "AV1",
            Self::Vp9(_) => "VP9",
            Self::Aac(_) => "AAC",
            Self::Opus(_) => "Opus",
            Self::Ac3(ac3) if ac3.enhanced => "E-AC-3",
            Self::Ac3(_) => "AC-3",
        }
    }

    /// The CODECS value of HLS and DASH (RFC 6381): `avc1.640020`, `mp4a.40.2`.
    pub fn rfc6381(&self) -> String {
        match self {
            Self::Avc(c) => c.rfc6381(),
            Self::Hevc(c) => c.rfc6381(),
            Self::Av1(c) => c.rfc6381(),
            Self::Vp9(c) => c.rfc6381(),
            Self::Aac(c) => c.rfc6381(),
            Self::Opus(_) => "opus".into(),
            Self::Ac3(c) => if c.enhanced { "ec-3" } else { "ac-3" }.into(),
        }
    }

    /// Picture size and rate; `None` for audio.
    pub fn video(&self) -> Option<VideoInfo> {
        match self {
            Self::Avc(c) => Some(c.info),
            Self::Hevc(c) => Some(c.info),
            Self::Av1(c) => Some(c.info),
            Self::Vp9(c) => Some(c.info),
            _ => None,
        }
    }

    /// Sample rate and channels; `None` for video.
    pub fn audio(&self) -> Option<AudioInfo> {
        match self {
            Self::Aac(c) => {
                Some(AudioInfo { sample_rate: c.sample_rate, channels: c.channels, frame_samples: c.frame_samples })
            }
            Self::Opus(c) => Some(AudioInfo { sample_rate: 48_000, channels: c.channels.into(), frame_samples: 960 }),
            Self::Ac3(c) => Some(AudioInfo { sample_rate: c.sample_rate, channels: c.channels, frame_samples: 1536 }),
            _ => None,
        }
    }
}

/// A picture size as [`VideoInfo`] holds it, or an error when it is none or too large.
fn check_picture_size(width: u64, height: u64) -> Result<(u32, u32)> {
    if width == 0 || height == 0 {
        return Err(Error::invalid("picture size", format!("{width}x{height}")));
    }
    let limit = u64::from(MAX_PICTURE_SIDE_PIXELS);
    match width.max(height) {
        side if side > limit => Err(Error::TooLarge { what: "picture side", value: side, limit }),
        _ => Ok((width as u32, height as u32)),
    }
}

/// `numerator / denominator` frames per second in lowest terms; `None` when it is none, or no rate of moving pictures.
fn frame_rate(numerator: u64, denominator: u64) -> Option<(u32, u32)> {
    let divisor = greatest_common_divisor(numerator, denominator);
    let numerator = u32::try_from(numerator.checked_div(divisor)?).ok()?;
    let denominator = u32::try_from(denominator.checked_div(divisor)?).ok()?;
    (numerator > 0 && denominator > 0 && numerator.div_ceil(denominator) <= MAX_FRAME_RATE)
        .then_some((numerator, denominator))
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
