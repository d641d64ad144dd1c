//! What a person sees: bars on a terminal, lines elsewhere, tables.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use serde_json::Value;

/// Cells of a bar.
const BAR_CELLS: usize = 24;
/// Without a terminal a line is printed when this much more is done, in permille.
const STEP_PERMILLE: u64 = 100;

/// One moving line on stderr; a line now and then where stderr is no terminal.
#[derive(Debug)]
pub(super) struct Line {
    moving: bool,
    quiet: bool,
    drawn: usize,
    said: Option<u64>,
}

impl Line {
    pub(super) fn new(quiet: bool) -> Self {
        Self { moving: std::io::stderr().is_terminal(), quiet, drawn: 0, said: None }
    }

    /// `offset` of `total` bytes are there.
    pub(super) fn bytes(&mut self, what: &str, offset: u64, total: u64) {
        let permille = (offset.saturating_mul(1_000)).checked_div(total).unwrap_or(1_000);
        let text = format!("{what}  {} {} of {}", bar(permille), size(offset), size(total));
        self.lines(permille, &[text]);
    }

    /// These lines in place of those before.
    pub(super) fn lines(&mut self, permille: u64, lines: &[String]) {
        if self.quiet {
            return;
        }
        let mut err = std::io::stderr().lock();
        if self.moving {
            if self.drawn > 0 {
                let _ = write!(err, "\x1b[{}A", self.drawn);
            }
            for line in lines {
                let _ = writeln!(err, "\x1b[2K{line}");
            }
            // Lines of before that are no more.
            for _ in lines.len()..self.drawn {
                let _ = writeln!(err, "\x1b[2K");
            }
            self.drawn = lines.len().max(self.drawn);
        } else if self.said.is_none_or(|said| permille >= said + STEP_PERMILLE || permille == 1_000 && said < 1_000) {
            self.said = Some(permille);
            for line in lines {
                let _ = writeln!(err, "{line}");
            }
        }
    }

    /// What was drawn stays.
    pub(super) fn end(&mut self) {
        (self.drawn, self.said) = (0, None);
    }

    /// A line that stays.
    pub(super) fn note(&mut self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        self.end();
    }
}

/// `[########----]  62 %`
pub(super) fn bar(permille: u64) -> String {
    let permille = permille.min(1_000);
    let full = BAR_CELLS * permille as usize / 1_000;
    format!("[{}{}] {:>3} %", "#".repeat(full), "-".repeat(BAR_CELLS - full), permille / 10)
}

/// `12.3 MB`
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1:02:03`, `2:03`, `3 s`
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

/// Rows as aligned columns under their heads.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head = line(heads.to_vec());
    rows.iter().fold(head, |text, row| text + &line(row.iter().map(String::as_str).collect()))
}

/// A field of a row as a cell; nested fields by dots.
pub(super) fn cell(row: &Value, path: &str) -> String {
    let found = path.split('.').fold(row, |value, key| &value[key]);
    match found {
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => scalar(other),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_for_people() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(12_345_678), "12.3 MB");
        assert_eq!(duration(Duration::from_secs(3)), "3 s");
        assert_eq!(duration(Duration::from_secs(3_723)), "1:02:03");
        assert_eq!(bar(0), "[------------------------]   0 %");
        assert_eq!(bar(500), "[############------------]  50 %");
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [vec!["a".to_owned(), "ready".to_owned()], vec!["longer".to_owned(), "-".to_owned()]];
        assert_eq!(table(&["ID", "STATE"], &rows), "ID      STATE\na       ready\nlonger  -\n");
    }
}
