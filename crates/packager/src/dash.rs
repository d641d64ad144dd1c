//! The MPD (ISO/IEC 23009-1).
use base::Wall;
use bytes::Bytes;

use crate::{NotReady, Presentation};

impl Presentation {
    /// Answers `manifest.mpd` at `now`.
    pub fn mpd(&self, _now: Wall) -> Result<Bytes, NotReady> {
        Err(NotReady)
    }
}
