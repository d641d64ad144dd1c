//! Applications and stream names as peers write them.

/// A text before its `?`, and the query after it.
pub(super) fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((before, query)) => (before, Some(query).filter(|query| !query.is_empty())),
        None => (text, None),
    }
}

/// The application of a connect command: without query, without slashes around it, without Flash Media Server's name for
/// "the default instance".
pub(super) fn application(text: &str) -> (String, Option<String>) {
    let (path, query) = split_query(text);
    let path = path.trim_matches('/');
    let path = path.strip_suffix("/_definst_").unwrap_or(path);
    (path.to_owned(), query.map(str::to_owned))
}

/// The stream's name of a publish or play command: without query, without a leading slash, without the prefixes by which
/// Flash players named file types.
pub(super) fn stream(text: &str) -> (String, Option<String>) {
    let (name, query) = split_query(text);
    let name = name.trim_start_matches('/');
    let name = ["flv:", "mp4:", "mp3:"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    (name.to_owned(), query.map(str::to_owned))
}

/// Both queries as one.
pub(super) fn merge_queries(first: Option<&str>, second: Option<&str>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}&{second}")),
        (first, second) => first.or(second).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_lose_query_slashes_and_default_instance() {
        let check = |text: &str, path: &str, query: Option<&str>| {
            assert_eq!(application(text), (path.to_owned(), query.map(str::to_owned)), "{text}");
        };
        check("live", "live", None);
        check("live/", "live", None);
        check("/live", "live", None);
        check("live/instance", "live/instance", None);
        check("live/_definst_", "live", None);
        check("live?key=x&y=z", "live", Some("key=x&y=z"));
        check("live/?key=x", "live", Some("key=x"));
        check("live?", "live", None);
        check("", "", None);
    }

    #[test]
    fn names_lose_query_and_prefix() {
        let check = |text: &str, name: &str, query: Option<&str>| {
            assert_eq!(stream(text), (name.to_owned(), query.map(str::to_owned)), "{text}");
        };
        check("colorbar", "colorbar", None);
        check("colorbar?key=x?y", "colorbar", Some("key=x?y"));
        check("/colorbar", "colorbar", None);
        check("mp4:colorbar", "colorbar", None);
        check("?key=x", "", Some("key=x"));
    }

    #[test]
    fn queries_merge() {
        assert_eq!(merge_queries(Some("a=1"), Some("b=2")).as_deref(), Some("a=1&b=2"));
        assert_eq!(merge_queries(None, Some("b=2")).as_deref(), Some("b=2"));
        assert_eq!(merge_queries(Some("a=1"), None).as_deref(), Some("a=1"));
        assert_eq!(merge_queries(None, None), None);
    }
}
