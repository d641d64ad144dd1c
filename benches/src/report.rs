//! The table, as Markdown.

use std::fmt::Write as _;

/// One measure: ours, the peer's, and what was to be reached.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) headwater: String,
    pub(crate) peer: String,
    pub(crate) goal: String,
    /// `None` where there is nothing to judge.
    pub(crate) reached: Option<bool>,
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from("| measure | headwater | nginx-rtmp | to reach | |\n|---|---|---|---|---|\n");
    for Row { measure, headwater, peer, goal, reached } in rows {
        let verdict = match reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        };
        let _ = writeln!(text, "| {measure} | {headwater} | {peer} | {goal} | {verdict} |");
    }
    text
}

/// The value below which a share of `values` lies.
pub(crate) fn percentile<T: Copy + PartialOrd>(values: &[T], share: f64) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let index = ((sorted.len() as f64 - 1.0) * share).round();
    sorted.get(index as usize).copied()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5).unwrap_or(f64::NAN)
}
