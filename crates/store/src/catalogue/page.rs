//! Where a page of a listing ends: the sort key of its last row, so that rows which come or go meanwhile neither hide nor repeat others.

use data_encoding::BASE64URL_NOPAD;

use super::{Page, engine::Result};
use crate::Error;

/// Most rows of a page, whatever the caller asks for: a page is held in memory.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// Longest cursor that is looked at, in bytes: twice what the longest sort key makes.
const CURSOR_BYTES_MAX: usize = 256;

/// The sort key of a row: a number (time or position) and a text or number that settles ties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// First part of the key.
    pub(crate) at: i64,
    /// Second part.
    pub(crate) tie: String,
}

impl Mark {
    /// As the opaque text that clients give back. `listing` keeps a cursor from being used elsewhere.
    pub(crate) fn encode(&self, listing: &str) -> String {
        BASE64URL_NOPAD.encode(format!("{listing} {} {}", self.at, self.tie).as_bytes())
    }

    /// # Errors
    /// [`Error::Cursor`] when the text is no position in this listing.
    pub(crate) fn decode(listing: &str, text: &str) -> Result<Self> {
        let parsed = || {
            let bytes = (text.len() <= CURSOR_BYTES_MAX).then(|| BASE64URL_NOPAD.decode(text.as_bytes()).ok())??;
            let plain = String::from_utf8(bytes).ok()?;
            let mut words = plain.splitn(3, ' ');
            let (name, at, tie) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
            (name == listing).then(|| Self { at, tie: tie.to_owned() })
        };
        parsed().ok_or_else(|| Error::Cursor { text: text.chars().take(100).collect() })
    }

    /// The mark of an optional cursor.
    pub(crate) fn decode_opt(listing: &str, text: Option<&str>) -> Result<Option<Self>> {
        text.map(|text| Self::decode(listing, text)).transpose()
    }
}

/// How many rows to ask for so that one shows whether there is a next page.
pub(crate) fn rows_to_ask(limit: u32) -> i64 {
    i64::from(limit.clamp(1, PAGE_ROWS_MAX)) + 1
}

/// A page of at most `limit` of `rows`, which were asked for with [`rows_to_ask`].
pub(crate) fn page<T>(mut rows: Vec<T>, limit: u32, listing: &str, mark: impl Fn(&T) -> Mark) -> Page<T> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX) as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| mark(row).encode(listing));
    Page { rows, next }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_listing() {
        let mark = Mark { at: 1_700_000_000_000, tie: "ast_0".into() };
        let text = mark.encode("assets");

        assert_eq!(Mark::decode("assets", &text).expect("it reads back"), mark);
        for other in [Mark::decode("jobs", &text), Mark::decode("assets", &text[1..]), Mark::decode("assets", "")] {
            assert!(other.expect_err("refused").to_string().contains("begin again without one"));
        }
    }

    #[test]
    fn a_page_says_whether_there_is_another() {
        let mark = |row: &i64| Mark { at: *row, tie: String::new() };
        assert_eq!(rows_to_ask(2), 3);
        assert!(page(vec![3, 2, 1], 2, "n", mark).next.is_some());
        assert_eq!(page(vec![3, 2], 2, "n", mark), Page { rows: vec![3, 2], next: None });
        assert_eq!(rows_to_ask(0), 2, "a page has at least one row");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Mark::decode("assets", &text);
            let _ = Mark::decode("assets", &BASE64URL_NOPAD.encode(&bytes));
        }

        #[test]
        fn every_mark_reads_back(at in any::<i64>(), tie in "[ -~]{0,40}") {
            let mark = Mark { at, tie };
            prop_assert_eq!(Mark::decode("x", &mark.encode("x")).expect("it reads back"), mark);
        }
    }
}
