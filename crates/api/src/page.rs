//! Listings: at most a hundred rows at a time, and an opaque cursor for the next ones.

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use store::catalogue::Page;
use utoipa::ToSchema;

use crate::problem::Problem;

/// Rows of a page when the client does not say.
pub(crate) const LIMIT_DEFAULT: u32 = 50;
/// Most rows of a page: an answer stays below a megabyte.
pub(crate) const LIMIT_MAX: u32 = 100;
/// Longest position inside a cursor, in bytes: ids and names are shorter.
const POSITION_BYTES_MAX: usize = 200;

/// One page of a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing<T> {
    /// The rows, in the listing's order.
    pub(crate) data: Vec<T>,
    /// Give it back as `cursor` for the rows behind these; `null` at the end.
    pub(crate) next_cursor: Option<String>,
}

impl<T> Listing<T> {
    /// A page of the catalogue's as clients see it; its cursors are the catalogue's.
    pub(crate) fn of<R>(page: Page<R>, view: impl FnMut(R) -> T) -> Self {
        Self { data: page.rows.into_iter().map(view).collect(), next_cursor: page.next }
    }

    /// Rows that need no pages.
    pub(crate) fn whole<R>(rows: Vec<R>, view: impl FnMut(R) -> T) -> Self {
        Self::of(Page { rows, next: None }, view)
    }

    /// A page of rows that are all at hand. `key` is unique; the listing is in its order. `name` keeps a cursor to its own listing.
    pub(crate) fn cut<R>(
        name: &str,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> &str,
        asked: &Asked,
        view: impl FnMut(R) -> T,
    ) -> Result<Self, Problem> {
        rows.sort_by(|a, b| key(a).cmp(key(b)));
        if let Some(cursor) = &asked.after {
            let after = decode(name, cursor).ok_or_else(not_a_cursor)?;
            rows.retain(|row| key(row) > after.as_str());
        }
        let more = rows.len() > asked.limit as usize;
        rows.truncate(asked.limit as usize);
        let next = rows.last().filter(|_| more).map(|row| encode(name, key(row)));
        Ok(Self::of(Page { rows, next }, view))
    }
}

/// What a client asked of a listing, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Most rows.
    pub(crate) limit: u32,
    /// The cursor behind which the page begins.
    pub(crate) after: Option<String>,
}

impl Asked {
    /// Checks `limit`; the listing checks `cursor`.
    pub(crate) fn read(limit: Option<u32>, cursor: Option<String>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let detail = format!("limit={limit} is not between 1 and {LIMIT_MAX}.");
            return Err(Problem::invalid(detail, "Ask for fewer rows and follow next_cursor."));
        }
        Ok(Self { limit, after: cursor })
    }
}

/// 400: a cursor that its listing does not know.
pub(crate) fn not_a_cursor() -> Problem {
    Problem::new(
        http::StatusCode::BAD_REQUEST,
        "invalid_cursor",
        "Not a cursor of this listing",
        "The cursor does not come from this listing.",
        "Use next_cursor of an earlier answer to the same request as it is, or leave cursor out to begin again.",
    )
}

fn encode(name: &str, position: &str) -> String {
    BASE64URL_NOPAD.encode(format!("{name}:{position}").as_bytes())
}

fn decode(name: &str, cursor: &str) -> Option<String> {
    if cursor.len() > 2 * POSITION_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()?;
    let position = text.strip_prefix(name)?.strip_prefix(':')?;
    let printable = position.bytes().all(|b| b.is_ascii_graphic());
    (printable && (1..=POSITION_BYTES_MAX).contains(&position.len())).then(|| position.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_own_listing_only() {
        let cursor = encode("assets", "ast_1");
        assert_eq!(decode("assets", &cursor).as_deref(), Some("ast_1"));
        assert_eq!(decode("jobs", &cursor), None);
        assert_eq!(decode("assets", "ast_1"), None);
        assert_eq!(decode("assets", &encode("assets", "a\0b")), None);
        assert_eq!(decode("assets", &encode("assets", "")), None);
    }

    #[test]
    fn pages_of_rows_at_hand_lose_and_double_none() {
        let rows: Vec<String> = (0..10).map(|n| format!("row{n}")).collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let asked = Asked::read(Some(3), cursor).unwrap();
            let page: Listing<String> = Listing::cut("rows", rows.clone(), |row| row, &asked, |row| row).unwrap();
            seen.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, rows);
    }

    #[test]
    fn limits_are_checked() {
        for (limit, ok) in [(None, true), (Some(1), true), (Some(100), true), (Some(0), false), (Some(101), false)] {
            assert_eq!(Asked::read(limit, None).is_ok(), ok, "{limit:?}");
        }
    }
}
