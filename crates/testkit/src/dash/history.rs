//! Rules between successive MPDs.

use std::collections::BTreeMap;

use super::{
    check,
    parse::{self, Mpd, Template},
    rules::*,
};
use crate::finding::{Finding, Findings};

/// Repeats of one S that are followed: more than a day of segments of a second.
const REPEATS_MAX: i64 = 100_000;

/// A Representation of a Period.
type Key = (String, String);

/// Watches the MPD of one presentation from version to version.
#[derive(Debug, Default)]
pub struct Linter {
    last: Option<Mpd>,
    starts: BTreeMap<String, i64>,
    segments: BTreeMap<Key, Known>,
}

#[derive(Debug, Default)]
struct Known {
    initialization: String,
    /// By number: time and duration; the duration of a segment that may still grow is `None`.
    segments: BTreeMap<i64, (i64, Option<i64>)>,
}

impl Linter {
    /// Checks one more version.
    pub fn observe(&mut self, uri: &str, text: &str) -> Vec<Finding> {
        let mut out = Findings::new(uri);
        let Some(mpd) = parse::parse(text, &mut out) else { return out.list };
        check(&mpd, &mut out);
        self.check_whole(&mpd, &mut out);
        self.check_periods(&mpd, &mut out);
        self.last = Some(mpd);
        out.list
    }

    fn check_whole(&self, mpd: &Mpd, out: &mut Findings) {
        let Some(last) = &self.last else { return };
        out.check(last.dynamic || !mpd.dynamic, STATIC_FINAL, mpd.line, || "the presentation was static".into());
        if !(last.dynamic && mpd.dynamic) {
            return;
        }
        out.check(last.availability_start == mpd.availability_start, START_CHANGED, mpd.line, || {
            format!("availabilityStartTime was {:?} and is {:?}", last.availability_start, mpd.availability_start)
        });
        out.check(last.publish_us <= mpd.publish_us, PUBLISH_BACK, mpd.line, || {
            format!("publishTime was {:?} us and is {:?}", last.publish_us, mpd.publish_us)
        });
    }

    fn check_periods(&mut self, mpd: &Mpd, out: &mut Findings) {
        for (n, period) in mpd.periods.iter().enumerate() {
            let id = period.id.clone().unwrap_or_default();
            if let Some(start_us) = period.start_us {
                let known = *self.starts.entry(id.clone()).or_insert(start_us);
                out.check(known == start_us, PERIOD_CHANGED, period.line, || {
                    format!("Period {id} started at {known} us and starts at {start_us}")
                });
            }
            let may_grow = mpd.dynamic && n + 1 == mpd.periods.len();
            for representation in &period.representations {
                let known = self.segments.entry((id.clone(), representation.id.clone())).or_default();
                known.follow(&representation.id, &representation.template, may_grow, out);
            }
        }
    }
}

impl Known {
    fn follow(&mut self, id: &str, template: &Template, may_grow: bool, out: &mut Findings) {
        let same = self.initialization.is_empty() || self.initialization == template.initialization;
        out.check(same, INIT_CHANGED, template.line, || {
            format!("{id}: initialization was {} and is {}", self.initialization, template.initialization)
        });
        self.initialization.clone_from(&template.initialization);
        let mut number = template.start_number;
        for (n, s) in template.timeline.iter().enumerate() {
            let last_s = n + 1 == template.timeline.len();
            for repeat in 0..=s.r.clamp(0, REPEATS_MAX) {
                let open = may_grow && last_s && repeat == s.r.max(0);
                let (t, d) = (s.t.saturating_add(repeat.saturating_mul(s.d)), (!open).then_some(s.d));
                let (known_t, known_d) = self.segments.entry(number).or_insert((t, d));
                let kept = *known_t == t && known_d.is_none_or(|known_d| d.is_none_or(|d| d == known_d));
                out.check(kept, SEGMENT_CHANGED, s.line, || {
                    format!("{id}: segment {number} was at {known_t} for {known_d:?} and is at {t} for {d:?}")
                });
                *known_d = known_d.or(d);
                number = number.saturating_add(1);
            }
        }
    }
}
