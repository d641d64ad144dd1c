//! Is FFmpeg there, and can it do what the ladder and the colour-bar channel ask of it? `transcode` looks; this judges.

use transcode::{Capabilities, Config, Encoder, Tool};

use super::Finding;

/// The oldest version the ladder is tested with.
const VERSION_MIN: (u32, u32) = (5, 1);

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => of_capabilities(&runtime.block_on(Capabilities::probe(config))),
        Err(error) => vec![Finding::fix(
            "ffmpeg",
            format!("cannot be asked: {error}"),
            "look at the limits of this user (ulimit -a)",
        )],
    }
}

fn of_capabilities(capabilities: &Capabilities) -> Vec<Finding> {
    match capabilities.tool() {
        Ok(tool) => vec![of_version(tool), of_encoders(tool), of_font(tool), of_guards(tool)],
        Err(reason) => {
            let remedy = "install it (apt-get install ffmpeg); until then streams pass through without a ladder";
            vec![Finding::warn("ffmpeg", reason, remedy)]
        }
    }
}

fn of_version(tool: &Tool) -> Finding {
    let found = format!("{} {}", tool.ffmpeg, tool.version.text);
    if tool.version.number >= VERSION_MIN {
        return Finding::ok("ffmpeg", found);
    }
    Finding::warn("ffmpeg", found, format!("{}.{} or newer is tested", VERSION_MIN.0, VERSION_MIN.1))
}

fn of_encoders(tool: &Tool) -> Finding {
    let mut names: Vec<_> = tool.encoders.iter().map(|encoder| encoder.name()).collect();
    if tool.aac {
        names.push("aac");
    }
    let found = names.join(", ");
    if tool.encoders.contains(&Encoder::X264) && tool.aac {
        return Finding::ok("encoders", found);
    }
    Finding::warn(
        "encoders",
        format!("{found}; libx264 or aac is missing"),
        "install a build of FFmpeg with libx264 and aac, as Debian's is",
    )
}

fn of_font(tool: &Tool) -> Finding {
    match &tool.font {
        Some(font) => Finding::ok("font", font),
        None => Finding::warn(
            "font",
            "FFmpeg cannot draw text, or finds no font",
            "the colour-bar channel has no burnt-in clock: install fonts-dejavu-core and an FFmpeg with drawtext",
        ),
    }
}

/// The small programs that tie FFmpeg to the server and keep it from taking the machine.
fn of_guards(tool: &Tool) -> Finding {
    match (tool.setpriv, tool.nice) {
        (true, true) => Finding::ok("child guard", "setpriv and nice"),
        (false, _) => Finding::warn(
            "child guard",
            "no setpriv: a hung FFmpeg may outlive a killed server",
            "install util-linux (setpriv --pdeathsig)",
        ),
        (true, false) => Finding::warn("child guard", "no nice: FFmpeg competes with the server", "install coreutils"),
    }
}

#[cfg(test)]
mod tests {
    use transcode::Version;

    use super::*;
    use crate::doctor::Verdict;

    fn tool() -> Tool {
        Tool {
            ffmpeg: "ffmpeg".into(),
            version: Version { text: "5.1.9-0+deb12u1".into(), number: (5, 1) },
            encoders: vec![Encoder::X264],
            aac: true,
            font: Some("/usr/share/fonts/a.ttf".into()),
            setpriv: true,
            nice: true,
        }
    }

    fn worst(capabilities: &Capabilities) -> (Verdict, String) {
        let findings = of_capabilities(capabilities);
        let worst = findings.iter().max_by_key(|finding| finding.verdict).expect("at least one finding");
        assert_eq!(worst.remedy.is_some(), worst.verdict > Verdict::Ok, "{worst:?}");
        (worst.verdict, worst.check.to_owned())
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |change: fn(&mut Tool), expected: (Verdict, &str)| {
            let mut tool = tool();
            change(&mut tool);
            let (verdict, name) = worst(&Capabilities::present(tool));
            assert_eq!(verdict, expected.0);
            assert!(verdict == Verdict::Ok || name == expected.1, "{name}");
        };
        check(|_| {}, (Verdict::Ok, ""));
        check(|tool| tool.version.number = (4, 4), (Verdict::Warn, "ffmpeg"));
        check(|tool| tool.encoders = vec![Encoder::Nvenc], (Verdict::Warn, "encoders"));
        check(|tool| tool.aac = false, (Verdict::Warn, "encoders"));
        check(|tool| tool.font = None, (Verdict::Warn, "font"));
        check(|tool| tool.setpriv = false, (Verdict::Warn, "child guard"));
    }

    #[test]
    fn a_machine_without_ffmpeg_is_told_what_it_lacks() {
        assert_eq!(worst(&Capabilities::absent("ffmpeg is not in the path")), (Verdict::Warn, "ffmpeg".into()));
    }
}
