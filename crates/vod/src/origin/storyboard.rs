//! The storyboard: small pictures in sheets, and cues that say where each is (media fragments, `#xywh`).

use std::fmt::Write;

use packager::vod::Images;

use super::{answer::Failure, shelf::Snapshot};
use crate::protocol::Storyboard;

/// Most cues: a picture a second for a day.
const CUES_MAX: u32 = 86_400;

fn read(snapshot: &Snapshot) -> Option<Storyboard> {
    let storyboard: Storyboard = serde_json::from_value(snapshot.asset.storyboard.clone()?).ok()?;
    let usable =
        storyboard.interval_ms > 0 && storyboard.columns > 0 && storyboard.rows > 0 && !storyboard.sheets.is_empty();
    usable.then_some(storyboard)
}

/// How the manifest tells of it.
pub(super) fn images(snapshot: &Snapshot) -> Option<Images> {
    let storyboard = read(snapshot)?;
    let bytes: u64 = storyboard.sheets.iter().map(|sheet| sheet.bytes).fold(0, u64::saturating_add);
    Some(Images {
        interval_ms: u32::try_from(storyboard.interval_ms).ok()?,
        columns: storyboard.columns,
        rows: storyboard.rows,
        width: storyboard.width,
        height: storyboard.height,
        sheet_bytes: bytes / storyboard.sheets.len() as u64,
    })
}

/// The object of a sheet.
pub(super) fn sheet(snapshot: &Snapshot, number: usize) -> Result<String, Failure> {
    let storyboard = read(snapshot).ok_or_else(|| snapshot.missing())?;
    storyboard.sheets.get(number).map(|sheet| sheet.key.clone()).ok_or(Failure::NotFound)
}

/// WebVTT with a cue for each picture.
pub(super) fn cues(snapshot: &Snapshot) -> Result<String, Failure> {
    let storyboard = read(snapshot).ok_or_else(|| snapshot.missing())?;
    Ok(render(&storyboard, snapshot.asset.duration_ms))
}

fn render(storyboard: &Storyboard, duration_ms: Option<i64>) -> String {
    let Storyboard { interval_ms, columns, rows, width, height, .. } = *storyboard;
    let (columns, per_sheet) = (u64::from(columns), u64::from(columns) * u64::from(rows));
    let mut text = String::from("WEBVTT\n");
    for n in 0..u64::from(storyboard.count.min(CUES_MAX)) {
        let start_ms = interval_ms.saturating_mul(n as i64);
        let end_ms = start_ms.saturating_add(interval_ms);
        let end_ms = duration_ms.filter(|duration_ms| *duration_ms > start_ms).map_or(end_ms, |last| end_ms.min(last));
        let (sheet, place) = (n / per_sheet, n % per_sheet);
        if sheet >= storyboard.sheets.len() as u64 {
            break;
        }
        let (x, y) = (place % columns * u64::from(width), place / columns * u64::from(height));
        let _ = write!(
            text,
            "\n{} --> {}\nstoryboard-{sheet}.jpg#xywh={x},{y},{width},{height}\n",
            clock(start_ms),
            clock(end_ms)
        );
    }
    text
}

fn clock(ms: i64) -> String {
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ObjectRef;

    #[test]
    fn cues_walk_over_the_sheets() {
        let sheet = |key: &str| ObjectRef { key: key.into(), bytes: 1, sha256: String::new() };
        let storyboard = Storyboard {
            sheets: vec![sheet("a"), sheet("b")],
            interval_ms: 2_000,
            columns: 2,
            rows: 1,
            width: 160,
            height: 90,
            count: 3,
        };
        let want = "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nstoryboard-0.jpg#xywh=0,0,160,90\n\n\
            00:00:02.000 --> 00:00:04.000\nstoryboard-0.jpg#xywh=160,0,160,90\n\n\
            00:00:04.000 --> 00:00:04.500\nstoryboard-1.jpg#xywh=0,0,160,90\n";
        assert_eq!(render(&storyboard, Some(4_500)), want);
    }
}
