use crate::keys::PublishKey;

base::section! {
    /// Live streams: who may publish, how they are packaged, and what they may cost.
    pub struct Config in "live" {
        /// Address of the RTMP listener.
        rtmp: String = "\"0.0.0.0:1935\"",
        /// Stream keys, each `APP/NAME=KEY`, `APP/*=KEY` or `*=KEY`. Publishers from this machine need none; all others need one, given as
        /// `?key=KEY` behind the stream's name, or (for `APP/NAME=KEY`) as the stream's name itself.
        publish_keys: Vec<PublishKey> = "[]",
        /// Whether publishers from this machine (loopback) may publish without a key.
        publish_from_loopback: bool = "true",
        /// Whether a second publisher of a stream replaces the first; otherwise it is refused.
        takeover: bool = "false",
        /// Target duration of a segment, in milliseconds (500 to 10000). A segment ends at the first keyframe at or after it.
        segment_duration_ms: u32 = "2000",
        /// Target duration of an LL-HLS part, in milliseconds (100 to 1000).
        part_duration_ms: u32 = "200",
        /// How far viewers can rewind, in milliseconds.
        window_ms: u32 = "600000",
        /// How much of the window is kept in memory, in milliseconds; the rest is in the store.
        memory_window_ms: u32 = "60000",
        /// How long a stream waits for its encoder to come back before its playlists end, in milliseconds.
        reconnect_ms: u32 = "1500",
        /// How far an encoder may run ahead of real time before its sending is slowed down, in milliseconds.
        ahead_ms_max: u32 = "1000",
        /// Highest bit rate of one publisher, in kbit/s, over five seconds; a publisher over it is dropped.
        publish_kbps_max: u32 = "100000",
        /// How long frames to RTMP players are gathered into one write when a stream has many players, in milliseconds (0 to 50).
        gather_ms: u32 = "40",
        /// How far an RTMP player may fall behind before it skips to the next keyframe, in milliseconds.
        reader_lag_ms_max: u32 = "5000",
        /// Most bytes an RTMP player may be behind before it skips to the next keyframe.
        reader_lag_bytes_max: u64 = "16777216",
        /// Most RTMP connections at a time.
        rtmp_connections_max: u32 = "20000",
        /// Most RTMP connections at a time from one address (loopback is not counted).
        rtmp_connections_per_ip_max: u32 = "256",
        /// Most streams at a time, ended ones in their window included.
        streams_max: u32 = "1000",
    }
}

impl Config {
    /// Values the packager can work with, from whatever was configured.
    pub(crate) fn packager(&self) -> packager::Config {
        packager::Config {
            segment_target_ms: self.segment_duration_ms.clamp(500, 10_000),
            part_target_ms: self.part_duration_ms.clamp(100, 1_000),
            window_ms: self.window_ms.max(10_000),
            memory_window_ms: self.memory_window_ms.clamp(10_000, self.window_ms.max(10_000)),
            ..packager::Config::default()
        }
    }
}
