//! Elements and attribute values that live and on-demand MPDs write alike (ISO/IEC 23009-1).

use std::fmt::{self, Write};

use base::{Timescale, time::rescale_nearest};

/// The opening of a Representation, up to what addresses its segments (5.3.5).
pub(crate) struct RepresentationHead<'a> {
    pub(crate) id: &'a str,
    pub(crate) bandwidth: u64,
    pub(crate) codecs: &'a str,
    /// Width, height, frames per second.
    pub(crate) picture: Option<(u32, u32, Option<f64>)>,
    /// Samples per second, channels.
    pub(crate) sound: Option<(u32, u32)>,
}

impl fmt::Display for RepresentationHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, bandwidth, codecs, .. } = self;
        write!(f, "<Representation id=\"{id}\" bandwidth=\"{}\" codecs=\"{}\"", bandwidth.max(&1), Xml(codecs))?;
        if let Some((width, height, frame_rate)) = self.picture {
            write!(f, " width=\"{width}\" height=\"{height}\"")?;
            if let Some(rate) = frame_rate {
                write!(f, " frameRate=\"{}\"", FrameRate(rate))?;
            }
        }
        let Some((sample_rate, channels)) = self.sound else { return f.write_str(">") };
        write!(
            f,
            " audioSamplingRate=\"{sample_rate}\">\n        <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{channels}\"/>"
        )
    }
}

/// A SegmentTimeline of segments, each by its start and its length in ticks; equal ones that follow one another are one `S`.
pub(crate) fn put_timeline(text: &mut String, indent: &str, segments: impl Iterator<Item = (i64, i64)>) {
    let _ = writeln!(text, "{indent}<SegmentTimeline>");
    let mut entry: Option<(i64, i64, u64)> = None;
    for (start, ticks) in segments {
        match &mut entry {
            Some((first, same, repeat)) if *same == ticks && follows(*first, *same, *repeat) == Some(start) => {
                *repeat += 1;
            }
            _ => {
                put_entry(text, indent, entry.take());
                entry = Some((start, ticks, 0));
            }
        }
    }
    put_entry(text, indent, entry);
    let _ = writeln!(text, "{indent}</SegmentTimeline>");
}

/// Where a run of segments ends.
fn follows(start: i64, ticks: i64, repeat: u64) -> Option<i64> {
    start.checked_add(ticks.checked_mul(i64::try_from(repeat).ok()?.checked_add(1)?)?)
}

fn put_entry(text: &mut String, indent: &str, entry: Option<(i64, i64, u64)>) {
    let _ = match entry {
        None => Ok(()),
        Some((start, ticks, 0)) => writeln!(text, "{indent}  <S t=\"{start}\" d=\"{ticks}\"/>"),
        Some((start, ticks, repeat)) => writeln!(text, "{indent}  <S t=\"{start}\" d=\"{ticks}\" r=\"{repeat}\"/>"),
    };
}

/// 90 kHz ticks as seconds with six decimals.
pub(crate) struct Micros(pub(crate) i64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = rescale_nearest(self.0.max(0), Timescale::VIDEO, Timescale::hz(1_000_000));
        write!(f, "{}.{:06}", us / 1_000_000, us % 1_000_000)
    }
}

/// Frames per second as MPD FrameRateType: an integer, or a fraction.
pub(crate) struct FrameRate(pub(crate) f64);

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = |value: f64| (value - value.round()).abs() < 1e-4 * value;
        if near(self.0) {
            write!(f, "{}", self.0.round())
        } else if near(self.0 * 1.001) {
            write!(f, "{}/1001", (self.0 * 1.001).round() * 1_000.0)
        } else {
            write!(f, "{}/1000", (self.0 * 1_000.0).round())
        }
    }
}

/// A text inside an attribute.
pub(crate) struct Xml<'a>(pub(crate) &'a str);

impl fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '"' => f.write_str("&quot;"),
            c => write!(f, "{c}"),
        })
    }
}
