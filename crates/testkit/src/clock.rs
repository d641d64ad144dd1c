use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{Clock, Mono, Wall};

/// A clock that stands still until it is told to move. Clones share the time.
///
/// ```
/// use base::{Clock, Wall};
/// use testkit::FakeClock;
///
/// let clock = FakeClock::at(Wall::from_unix_ms(1_000));
/// clock.advance(std::time::Duration::from_millis(250));
/// assert_eq!(clock.wall().unix_ms(), 1_250);
/// ```
#[derive(Clone, Debug)]
pub struct FakeClock {
    times: Arc<Mutex<(Mono, Wall)>>,
}

impl FakeClock {
    /// A clock whose wall time is `wall` and whose monotonic time is its origin.
    pub fn at(wall: Wall) -> Self {
        Self { times: Arc::new(Mutex::new((Mono::ZERO, wall))) }
    }

    /// Moves both times on; wall time counts whole milliseconds of the monotonic time that passed.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let before_ms = times.0.since_origin().as_millis();
        times.0 = times.0 + by;
        let passed_ms = times.0.since_origin().as_millis() - before_ms;
        times.1 = times.1.plus_ms(i64::try_from(passed_ms).unwrap_or(i64::MAX));
    }

    /// Moves wall time alone, either way: somebody set the machine's clock.
    pub fn step_wall_ms(&self, ms: i64) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.1 = times.1.plus_ms(ms);
    }

    fn times(&self) -> (Mono, Wall) {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for FakeClock {
    fn mono(&self) -> Mono {
        self.times().0
    }

    fn wall(&self) -> Wall {
        self.times().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_time_and_fractions_of_a_millisecond_are_kept() {
        let clock = FakeClock::at(Wall::from_unix_ms(5));
        let seen = clock.clone();
        (0..10).for_each(|_| clock.advance(Duration::from_micros(300)));
        assert_eq!(seen.mono().since_origin(), Duration::from_millis(3));
        assert_eq!(seen.wall().unix_ms(), 8);
        clock.step_wall_ms(-8);
        assert_eq!((seen.mono().since_origin().as_millis(), seen.wall().unix_ms()), (3, 0));
    }
}
