//! WebVTT as a segment of HLS.

use std::fmt::Write;

use super::MEDIA_ORIGIN_S;

const TIMESTAMP_MAP: &str = "X-TIMESTAMP-MAP";

/// The whole of a WebVTT file as a segment: its header says which media time the cues' zero is (RFC 8216bis 3.1.4). A map that the file
/// has already is replaced.
pub fn segment(text: &str) -> String {
    let text = text.trim_start_matches('\u{FEFF}');
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let signature = first.trim_end();
    let is_signature =
        signature.strip_prefix("WEBVTT").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
    let mut out = String::with_capacity(text.len() + 64);
    out.push_str(if is_signature { signature } else { "WEBVTT" });
    let _ = writeln!(out, "\n{TIMESTAMP_MAP}=MPEGTS:{},LOCAL:00:00:00.000", u64::from(MEDIA_ORIGIN_S) * 90_000);
    if !is_signature {
        out.push('\n');
    }
    let body = if is_signature { rest } else { text.trim_start_matches(['\r', '\n']) };
    for line in body.split_inclusive('\n').filter(|line| !line.starts_with(TIMESTAMP_MAP)) {
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_stands_behind_the_signature() {
        let cue = "\n00:01.000 --> 00:02.000\nhello\n";
        let map = "X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n";
        let check = |head: &str, want: &str| assert_eq!(segment(&format!("{head}{cue}")), format!("{want}{map}{cue}"));
        check("WEBVTT\n", "WEBVTT\n");
        check("\u{FEFF}WEBVTT - a title\r\n", "WEBVTT - a title\n");
        check("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n", "WEBVTT\n");
        check("", "WEBVTT\n");
    }
}
