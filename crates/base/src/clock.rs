//! Where time comes from. Cores take time as an argument; drivers ask a [`Clock`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Mono, Wall};

/// A source of monotonic and wall time. Tests use `testkit`'s.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time.
    fn mono(&self) -> Mono;
    /// Wall time.
    fn wall(&self) -> Wall;
}

/// The machine's clocks. Monotonic time counts from the clock's creation.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        Mono::from_origin(self.origin.elapsed())
    }

    fn wall(&self) -> Wall {
        // A machine whose clock stands before 1970 gets 1970: `headwater doctor` reports the clock.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
