//! "Did you mean …?"

/// The candidate nearest to `word`, when one is near enough to be what was meant: at most a third of the word is
/// different, and two letters of a short one.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= allowed && distance < candidate.chars().count())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`: optimal string alignment.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let check = |a: &str, b: &str, edits: usize| assert_eq!(distance(a, b), edits, "{a} {b}");
        check("", "", 0);
        check("http", "http", 0);
        check("htpt", "http", 1);
        check("rtmp", "rtmps", 1);
        check("kitten", "sitting", 3);
        check("", "abc", 3);
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let keys = ["data_dir", "ops", "log_level", "log_format"];
        let check = |word: &str, expected: Option<&str>| assert_eq!(nearest(word, keys), expected, "{word}");
        check("data-dir", Some("data_dir"));
        check("loglevel", Some("log_level"));
        check("osp", Some("ops"));
        check("segment_duration", None);
        check("x", None);
    }
}
