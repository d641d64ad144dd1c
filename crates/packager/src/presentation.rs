use base::Wall;
use bytes::Bytes;
use media::{Sample, Track};

use crate::{BodyPlan, Config, Error, Lookup, NotReady, Reload, Role, Spill, Stats, TrackName};

/// Everything an origin can serve of one stream.
#[derive(Debug)]
pub struct Presentation {
    config: Config,
    version: u64,
}

/// Being built; see the report.
#[allow(unused_variables)]
impl Presentation {
    /// An empty presentation.
    pub fn new(config: Config) -> Self {
        Self { config: config.bounded(), version: 0 }
    }
    /// A publisher (re)appears.
    pub fn begin_epoch(&mut self, now: Wall) {}
    /// Adds a track to the epoch, or changes its codec.
    pub fn set_track(&mut self, name: &TrackName, role: Role, track: Track) -> Result<(), Error> {
        Ok(())
    }
    /// An encoder's nominal bitrate: the least BANDWIDTH announced while too little was measured.
    pub fn set_nominal_bitrate(&mut self, name: &TrackName, bits_per_second: u64) {}
    /// A sample of the source timeline.
    pub fn push(&mut self, name: &TrackName, sample: Sample) -> Result<(), Error> {
        Ok(())
    }
    /// The named renditions lost samples (their encoder died).
    pub fn interrupt(&mut self, names: &[TrackName], now: Wall) {}
    /// A rung was shed.
    pub fn remove_track(&mut self, name: &TrackName) {}
    /// The publisher is gone.
    pub fn end_epoch(&mut self, now: Wall) {}
    /// No publisher will come back.
    pub fn end(&mut self) {}
    /// Changes whenever an answer can change.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// Drops what left the window.
    pub fn expire(&mut self, now: Wall) {}
    /// index.m3u8
    pub fn multivariant_playlist(&self) -> Result<Bytes, NotReady> {
        Err(NotReady)
    }
    /// NAME/index.m3u8
    pub fn media_playlist(&self, track: &TrackName, skip: bool) -> Lookup<Bytes> {
        Lookup::Gone
    }
    /// Blocking reload.
    pub fn reload(&self, track: &TrackName, msn: u64, part: Option<u32>) -> Reload {
        Reload::Wait
    }
    /// ts.m3u8
    pub fn ts_multivariant_playlist(&self) -> Result<Bytes, NotReady> {
        Err(NotReady)
    }
    /// NAME/ts.m3u8
    pub fn ts_media_playlist(&self, track: &TrackName) -> Lookup<Bytes> {
        Lookup::Gone
    }
    /// manifest.mpd
    pub fn mpd(&self, now: Wall) -> Result<Bytes, NotReady> {
        Err(NotReady)
    }
    /// NAME/init-ID.mp4
    pub fn init(&self, track: &TrackName, init_id: u32) -> Lookup<Bytes> {
        Lookup::Gone
    }
    /// NAME/MSN.PART.m4s
    pub fn part(&self, track: &TrackName, msn: u64, part: u32) -> Lookup<BodyPlan> {
        Lookup::Gone
    }
    /// NAME/MSN.m4s
    pub fn segment(&self, track: &TrackName, msn: u64) -> Lookup<BodyPlan> {
        Lookup::Gone
    }
    /// NAME/MSN.ts
    pub fn ts_segment(&self, track: &TrackName, msn: u64) -> Lookup<BodyPlan> {
        Lookup::Gone
    }
    /// The newest picture that decodes by itself.
    pub fn latest_keyframe(&self) -> Option<(Track, Sample)> {
        None
    }
    /// For operators.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    /// The next segment to move out of memory.
    pub fn next_spill(&mut self) -> Option<Spill> {
        None
    }
    /// The spill is stored.
    pub fn spilled(&mut self, spill: &Spill) {}
    /// The spill could not be stored.
    pub fn spill_failed(&mut self, spill: &Spill) {}
    /// The next spilled object that left the window and can be deleted.
    pub fn next_discarded(&mut self) -> Option<String> {
        None
    }
}
