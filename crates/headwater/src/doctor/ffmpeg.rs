//! Is FFmpeg there, and can it do what the ladder and the colour-bar channel ask of it?

use std::{io::ErrorKind, process::Command};

use super::Finding;

/// The program, as found in the path.
const PROGRAM: &str = "ffmpeg";
/// The oldest major version the ladder is tested with.
const MAJOR_MIN: u32 = 5;
const INSTALL: &str = "install it (apt-get install ffmpeg); until then streams are passed through without a ladder";

pub(super) fn examine() -> Vec<Finding> {
    let version = match output(&["-hide_banner", "-version"]) {
        Ok(text) => text,
        Err(Failure::Missing) => return vec![Finding::warn("ffmpeg", "not found in the path", INSTALL)],
        Err(Failure::Broken(why)) => return vec![Finding::fix("ffmpeg", format!("does not run: {why}"), INSTALL)],
    };
    let encoders = output(&["-hide_banner", "-encoders"]).unwrap_or_default();
    let filters = output(&["-hide_banner", "-filters"]).unwrap_or_default();
    vec![of_version(&version), of_encoders(&encoders), of_filters(&filters, font_works)]
}

fn of_version(text: &str) -> Finding {
    let word = text.split_whitespace().nth(2).unwrap_or("unknown");
    let digits = word.trim_start_matches('n').split(['.', '-']).next().and_then(|major| major.parse::<u32>().ok());
    match digits {
        Some(major) if major < MAJOR_MIN => {
            Finding::warn("ffmpeg", format!("version {word}"), format!("version {MAJOR_MIN} or newer is tested"))
        }
        _ => Finding::ok("ffmpeg", format!("version {word}")),
    }
}

fn of_encoders(text: &str) -> Finding {
    let missing = missing(text, &["libx264", "aac"]);
    if missing.is_empty() {
        return Finding::ok("encoders", "libx264 (H.264) and aac");
    }
    Finding::fix(
        "encoders",
        format!("FFmpeg has no {}", missing.join(" and no ")),
        "install a build of FFmpeg with libx264 and aac, as Debian's is",
    )
}

fn of_filters(text: &str, font_works: impl Fn() -> bool) -> Finding {
    let missing = missing(text, &["scale", "split", "testsrc2", "smptehdbars", "drawtext"]);
    let lacks = |what: String| {
        Finding::warn(
            "filters",
            what,
            "the colour-bar channel runs without a burnt-in clock: install fonts (apt-get install fonts-dejavu-core) or a full FFmpeg",
        )
    };
    if !missing.is_empty() {
        return lacks(format!("FFmpeg has no filter {}", missing.join(", ")));
    }
    if font_works() {
        Finding::ok("filters", "scale, split, drawtext with a font")
    } else {
        lacks("drawtext finds no font".to_owned())
    }
}

/// FFmpeg's lists have the flags first and the name second.
fn missing<'a>(list: &str, names: &[&'a str]) -> Vec<&'a str> {
    let has = |name: &str| list.lines().any(|line| line.split_whitespace().nth(1) == Some(name));
    names.iter().copied().filter(|name| !has(name)).collect()
}

fn font_works() -> bool {
    let graph = "color=size=64x32:rate=1:duration=1,drawtext=text=0";
    output(&["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", graph, "-frames:v", "1", "-f", "null", "-"])
        .is_ok()
}

#[derive(Default)]
enum Failure {
    #[default]
    Missing,
    Broken(String),
}

fn output(args: &[&str]) -> Result<String, Failure> {
    let done = Command::new(PROGRAM).args(args).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::Missing,
        _ => Failure::Broken(error.to_string()),
    })?;
    if !done.status.success() {
        let first = String::from_utf8_lossy(&done.stderr).lines().next().unwrap_or_default().to_owned();
        return Err(Failure::Broken(format!("{}: {first}", done.status)));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn versions_of_releases_and_builds_are_read() {
        let check = |text: &str, verdict: Verdict| assert_eq!(of_version(text).verdict, verdict, "{text}");
        check("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026", Verdict::Ok);
        check("ffmpeg version n9.0.2 Copyright", Verdict::Ok);
        check("ffmpeg version 4.3.8-0+deb11u1 Copyright", Verdict::Warn);
        check("ffmpeg version N-118000-gabcdef Copyright", Verdict::Ok);
        check("", Verdict::Ok);
    }

    #[test]
    fn a_missing_encoder_must_be_fixed() {
        let list = " V....D libx264              libx264 H.264 (codec h264)\n A....D aac                  AAC\n";
        assert_eq!(of_encoders(list).verdict, Verdict::Ok);
        let finding = of_encoders(" V....D libx265  H.265\n A....D aac  AAC\n");
        assert_eq!((finding.verdict, finding.found.as_str()), (Verdict::Fix, "FFmpeg has no libx264"));
    }

    #[test]
    fn a_missing_font_is_worth_knowing() {
        let list =
            " .. scale V->V x\n .. split V->N x\n .. testsrc2 |->V x\n .. smptehdbars |->V x\n .. drawtext V->V x\n";
        assert_eq!(of_filters(list, || true).verdict, Verdict::Ok);
        assert_eq!(of_filters(list, || false).verdict, Verdict::Warn);
        assert_eq!(of_filters("", || true).verdict, Verdict::Warn);
    }
}
