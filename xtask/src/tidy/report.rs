//! Lengths and ratios, so that they are seen. Nothing here fails.

use std::{collections::BTreeMap, fmt::Write as _};

use super::source::Source;

/// A file over this length wants a reason.
const LONG_FILE_LINES: usize = 600;

#[derive(Default)]
struct Room {
    files: usize,
    code: usize,
    tests: usize,
    functions: Vec<usize>,
}

/// A table by crate, and the longest files.
pub(super) fn text(sources: &[Source]) -> String {
    let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
    for source in sources {
        let room = rooms.entry(source.room()).or_default();
        let written = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).count();
        let (all, product) = (written(&source.code), written(&source.product));
        room.files += 1;
        room.code += product;
        room.tests += all - product;
        room.functions.extend(function_lengths(&source.product));
    }
    let mut text = format!(
        "{:<20} {:>6} {:>7} {:>7} {:>6} {:>10} {:>7} {:>5}\n",
        "", "files", "code", "tests", "ratio", "functions", "median", "p90"
    );
    for (name, room) in &mut rooms {
        room.functions.sort_unstable();
        let ratio =
            (room.tests * 100).checked_div(room.code).map_or("-".to_owned(), |r| format!("{}.{:02}", r / 100, r % 100));
        let (median, p90) = (percentile(&room.functions, 50), percentile(&room.functions, 90));
        let _ = writeln!(
            text,
            "{name:<20} {:>6} {:>7} {:>7} {ratio:>6} {:>10} {median:>7} {p90:>5}",
            room.files,
            room.code,
            room.tests,
            room.functions.len()
        );
    }
    let mut long: Vec<_> = sources.iter().filter(|source| source.line_count() > LONG_FILE_LINES).collect();
    long.sort_by_key(|source| std::cmp::Reverse(source.line_count()));
    for source in long {
        let _ = writeln!(text, "long file: {} ({} lines)", source.path, source.line_count());
    }
    text
}

fn percentile(sorted: &[usize], percent: usize) -> usize {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}

/// The number of lines of each function's body, from its brace to its closing brace.
fn function_lengths(code: &str) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|at| from + at) {
        from = at + "fn ".len();
        let starts_a_word = code[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '(');
        let named = code[from..].chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        let Some(open) = code[from..].find(['{', ';']).map(|open| from + open) else { break };
        if !starts_a_word || !named || code[open..].starts_with(';') {
            continue;
        }
        let mut depth = 0_usize;
        for (offset, c) in code[open..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                lengths.push(1 + code[at..open + offset].matches('\n').count());
                break;
            }
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_name_to_brace() {
        let check = |code: &str, expected: &[usize]| assert_eq!(function_lengths(code), expected, "{code}");
        check("fn a() {}", &[1]);
        check("pub fn a(\n) {\n  if b { c }\n}\nfn d() {\n}", &[4, 2]);
        check("trait T { fn a(); fn b() {} }", &[1]);
        check("let f: fn (u8) = g;", &[]);
    }

    #[test]
    fn the_table_counts_code_and_tests_apart() {
        let source = Source::new("crates/media/src/lib.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n");
        let table = text(&[source]);
        let row: Vec<_> = table.lines().nth(1).expect("one room").split_whitespace().collect();
        assert_eq!(row, ["crates/media", "1", "1", "4", "4.00", "1", "1", "1"]);
    }
}
