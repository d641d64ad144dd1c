//! The rules for a source file.

use super::{
    Violation,
    source::{Source, imports, words},
};

/// Crates without sockets, files, clocks and tasks: time and bytes are arguments.
const CORES: &[&str] = &["crates/media", "crates/protocols", "crates/packager"];
/// What a core may not import or name.
const NOT_IN_CORES: &[(&str, &str)] = &[
    ("tokio", "a core has no runtime"),
    ("std::net", "a core has no sockets (core::net has the addresses)"),
    ("std::fs", "a core has no files"),
    ("std::thread", "a core has no threads"),
    ("std::time::Instant", "a core has no clock: time is an argument"),
    ("std::time::SystemTime", "a core has no clock: time is an argument"),
];
/// Where text may be printed: the command line, the repository's tasks and the benches' tables.
const PRINTING: &[&str] = &["crates/headwater/src/cli.rs", "xtask/", "benches/", "fuzz/driver/"];
/// Cargo reads its instructions from what a build script prints.
const BUILD_SCRIPT: &str = "build.rs";
const PRINTING_MACROS: &[&str] = &["println!", "eprintln!", "print!", "eprint!", "dbg!"];
const UNBOUNDED: &[&str] = &["unbounded_channel", "UnboundedSender", "UnboundedReceiver"];
/// Split, so that this file does not break its own rule.
const UNFINISHED_WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];
const UNFINISHED_MACROS: &[&str] = &["todo!", "unimplemented!"];

/// Everything that is wrong with a file.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    if CORES.contains(&source.room().as_str()) {
        found.extend(core(source));
    }
    found.extend(unbounded(source));
    found.extend(unwrap(source));
    found.extend(printing(source));
    found.extend(unfinished(source));
    found.extend(ignored(source));
    found
}

fn core(source: &Source) -> Vec<Violation> {
    let named = |path: &str, banned: &str| path == banned || path.starts_with(&format!("{banned}::"));
    let mut found = Vec::new();
    for (line, path) in imports(&source.product) {
        for (banned, why) in NOT_IN_CORES.iter().filter(|(banned, _)| named(&path, banned)) {
            found.push(Violation::new(&source.path, line, format!("{banned}: {why}")));
        }
        if path == "std::time::self" || path == "std::time" {
            found.push(Violation::new(
                &source.path,
                line,
                "std::time: import Duration alone, so that no clock comes with it",
            ));
        }
    }
    found.extend(lines(source, &source.product, |line| {
        let words: Vec<&str> = words(line).collect();
        if line.trim_start().starts_with("use ") {
            return None;
        }
        if words.windows(2).any(|pair| pair == ["async", "fn"])
            || line.contains("async {")
            || line.contains("async move")
        {
            return Some("async: a core has no tasks".to_owned());
        }
        let inline =
            NOT_IN_CORES.iter().find(|(banned, _)| line.contains(&format!("{banned}::")) && line.contains("::"));
        inline.map(|(banned, why)| format!("{banned}: {why}"))
    }));
    found
}

fn unbounded(source: &Source) -> Vec<Violation> {
    lines(source, &source.product, |line| {
        let named = words(line).any(|word| UNBOUNDED.contains(&word)) || line.contains("::unbounded");
        let of_std = line.contains("mpsc::channel()") || (line.contains("mpsc::channel::<") && line.contains(">()"));
        (named || of_std).then(|| "an unbounded channel: give it a named limit".to_owned())
    })
}

fn unwrap(source: &Source) -> Vec<Violation> {
    lines(source, &source.product, |line| {
        line.contains(".unwrap()").then(|| "unwrap outside tests: handle it, or expect(the invariant)".to_owned())
    })
}

fn printing(source: &Source) -> Vec<Violation> {
    if PRINTING.iter().any(|place| source.path.starts_with(place)) || source.path.ends_with(BUILD_SCRIPT) {
        return Vec::new();
    }
    lines(source, &source.product, |line| {
        let found = PRINTING_MACROS.iter().find(|name| has_macro(line, name))?;
        Some(format!("{found} outside the command line: log it"))
    })
}

fn unfinished(source: &Source) -> Vec<Violation> {
    let mut found = lines(source, &source.text, |line| {
        let word = words(line).find(|word| UNFINISHED_WORDS.contains(word))?;
        Some(format!("{word}: finish it, or say what is"))
    });
    found.extend(lines(source, &source.code, |line| {
        let name = UNFINISHED_MACROS.iter().find(|name| has_macro(line, name))?;
        Some(format!("{name} is not finished"))
    }));
    found
}

fn ignored(source: &Source) -> Vec<Violation> {
    lines(source, &source.code, |line| {
        let attribute =
            line.contains("#[ignore") || (line.contains("cfg_attr") && words(line).any(|word| word == "ignore"));
        attribute.then(|| "an ignored test: make it run, or delete it".to_owned())
    })
}

fn has_macro(line: &str, name: &str) -> bool {
    line.match_indices(name)
        .any(|(at, _)| line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_'))
}

fn lines(source: &Source, text: &str, wrong: impl Fn(&str) -> Option<String>) -> Vec<Violation> {
    let numbered = text.lines().enumerate();
    numbered.filter_map(|(index, line)| Some(Violation::new(&source.path, index + 1, wrong(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of each violation in a file of this path and text.
    fn found(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).into_iter().map(|violation| violation.line).collect()
    }

    const CORE: &str = "crates/media/src/lib.rs";
    const DRIVER: &str = "crates/live/src/lib.rs";

    #[test]
    fn a_core_has_no_runtime_socket_file_or_clock() {
        let check = |text: &str, in_core: usize| {
            assert_eq!(found(CORE, text).len(), in_core, "{text}");
            assert_eq!(found(DRIVER, text).len(), 0, "{text}");
        };
        check("use std::time::Duration;\nfn f(now: Duration) {}", 0);
        check("use core::net::SocketAddr;", 0);
        check("// std::fs is for drivers\nfn f() {}", 0);
        check("#[cfg(test)]\nmod tests { use std::fs; }", 0);
        check("use std::{io, fs};", 1);
        check("use std::{collections::BTreeMap, time::{Duration, Instant}};", 1);
        check("use tokio::sync::Notify;", 1);
        check("fn f() { std::fs::read(path) }", 1);
        check("fn f() { std::time::Instant::now() }", 1);
        check("pub async fn f() {}", 1);
        check("fn f() { let x = async move { 1 }; }", 1);
    }

    #[test]
    fn a_channel_has_a_limit() {
        let check = |text: &str, wrong: bool| assert_eq!(!found(DRIVER, text).is_empty(), wrong, "{text}");
        check("let (a, b) = mpsc::channel(QUEUE_MAX);", false);
        check("let (a, b) = mpsc::channel::<u8>(QUEUE_MAX);", false);
        check("let (a, b) = mpsc::sync_channel(1);", false);
        check("let (a, b) = mpsc::unbounded_channel();", true);
        check("let (a, b) = mpsc::channel();", true);
        check("let (a, b) = mpsc::channel::<u8>();", true);
        check("let (a, b) = async_channel::unbounded();", true);
        check("#[cfg(test)]\nmod tests { fn f() { mpsc::channel(); } }", false);
    }

    #[test]
    fn unwrap_is_for_tests() {
        let check = |text: &str, wrong: bool| assert_eq!(!found(DRIVER, text).is_empty(), wrong, "{text}");
        check("let a = b.expect(\"b is set above\");", false);
        check("let a = b.unwrap_or_default();", false);
        check("/// `a.unwrap()`\nfn f() {}", false);
        check("let a = \".unwrap()\";", false);
        check("#[cfg(test)]\nmod tests { fn f() { a.unwrap(); } }", false);
        check("let a = b.unwrap();", true);
        assert!(found("crates/live/tests/it/main.rs", "let a = b.unwrap();").is_empty());
    }

    #[test]
    fn only_the_command_line_prints() {
        let check =
            |path: &str, text: &str, wrong: bool| assert_eq!(!found(path, text).is_empty(), wrong, "{path} {text}");
        check("crates/headwater/src/cli.rs", "println!(\"x\");", false);
        check("crates/headwater/build.rs", "println!(\"x\");", false);
        check("xtask/src/main.rs", "eprintln!(\"x\");", false);
        check("crates/headwater/src/ops.rs", "println!(\"x\");", true);
        check(DRIVER, "eprintln!(\"x\");", true);
        check(DRIVER, "tracing::info!(\"println!\");", false);
    }

    #[test]
    fn nothing_is_left_unfinished() {
        let check = |text: &str, wrong: bool| assert_eq!(!found(DRIVER, text).is_empty(), wrong, "{text}");
        check("fn f() { g() }", false);
        check(concat!("// TO", "DO: later"), true);
        check(concat!("// FIX", "ME"), true);
        check(concat!("fn f() { to", "do!() }"), true);
        check(concat!("fn f() { unimple", "mented!() }"), true);
        check("let mastodon = METHODOLOGY;", false);
    }

    #[test]
    fn every_test_runs() {
        let check = |text: &str, wrong: bool| {
            assert_eq!(!found("crates/live/tests/it/main.rs", text).is_empty(), wrong, "{text}")
        };
        check("#[test]\nfn f() {}", false);
        check("#[test]\n#[ignore]\nfn f() {}", true);
        check("#[test]\n#[ignore = \"slow\"]\nfn f() {}", true);
        check("// #[ignore]", false);
    }
}
