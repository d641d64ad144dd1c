//! Names of files as clients give them, made harmless.

/// Longest name, in bytes: what file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;
/// An ending this long is kept when a name is cut.
const ENDING_BYTES_MAX: usize = 16;
/// The name of a file that has none left.
const NAMELESS: &str = "upload";

/// The last part of a path, without what a file system, a terminal or a header could take for more than text. Never empty.
pub(super) fn file_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|&c| !deceives(c)).map(|c| if reserved(c) { '_' } else { c }).collect();
    let name = kept.trim_start_matches(['.', ' ']).trim_end_matches(['.', ' ']);
    match name {
        "" => NAMELESS.to_owned(),
        name => shortened(name).into_owned(),
    }
}

/// Control characters, and the ones that turn the direction of text, so that `gpj.exe` reads as another name.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What a file name cannot hold on some system.
fn reserved(c: char) -> bool {
    matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

fn shortened(name: &str) -> std::borrow::Cow<'_, str> {
    if name.len() <= FILE_NAME_BYTES_MAX {
        return name.into();
    }
    let ending =
        name.rfind('.').map(|dot| &name[dot..]).filter(|ending| ending.len() <= ENDING_BYTES_MAX).unwrap_or_default();
    let stem = &name[..name.floor_char_boundary(FILE_NAME_BYTES_MAX - ending.len())];
    format!("{stem}{ending}").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tricks_in_names_are_taken_out() {
        let check = |given: &str, expected: &str| assert_eq!(file_name(given), expected, "{given:?}");
        check("clip.mp4", "clip.mp4");
        check("Ärger im Büro – Teil 2 (日本語).mov", "Ärger im Büro – Teil 2 (日本語).mov");
        check("../../etc/passwd", "passwd");
        check("C:\\films\\clip.mp4", "clip.mp4");
        check("/absolute/clip.mp4", "clip.mp4");
        check("..", NAMELESS);
        check("...///", NAMELESS);
        check("", NAMELESS);
        check(".htaccess", "htaccess");
        check("clip.mp4\0.exe", "clip.mp4.exe");
        check("clip\r\nSet-Cookie: a.mp4", "clipSet-Cookie_ a.mp4");
        check("clip\u{202e}4pm.exe", "clip4pm.exe");
        check("a<b>|c?.mp4 . ", "a_b__c_.mp4");
        check(&format!("{}.mp4", "ü".repeat(200)), &format!("{}.mp4", "ü".repeat(125)));
        check(&"a".repeat(300), &"a".repeat(255));
    }

    proptest! {
        #[test]
        fn every_name_is_one_short_segment(given in "\\PC*|.*") {
            let name = file_name(&given);
            prop_assert!(!name.is_empty() && name.len() <= FILE_NAME_BYTES_MAX);
            prop_assert!(!name.contains(['/', '\\', '\0']) && name != "." && name != "..");
        }
    }
}
