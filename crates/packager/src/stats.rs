use base::Wall;

use crate::{Role, TrackName};

/// What operators want to know of a presentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// One entry for each track that is set or still has segments in the window.
    pub tracks: Vec<TrackStats>,
    /// Samples left out, and why; counted since the presentation began.
    pub dropped: Dropped,
    /// Times a publisher appeared.
    pub epochs: u64,
    /// Epochs that began because the source's timestamps jumped.
    pub jumps: u64,
    /// Discontinuities on the timeline so far.
    pub discontinuities: u64,
    /// Segments cut without a key frame because the group of pictures was too long.
    pub forced_cuts: u64,
    /// Rendition segments that do not begin with a key frame though the leader's does.
    pub misaligned: u64,
}

/// Samples that did not become media, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Before the leader's first sync sample, or too long before it.
    pub before_start: u64,
    /// A rendition's samples before its first sync sample on a segment boundary.
    pub before_boundary: u64,
    /// Waiting for a discontinuity (codec change, interruption).
    pub before_discontinuity: u64,
    /// Far from the leader's time: another timeline.
    pub off_timeline: u64,
    /// More waiting samples than the limit.
    pub overflow: u64,
}

/// One track.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackStats {
    /// The track.
    pub name: TrackName,
    /// What it is to the stream.
    pub role: Role,
    /// Whether it is part of the stream now (set and not removed).
    pub active: bool,
    /// CODECS value.
    pub codec: String,
    /// Picture width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames per second; zero for audio.
    pub frame_rate: f64,
    /// Peak bits per second over the window.
    pub bandwidth: u64,
    /// Mean bits per second over the window.
    pub average_bandwidth: u64,
    /// Segments in the window, the open one included.
    pub segments: usize,
    /// Complete parts held in memory.
    pub parts: usize,
    /// Media in the window, in milliseconds.
    pub window_ms: u64,
    /// Payload bytes held in memory.
    pub memory_bytes: u64,
    /// Presentation time of the last complete part's end, as wall time.
    pub live_edge: Option<Wall>,
}
