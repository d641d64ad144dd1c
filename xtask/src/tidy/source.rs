//! A source file as the rules see it: without comments, without texts, and without its tests.

/// A file in three forms with the same lines.
pub(super) struct Source {
    /// Relative to the checkout.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// Comments, strings and characters are blanks.
    pub(super) code: String,
    /// The same, and tests are blanks.
    pub(super) product: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = without_texts(text);
        let product = if is_test_file(path) { blank(&code) } else { without_tests(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, product }
    }

    pub(super) fn line_count(&self) -> usize {
        self.text.lines().count()
    }

    /// The crate or folder it belongs to: `crates/media`, `xtask`.
    pub(super) fn room(&self) -> String {
        let depth = if self.path.starts_with("crates/") { 2 } else { 1 };
        self.path.split('/').take(depth).collect::<Vec<_>>().join("/")
    }
}

fn is_test_file(path: &str) -> bool {
    let inner = path.strip_prefix("tests/").map_or(path, |_| "/tests/");
    inner.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("fuzz/fuzz_targets/")
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
}

/// Replaces comments, strings and characters by blanks.
fn without_texts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = if before.is_alphanumeric() || before == '_' { None } else { literal(rest) };
        let length = length.or_else(|| comment(rest)).or_else(|| quoted(rest));
        match length {
            Some(length) => {
                let (gone, left) = rest.split_at(length);
                out += &blank(gone);
                before = ' ';
                rest = left;
            }
            None => {
                out.push(first);
                before = first;
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest[at..];
        let step = if here.starts_with("/*") {
            depth += 1;
            2
        } else if here.starts_with("*/") {
            depth -= 1;
            2
        } else {
            here.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`, `b'…'` at the beginning of a word.
fn literal(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix)
            .is_some_and(|after| after.trim_start_matches('#').starts_with('"') || after.starts_with('\''))
    })?;
    let after = &rest[prefix.len()..];
    if !prefix.ends_with('r') {
        return quoted(after).map(|length| prefix.len() + length);
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let body = &after[hashes + 1..];
    Some(prefix.len() + hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

/// `"…"`, or `'…'` when it is a character and not a lifetime.
fn quoted(rest: &str) -> Option<usize> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if quote == '\'' {
        let mut inner = rest.chars().skip(1);
        let (first, second) = (inner.next()?, inner.next()?);
        if first != '\\' && second != '\'' {
            return None;
        }
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// Replaces every item under `#[cfg(test)]` (also within `all(...)`) by blanks. Expects code without texts.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(at) = out[from..].find("#[cfg(").map(|at| from + at) {
        let Some(close) = out[at..].find(']').map(|close| at + close) else { break };
        from = close;
        let condition = &out[at..close];
        if condition.contains("not(") || !words(condition).any(|word| word == "test") {
            continue;
        }
        let end = item_end(&out, close + 1);
        let gone = blank(&out[at..end]);
        out.replace_range(at..end, &gone);
        from = end;
    }
    out
}

/// The end of the item that begins at `from`: its closing brace, or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let end = from + at + 1;
                    return end + usize::from(code[end..].starts_with(';'));
                }
            }
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The identifiers of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Every path that is imported, with its line: `use std::{fs, net::TcpStream}` is `std::fs` and `std::net::TcpStream`.
pub(super) fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("use ").map(|at| from + at) {
        from = at + "use ".len();
        let starts_a_word = code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let Some(end) = code[from..].find(';').map(|end| from + end).filter(|_| starts_a_word) else { continue };
        let line = 1 + code[..at].matches('\n').count();
        expand("", &code[from..end], &mut |path| found.push((line, path)));
        from = end;
    }
    found
}

fn expand(prefix: &str, tree: &str, emit: &mut impl FnMut(String)) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return emit(format!("{prefix}{path}"));
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand(&prefix, &inner[start..at], emit);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        expand(&prefix, &inner[start..], emit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_become_blanks() {
        let check = |text: &str, expected: &str| {
            let code = without_texts(text);
            assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
            assert_eq!(code.lines().count(), text.lines().count(), "{text}");
        };
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"f("x \" .unwrap()") g"#, "f( ) g");
        check(r###"f(r#"x " .unwrap()"#) g"###, "f( ) g");
        check("f(b\"x\", b'\\'', c) g", "f( , , c) g");
        check("fn f<'a>(x: &'a str) { 'y'; '\\n' }", "fn f<'a>(x: &'a str) { ; }");
        check("\"a\n// b\" c", "c");
        check("var\"x\"", "var");
    }

    #[test]
    fn tests_become_blanks() {
        let check = |text: &str, expected: &str| {
            let source = Source::new("crates/media/src/lib.rs", text);
            assert_eq!(source.product.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
        };
        check("a();\n#[cfg(test)]\nmod tests {\n  fn b() { c(\"}\") }\n}\nd();", "a(); d();");
        check("#[cfg(test)] use x::{y, z};\nd();", "d();");
        check("#[cfg(test)]\n#[derive(Debug)]\nstruct S(u8);\nd();", "d();");
        check("#[cfg(all(test, unix))] fn f() { }\nd();", "d();");
        check("#[cfg(not(test))] fn f() {}", "#[cfg(not(test))] fn f() {}");
    }

    #[test]
    fn files_of_tests_are_tests_as_a_whole() {
        let check = |path: &str, is: bool| assert_eq!(is_test_file(path), is, "{path}");
        check("crates/media/tests/it/main.rs", true);
        check("crates/media/src/flv/tests.rs", true);
        check("tests/e2e/src/lib.rs", true);
        check("fuzz/fuzz_targets/flv.rs", true);
        check("crates/media/src/lib.rs", false);
        check("benches/src/main.rs", false);
    }

    #[test]
    fn imports_are_expanded() {
        let check = |code: &str, expected: &[&str]| {
            let found: Vec<_> = imports(code).into_iter().map(|(_, path)| path).collect();
            assert_eq!(found, expected, "{code}");
        };
        check("use std::fs;", &["std::fs"]);
        check(
            "use std::{fs, net::{self, TcpStream as T}, io};",
            &["std::fs", "std::net::self", "std::net::TcpStream", "std::io"],
        );
        check("pub(crate) use a::b;\nuse c::{\n    d,\n};", &["a::b", "c::d"]);
        check("let reuse = 1; because();", &[]);
    }
}
