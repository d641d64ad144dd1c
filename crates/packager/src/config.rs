/// How streams are cut and how much of them is kept. A plain struct: `live` owns the declaration of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Shortest duration of a segment that a key frame may end, in milliseconds.
    pub segment_target_ms: u32,
    /// Nominal duration of a part, in milliseconds; EXT-X-PART-INF:PART-TARGET lies a little above it.
    pub part_target_ms: u32,
    /// How far back a viewer can seek (the DVR window), in milliseconds.
    pub window_ms: u32,
    /// Closed segments older than this are offered to [`Presentation::next_spill`](crate::Presentation::next_spill), in milliseconds.
    pub memory_window_ms: u32,
    /// Longest group of pictures that stays in one segment, in milliseconds; beyond it a segment is cut without a key frame.
    pub gop_max_ms: u32,
    /// Number of the first segment and of the first initialization segment; `None` takes it from the clock when the first
    /// publisher comes. Caches keep what has a number for good: the next broadcast of a stream may not use it again.
    pub first_number: Option<u32>,
    /// UTCTiming URL in the MPD, relative to it: answers with the server's time (urn:mpeg:dash:utc:http-iso:2014).
    pub utc_timing_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_target_ms: 2_000,
            part_target_ms: 200,
            window_ms: 600_000,
            memory_window_ms: 60_000,
            gop_max_ms: 10_000,
            first_number: None,
            utc_timing_url: "../../time".into(),
        }
    }
}

/// Settings outside these bounds are moved to the nearest one, so that no setting makes the arithmetic degenerate.
impl Config {
    pub(crate) fn bounded(mut self) -> Self {
        self.segment_target_ms = self.segment_target_ms.clamp(500, 30_000);
        self.part_target_ms = self.part_target_ms.clamp(50, self.segment_target_ms);
        self.gop_max_ms = self.gop_max_ms.clamp(self.segment_target_ms, 60_000);
        self.window_ms = self.window_ms.clamp(6 * self.segment_target_ms, 86_400_000);
        self.memory_window_ms = self.memory_window_ms.max(6 * self.segment_target_ms);
        self
    }
}
