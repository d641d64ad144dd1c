//! What the FFmpeg on this machine can do, asked once.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

use crate::Config;

/// Longest wait for `ffmpeg -version` and its like: a slow disk's cold start, not a hang.
const PROBE_MS_MAX: u64 = 10_000;
/// Most bytes read from a probe: `-encoders` prints about 20 kB.
const PROBE_BYTES_MAX: usize = 1 << 20;
/// Places where distributions keep a plain font, in order of preference.
const FONTS: [&str; 7] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/TTF/DejaVuSansMono.ttf",
    "/usr/share/fonts/dejavu-sans-mono-fonts/DejaVuSansMono.ttf",
    "/usr/share/fonts/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf",
    "/System/Library/Fonts/Menlo.ttc",
];

/// What this machine can transcode, found once by [`Capabilities::probe`]; without FFmpeg everything but the ladder works.
#[derive(Clone, Debug)]
pub struct Capabilities {
    tool: Result<Tool, String>,
}

/// A usable FFmpeg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The program, as configured.
    pub ffmpeg: String,
    /// Its version.
    pub version: Version,
    /// The H.264 encoders compiled into it. A hardware encoder may still lack its hardware.
    pub encoders: Vec<Encoder>,
    /// Whether it has the native AAC encoder.
    pub aac: bool,
    /// Whether it can draw text, and with which font file.
    pub font: Option<String>,
    /// Whether `setpriv --pdeathsig` is there, which ends the child with the server even when it hangs.
    pub setpriv: bool,
    /// Whether `nice` is there.
    pub nice: bool,
}

/// FFmpeg's version: what it prints, and the numbers features depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As printed, `5.1.9-0+deb12u1`.
    pub text: String,
    /// Major and minor number; a build from the development branch counts as newer than any release.
    pub number: (u32, u32),
}

/// An H.264 encoder of FFmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoder {
    /// x264, in software.
    X264,
    /// NVIDIA.
    Nvenc,
    /// VA-API: Intel and AMD on Linux.
    Vaapi,
    /// Intel Quick Sync Video.
    Qsv,
    /// Apple.
    VideoToolbox,
}

impl Encoder {
    /// All of them, software first.
    pub const ALL: [Self; 5] = [Self::X264, Self::Nvenc, Self::Vaapi, Self::Qsv, Self::VideoToolbox];

    /// FFmpeg's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X264 => "libx264",
            Self::Nvenc => "h264_nvenc",
            Self::Vaapi => "h264_vaapi",
            Self::Qsv => "h264_qsv",
            Self::VideoToolbox => "h264_videotoolbox",
        }
    }
}

impl Capabilities {
    /// Asks the configured FFmpeg for its version and encoders. Never fails: without a usable FFmpeg the answer is
    /// [`Capabilities::absent`] with the reason and a remedy.
    pub async fn probe(config: &Config) -> Self {
        let tool = probe_tool(config).await;
        match &tool {
            Ok(tool) => tracing::info!(version = %tool.version.text, encoders = ?tool.encoders, "FFmpeg found"),
            Err(reason) => tracing::warn!(%reason, "passthrough only: FFmpeg is not usable"),
        }
        Self { tool }
    }

    /// A machine without FFmpeg: passthrough only, for `reason`.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self { tool: Err(reason.into()) }
    }

    /// A machine with `tool`.
    pub fn present(tool: Tool) -> Self {
        Self { tool: Ok(tool) }
    }

    /// The usable FFmpeg, or why there is none.
    ///
    /// # Errors
    /// The reason, with a remedy, for people.
    pub fn tool(&self) -> Result<&Tool, &str> {
        self.tool.as_ref().map_err(String::as_str)
    }
}

impl Version {
    /// From the first line of `ffmpeg -version`.
    pub fn parse(line: &str) -> Option<Self> {
        let text = line.strip_prefix("ffmpeg version ")?.split_whitespace().next()?;
        let numbers = text.strip_prefix('n').unwrap_or(text);
        let mut parts = numbers.split(|c: char| !c.is_ascii_digit());
        let major = parts.next().and_then(|n| n.parse().ok());
        let minor = parts.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let number = major.map_or((u32::MAX, 0), |major| (major, minor));
        Some(Self { text: text.to_owned(), number })
    }
}

async fn probe_tool(config: &Config) -> Result<Tool, String> {
    let program = config.ffmpeg.as_str();
    let banner = output_of(program, &["-hide_banner", "-version"]).await?;
    let version =
        Version::parse(&banner).ok_or_else(|| format!("{program} does not answer -version as FFmpeg does"))?;
    let listing = output_of(program, &["-hide_banner", "-loglevel", "error", "-encoders"]).await?;
    let encoders = parse_encoders(&listing);
    if encoders.is_empty() {
        return Err(format!("{program} {} has no H.264 encoder; install one built with libx264", version.text));
    }
    let filters = output_of(program, &["-hide_banner", "-loglevel", "error", "-filters"]).await?;
    let font = FONTS.iter().find(|path| has_name(&filters, "drawtext") && std::path::Path::new(path).is_file());
    Ok(Tool {
        ffmpeg: program.to_owned(),
        version,
        encoders,
        aac: has_name(&listing, "aac"),
        font: font.map(|&path| path.to_owned()),
        setpriv: output_of("setpriv", &["--pdeathsig", "KILL", "true"]).await.is_ok(),
        nice: output_of("nice", &["-n", "1", "true"]).await.is_ok(),
    })
}

fn parse_encoders(listing: &str) -> Vec<Encoder> {
    Encoder::ALL.into_iter().filter(|encoder| has_name(listing, encoder.name())).collect()
}

/// Whether a table of `FLAGS name description` lines has `name`.
fn has_name(listing: &str, name: &str) -> bool {
    listing.lines().any(|line| line.split_whitespace().nth(1) == Some(name))
}

async fn output_of(program: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let finished = tokio::time::timeout(Duration::from_millis(PROBE_MS_MAX), command.output());
    let output = match finished.await {
        Err(_) => return Err(format!("{program} does not answer within {PROBE_MS_MAX} ms")),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("{program} is not installed; install FFmpeg or set transcode.ffmpeg to its path"));
        }
        Ok(Err(error)) => return Err(format!("{program} cannot be started: {error}")),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        return Err(format!("{program} {} ends with {}", args.join(" "), output.status));
    }
    let stdout = output.stdout.get(..PROBE_BYTES_MAX).unwrap_or(&output.stdout);
    Ok(String::from_utf8_lossy(stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_print_them() {
        let check = |line: &str, number: (u32, u32)| {
            assert_eq!(Version::parse(line).map(|v| v.number), Some(number), "{line}");
        };
        check("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers", (5, 1));
        check("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright (c) 2000-2021", (4, 4));
        check("ffmpeg version n7.1 Copyright (c) 2000-2024", (7, 1));
        check("ffmpeg version 8.0 Copyright", (8, 0));
        check("ffmpeg version N-109542-g1bf1e45f92 Copyright", (u32::MAX, 0));
        assert_eq!(Version::parse("avconv version 11"), None);
    }

    #[test]
    fn encoders_are_read_by_name() {
        let listing = " ------\n V....D libx264              libx264 H.264 (codec h264)\n V....D h264_nvenc  NVIDIA NVENC\n A..... aac  AAC\n";
        assert_eq!(parse_encoders(listing), [Encoder::X264, Encoder::Nvenc]);
        assert!(has_name(listing, "aac") && !has_name(listing, "mjpeg"));
    }
}
