use std::{collections::BTreeMap, time::Duration};

use base::Mono;
use bytes::Bytes;

use crate::Random;

/// How a path treats what is sent over it.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Time every packet takes.
    pub delay: Duration,
    /// Up to this much more, at random.
    pub jitter: Duration,
    /// Thousandths of the datagrams that never arrive.
    pub loss_per_mille: u32,
    /// Thousandths of the datagrams that arrive twice.
    pub duplicate_per_mille: u32,
    /// Whether jitter lets a datagram overtake another; otherwise they keep their order.
    pub reorder: bool,
    /// Most bytes of a stream handed over at once; zero for whatever is there. Sizes vary from one byte to this.
    pub chunk_bytes_max: usize,
}

/// One direction of a network for sans-IO sessions, in virtual time: the same seed delivers the same bytes at the same times.
///
/// A datagram may be lost, doubled and overtaken. A byte stream ([`Net::stream`]) is only cut, joined and delayed.
///
/// ```
/// use base::Mono;
/// use testkit::{Net, Path};
///
/// let path = Path { delay: std::time::Duration::from_millis(20), chunk_bytes_max: 3, ..Path::default() };
/// let mut net = Net::stream(path, 1);
/// net.send(Mono::ZERO, b"hello, world".as_slice().into());
/// let mut got = Vec::new();
/// while let Some(at) = net.next_arrival() {
///     got.extend_from_slice(&net.receive(at).expect("something arrives then"));
/// }
/// assert_eq!(got, b"hello, world");
/// ```
#[derive(Clone, Debug)]
pub struct Net {
    path: Path,
    random: Random,
    is_stream: bool,
    flying: BTreeMap<(Mono, u64), Bytes>,
    sent: u64,
    last_arrival: Mono,
}

impl Net {
    /// A path of datagrams.
    pub fn datagrams(path: Path, seed: u64) -> Self {
        Self::new(path, seed, false)
    }

    /// A path of one ordered byte stream; loss, duplication and reordering do not apply to it.
    pub fn stream(path: Path, seed: u64) -> Self {
        Self::new(path, seed, true)
    }

    fn new(path: Path, seed: u64, is_stream: bool) -> Self {
        let flying = BTreeMap::new();
        Self { path, random: Random::new(seed), is_stream, flying, sent: 0, last_arrival: Mono::ZERO }
    }

    /// Hands a datagram, or the next bytes of the stream, to the network at `now`.
    pub fn send(&mut self, now: Mono, bytes: Bytes) {
        if self.is_stream {
            return self.send_stream(now, bytes);
        }
        if self.random.chance(self.path.loss_per_mille) {
            return;
        }
        let copies = if self.random.chance(self.path.duplicate_per_mille) { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.arrival(now, !self.path.reorder);
            self.fly(at, bytes.clone());
        }
    }

    /// When the next bytes arrive; `None` when nothing is on the way.
    pub fn next_arrival(&self) -> Option<Mono> {
        self.flying.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next bytes that have arrived by `now`. What has arrived of a stream may come joined.
    pub fn receive(&mut self, now: Mono) -> Option<Bytes> {
        let first = self.flying.first_entry().filter(|entry| entry.key().0 <= now)?.remove();
        if !self.is_stream {
            return Some(first);
        }
        let mut joined = first.to_vec();
        while self.random.chance(500) {
            let fits = |bytes: &Bytes| {
                self.path.chunk_bytes_max == 0 || joined.len() + bytes.len() <= self.path.chunk_bytes_max
            };
            let Some(entry) = self.flying.first_entry() else { break };
            if entry.key().0 > now || !fits(entry.get()) {
                break;
            }
            joined.extend_from_slice(&entry.remove());
        }
        Some(joined.into())
    }

    fn send_stream(&mut self, now: Mono, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let limit = self.path.chunk_bytes_max as u64;
            let drawn = if limit == 0 { u64::MAX } else { 1 + self.random.below(limit) };
            let piece = bytes.split_to(usize::try_from(drawn).unwrap_or(usize::MAX).min(bytes.len()));
            let at = self.arrival(now, true);
            self.fly(at, piece);
        }
    }

    fn arrival(&mut self, now: Mono, ordered: bool) -> Mono {
        let jitter_us = u64::try_from(self.path.jitter.as_micros()).unwrap_or(u64::MAX - 1);
        let late = Duration::from_micros(self.random.below(jitter_us + 1));
        let at = now + self.path.delay + late;
        self.last_arrival = self.last_arrival.max(at);
        if ordered { self.last_arrival } else { at }
    }

    fn fly(&mut self, at: Mono, bytes: Bytes) {
        self.flying.insert((at, self.sent), bytes);
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rough() -> Path {
        Path {
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(25),
            loss_per_mille: 100,
            duplicate_per_mille: 100,
            reorder: true,
            chunk_bytes_max: 7,
        }
    }

    fn run(mut net: Net) -> Vec<(Mono, Bytes)> {
        for n in 0..500_u16 {
            net.send(Mono::ZERO + Duration::from_millis(u64::from(n)), Bytes::copy_from_slice(&n.to_be_bytes()));
        }
        std::iter::from_fn(|| net.next_arrival().and_then(|at| Some((at, net.receive(at)?)))).collect()
    }

    #[test]
    fn a_stream_arrives_whole_and_in_order_however_it_is_cut() {
        for seed in 0..20 {
            let arrived = run(Net::stream(rough(), seed));
            let bytes: Vec<u8> = arrived.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
            assert_eq!(bytes, (0..500_u16).flat_map(u16::to_be_bytes).collect::<Vec<_>>());
            assert!(arrived.iter().all(|(_, bytes)| bytes.len() <= 7));
            assert!(
                arrived.iter().any(|(_, bytes)| bytes.len() == 1) && arrived.iter().any(|(_, bytes)| bytes.len() > 2)
            );
        }
    }

    #[test]
    fn datagrams_are_lost_doubled_and_overtaken_the_same_way_for_the_same_seed() {
        let arrived = run(Net::datagrams(rough(), 3));
        assert_eq!(arrived, run(Net::datagrams(rough(), 3)));
        assert_ne!(arrived, run(Net::datagrams(rough(), 4)));
        let numbers: Vec<&Bytes> = arrived.iter().map(|(_, bytes)| bytes).collect();
        let distinct = numbers.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!((400..500).contains(&distinct), "{distinct}");
        assert!(numbers.len() > distinct);
        assert!(numbers.windows(2).any(|pair| pair[0] > pair[1]));
        assert!(arrived.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn without_reordering_jitter_keeps_the_order() {
        let path = Path { reorder: false, loss_per_mille: 0, duplicate_per_mille: 0, ..rough() };
        let arrived = run(Net::datagrams(path, 9));
        assert_eq!(arrived.len(), 500);
        assert!(arrived.windows(2).all(|pair| pair[0].1 < pair[1].1));
    }
}
