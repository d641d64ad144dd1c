//! Languages: what containers say (ISO 639-2, three letters) as BCP 47 tags, which prefer two letters (RFC 5646 2.2.1).

/// ISO 639-2 codes (both forms, where there are two), the BCP 47 tag and the English name.
const LANGUAGES: &[(&[&str], &str, &str)] = &[
    (&["ara"], "ar", "Arabic"),
    (&["baq", "eus"], "eu", "Basque"),
    (&["ben"], "bn", "Bengali"),
    (&["bul"], "bg", "Bulgarian"),
    (&["cat"], "ca", "Catalan"),
    (&["chi", "zho"], "zh", "Chinese"),
    (&["hrv", "scr"], "hr", "Croatian"),
    (&["cze", "ces"], "cs", "Czech"),
    (&["dan"], "da", "Danish"),
    (&["dut", "nld"], "nl", "Dutch"),
    (&["eng"], "en", "English"),
    (&["est"], "et", "Estonian"),
    (&["fin"], "fi", "Finnish"),
    (&["fre", "fra"], "fr", "French"),
    (&["glg"], "gl", "Galician"),
    (&["ger", "deu"], "de", "German"),
    (&["gre", "ell"], "el", "Greek"),
    (&["heb"], "he", "Hebrew"),
    (&["hin"], "hi", "Hindi"),
    (&["hun"], "hu", "Hungarian"),
    (&["ice", "isl"], "is", "Icelandic"),
    (&["ind"], "id", "Indonesian"),
    (&["gle"], "ga", "Irish"),
    (&["ita"], "it", "Italian"),
    (&["jpn"], "ja", "Japanese"),
    (&["kor"], "ko", "Korean"),
    (&["lav"], "lv", "Latvian"),
    (&["lit"], "lt", "Lithuanian"),
    (&["may", "msa"], "ms", "Malay"),
    (&["nor"], "no", "Norwegian"),
    (&["nob"], "nb", "Norwegian Bokmål"),
    (&["nno"], "nn", "Norwegian Nynorsk"),
    (&["per", "fas"], "fa", "Persian"),
    (&["pol"], "pl", "Polish"),
    (&["por"], "pt", "Portuguese"),
    (&["rum", "ron"], "ro", "Romanian"),
    (&["rus"], "ru", "Russian"),
    (&["srp", "scc"], "sr", "Serbian"),
    (&["slo", "slk"], "sk", "Slovak"),
    (&["slv"], "sl", "Slovenian"),
    (&["spa"], "es", "Spanish"),
    (&["swe"], "sv", "Swedish"),
    (&["tam"], "ta", "Tamil"),
    (&["tel"], "te", "Telugu"),
    (&["tha"], "th", "Thai"),
    (&["tur"], "tr", "Turkish"),
    (&["ukr"], "uk", "Ukrainian"),
    (&["urd"], "ur", "Urdu"),
    (&["vie"], "vi", "Vietnamese"),
    (&["wel", "cym"], "cy", "Welsh"),
];
/// Longest tag that is taken over: longer ones are no language tags.
const TAG_CHARS_MAX: usize = 35;
/// Longest label that is taken over from a container, in characters.
const LABEL_CHARS_MAX: usize = 80;

/// The BCP 47 tag of what a container says; `None` when it says nothing (`und`, `mis`, `zxx`, noise).
pub(crate) fn tag(code: Option<&str>) -> Option<String> {
    let code = code?.trim().to_ascii_lowercase();
    if matches!(code.as_str(), "und" | "mis" | "mul" | "zxx" | "unk" | "qaa") {
        return None;
    }
    if let Some((_, tag, _)) = LANGUAGES.iter().find(|(codes, ..)| codes.contains(&code.as_str())) {
        return Some((*tag).to_owned());
    }
    let well_formed = code.len() <= TAG_CHARS_MAX
        && code.split('-').all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        && code.bytes().take_while(|b| *b != b'-').all(|b| b.is_ascii_alphabetic())
        && code.split('-').next().is_some_and(|first| (2..=3).contains(&first.len()));
    well_formed.then_some(code)
}

/// A label for people: the track's title, else its language, else `other`.
pub(crate) fn label(title: Option<&str>, tag: Option<&str>, other: &str) -> String {
    let clean: String = title.unwrap_or_default().chars().filter(|c| !c.is_control()).take(LABEL_CHARS_MAX).collect();
    let clean = clean.trim();
    if !clean.is_empty() {
        return clean.to_owned();
    }
    let name = tag.and_then(|tag| LANGUAGES.iter().find(|(_, known, _)| *known == tag)).map(|(.., name)| *name);
    name.or(tag).unwrap_or(other).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_say_languages_in_many_ways() {
        let check = |code: Option<&str>, expected: Option<&str>| assert_eq!(tag(code).as_deref(), expected, "{code:?}");
        check(Some("eng"), Some("en"));
        check(Some("ger"), Some("de"));
        check(Some("deu"), Some("de"));
        check(Some("en"), Some("en"));
        check(Some("pt-BR"), Some("pt-br"));
        check(Some("yue"), Some("yue"));
        check(Some("und"), None);
        check(Some(""), None);
        check(Some("```"), None);
        check(Some("\"><script>"), None);
        check(None, None);
    }

    #[test]
    fn a_label_is_the_title_or_the_language() {
        assert_eq!(label(Some("Director's\u{7} cut"), Some("en"), "Sound 1"), "Director's cut");
        assert_eq!(label(None, Some("de"), "Sound 1"), "German");
        assert_eq!(label(Some("  "), Some("yue"), "Sound 1"), "yue");
        assert_eq!(label(None, None, "Sound 1"), "Sound 1");
    }
}
