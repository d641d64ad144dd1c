//! One RTMP player's place at the fan-out: what it has still to be sent, and when it is too slow. The socket is an argument.

use std::{collections::VecDeque, io, time::Duration};

use base::Mono;
use bytes::{Buf, Bytes};

use super::batch::Batch;

/// A player that takes nothing for this long is gone.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How far a player may be behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    pub(crate) max: Duration,
    pub(crate) bytes_max: usize,
}

/// What is queued for one player. Batches are whole messages, so that only whole messages are ever left out.
#[derive(Debug)]
pub(crate) struct Queue {
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    /// The front of `pending` was sent in part: it must be finished before anything is left out.
    partial: bool,
    /// Since when the queue has not been empty.
    behind_since: Option<Mono>,
    last_progress: Mono,
    skipping: bool,
    pub(crate) skips: u64,
}

/// What became of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Everything is sent.
    Done,
    /// Something waits; try again soon.
    Behind,
    /// The player is gone.
    Gone,
}

impl Queue {
    pub(crate) fn new(now: Mono) -> Self {
        Self {
            pending: VecDeque::new(),
            pending_bytes: 0,
            partial: false,
            behind_since: None,
            last_progress: now,
            skipping: false,
            skips: 0,
        }
    }

    /// Adds protocol messages that must not be left out.
    pub(crate) fn control(&mut self, message: Bytes) {
        let at = usize::from(self.partial && !self.pending.is_empty());
        self.pending_bytes += message.len();
        self.pending.insert(at, message);
    }

    /// Adds frames; a player that is behind by more than `lag` loses all but the next keyframe and what follows it.
    pub(crate) fn media(&mut self, batch: &Batch, lag: Lag, now: Mono) {
        let late = self.behind_since.is_some_and(|since| now.since(since) > lag.max);
        if !self.skipping && (late || self.pending_bytes > lag.bytes_max) {
            self.skip(now);
        }
        match (self.skipping, &batch.entrance) {
            (false, _) => self.push(batch.bytes.clone()),
            (true, Some(entrance)) => {
                self.push(entrance.headers.clone());
                self.push(batch.bytes.slice(entrance.offset..));
            }
            (true, None) => return,
        }
        self.skipping = false;
    }

    fn push(&mut self, bytes: Bytes) {
        self.pending_bytes += bytes.len();
        self.pending.push_back(bytes);
    }

    /// Leaves frames out until the next keyframe.
    pub(crate) fn await_entrance(&mut self) {
        self.skipping = true;
    }

    /// Leaves out what waits, and all frames until the next keyframe.
    pub(crate) fn skip(&mut self, now: Mono) {
        self.pending.truncate(usize::from(self.partial));
        self.pending_bytes = self.pending.iter().map(Bytes::len).sum();
        self.behind_since = Some(now);
        self.skipping = true;
        self.skips += 1;
    }

    /// Sends as much as `write` takes without blocking.
    pub(crate) fn flush(&mut self, now: Mono, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> Delivery {
        while let Some(front) = self.pending.front_mut() {
            match write(front) {
                Ok(0) => return Delivery::Gone,
                Ok(sent) => {
                    front.advance(sent);
                    self.pending_bytes -= sent;
                    self.last_progress = now;
                    self.partial = front.has_remaining();
                    if !self.partial {
                        self.pending.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.behind(now),
                Err(_) => return Delivery::Gone,
            }
        }
        self.behind_since = None;
        Delivery::Done
    }

    fn behind(&mut self, now: Mono) -> Delivery {
        self.behind_since.get_or_insert(now);
        if now.since(self.last_progress) > STALL_MAX { Delivery::Gone } else { Delivery::Behind }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::batch::Entrance, *};

    const LAG: Lag = Lag { max: Duration::from_secs(5), bytes_max: 100 };

    fn at(seconds: u64) -> Mono {
        Mono::from_origin(Duration::from_secs(seconds))
    }

    fn batch(text: &'static str, entrance: Option<usize>) -> Batch {
        let entrance = entrance.map(|offset| Entrance { offset, headers: Bytes::from_static(b"[h]") });
        Batch { bytes: Bytes::from_static(text.as_bytes()), entrance }
    }

    /// A socket that takes `room` bytes and then blocks.
    fn flush(queue: &mut Queue, now: Mono, mut room: usize, into: &mut String) -> Delivery {
        queue.flush(now, |bytes| {
            let taken = bytes.len().min(room);
            room -= taken;
            into.push_str(std::str::from_utf8(&bytes[..taken]).unwrap());
            if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
        })
    }

    #[test]
    fn a_slow_player_skips_to_the_next_keyframe_without_cutting_a_message() {
        let (mut queue, mut got) = (Queue::new(at(0)), String::new());
        queue.media(&batch("[k1][d2]", Some(0)), LAG, at(0));
        assert_eq!(flush(&mut queue, at(0), 3, &mut got), Delivery::Behind);
        queue.media(&batch("[d3]", None), LAG, at(1));
        queue.media(&batch("[d4]", None), LAG, at(7));
        queue.media(&batch("[d5][k6][d7]", Some(4)), LAG, at(8));
        assert_eq!(flush(&mut queue, at(8), 100, &mut got), Delivery::Done);
        assert_eq!(got, "[k1][d2][h][k6][d7]");
        assert_eq!(queue.skips, 1);
    }

    #[test]
    fn a_player_that_joins_between_keyframes_or_pauses_begins_at_one() {
        let (mut queue, mut got) = (Queue::new(at(0)), String::new());
        queue.await_entrance();
        queue.media(&batch("[d1][d2]", None), LAG, at(0));
        queue.media(&batch("[d3][k4]", Some(4)), LAG, at(0));
        queue.media(&batch("[d5][k6]", Some(4)), LAG, at(0));
        assert_eq!(flush(&mut queue, at(0), 100, &mut got), Delivery::Done);
        assert_eq!((got.as_str(), queue.skips), ("[h][k4][d5][k6]", 0));
    }

    #[test]
    fn bytes_bound_the_queue_too() {
        let mut queue = Queue::new(at(0));
        for _ in 0..100 {
            queue.media(&batch("0123456789012345678901234567890123456789", None), LAG, at(0));
        }
        assert!(queue.pending_bytes <= LAG.bytes_max + 40);
    }

    #[test]
    fn control_messages_go_between_messages_and_survive() {
        let (mut queue, mut got) = (Queue::new(at(0)), String::new());
        queue.media(&batch("[k1]", Some(0)), LAG, at(0));
        assert_eq!(flush(&mut queue, at(0), 2, &mut got), Delivery::Behind);
        queue.media(&batch("[d2]", None), LAG, at(0));
        queue.control(Bytes::from_static(b"<pong>"));
        assert_eq!(flush(&mut queue, at(1), 100, &mut got), Delivery::Done);
        assert_eq!(got, "[k1]<pong>[d2]");
    }

    #[test]
    fn a_player_that_takes_nothing_is_gone_in_the_end() {
        let (mut queue, mut got) = (Queue::new(at(0)), String::new());
        queue.media(&batch("[k1]", Some(0)), LAG, at(0));
        assert_eq!(flush(&mut queue, at(1), 0, &mut got), Delivery::Behind);
        assert_eq!(flush(&mut queue, at(31), 0, &mut got), Delivery::Gone);
    }
}
