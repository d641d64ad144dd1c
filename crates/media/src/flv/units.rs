use crate::{Sample, Track};

/// What a publisher's message means.
#[derive(Clone, Debug, PartialEq)]
pub enum Unit {
    /// A new or changed decoder configuration; the samples from here on need it.
    Track {
        /// 0, or the id of Enhanced RTMP multitrack. Audio and video count apart.
        track_id: u8,
        /// The configuration.
        track: Track,
    },
    /// One access unit.
    Sample {
        /// As in [`Unit::Track`].
        track_id: u8,
        /// In the timescale of the track.
        sample: Sample,
    },
    /// The sender says that the sequence is at its end.
    End,
}

/// The units of one message: almost always one, so that two fit without an allocation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Units {
    inline: [Option<Unit>; 2],
    /// Only multitrack messages get here; the message's length bounds it.
    rest: Vec<Unit>,
}

impl Units {
    pub(super) fn push(&mut self, unit: Unit) {
        match self.inline.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(unit),
            None => self.rest.push(unit),
        }
    }

    /// Whether the message had nothing for anyone.
    pub fn is_empty(&self) -> bool {
        self.inline[0].is_none()
    }
}

/// The units of a message in their order.
pub type UnitsIter =
    std::iter::Chain<std::iter::Flatten<std::array::IntoIter<Option<Unit>, 2>>, std::vec::IntoIter<Unit>>;

impl IntoIterator for Units {
    type Item = Unit;
    type IntoIter = UnitsIter;

    fn into_iter(self) -> UnitsIter {
        self.inline.into_iter().flatten().chain(self.rest)
    }
}
