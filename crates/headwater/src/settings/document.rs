//! A TOML text with the line of every setting.

use std::collections::BTreeMap;

use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

/// A setting as the file has it.
pub(super) struct Entry {
    pub(super) section: String,
    /// Empty for a section that is not a table.
    pub(super) key: String,
    pub(super) value: Value,
    /// Counted from 1.
    pub(super) line: usize,
}

/// A text that is not TOML: the line, counted from 1, and what is wrong there.
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads a configuration text into its settings, in the order of the text. Also returns each section's own line, for
/// sections without settings.
pub(super) fn read(text: &str) -> Result<(Vec<Entry>, BTreeMap<String, usize>), Malformed> {
    let malformed = |error: toml::de::Error| Malformed {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    };
    let values: toml::Table = toml::from_str(text).map_err(malformed)?;
    let spans = DeTable::parse(text).map_err(malformed)?;

    let (mut entries, mut sections) = (Vec::new(), BTreeMap::new());
    for (section, body) in spans.get_ref() {
        let name = section.get_ref().to_string();
        let line = line_of(text, section.span().start);
        sections.insert(name.clone(), line);
        let Some(value) = values.get(&name) else { continue };
        match (body.get_ref(), value) {
            (DeValue::Table(keys), Value::Table(values)) => entries.extend(of_table(text, &name, keys, values)),
            _ => entries.push(Entry { section: name, key: String::new(), value: value.clone(), line }),
        }
    }
    entries.sort_by_key(|entry| entry.line);
    Ok((entries, sections))
}

fn of_table<'a>(
    text: &'a str,
    section: &'a str,
    keys: &'a DeTable<'_>,
    values: &'a toml::Table,
) -> impl Iterator<Item = Entry> + 'a {
    keys.keys().filter_map(move |key: &Spanned<_>| {
        let value = values.get(key.get_ref().as_ref())?.clone();
        let line = line_of(text, key.span().start);
        Some(Entry { section: section.to_owned(), key: key.get_ref().to_string(), value, line })
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_knows_its_line() {
        let text = "# a comment\n[server]\nops = \"127.0.0.1:0\"\n\n[edge]\nhttp = \"0.0.0.0:8080\"\n[live]\n";
        let Ok((entries, sections)) = read(text) else { panic!("the text is TOML") };
        let lines: Vec<_> = entries.iter().map(|e| (e.section.as_str(), e.key.as_str(), e.line)).collect();
        assert_eq!(lines, [("server", "ops", 3), ("edge", "http", 6)]);
        assert_eq!(sections["live"], 7);
    }

    #[test]
    fn what_is_not_toml_names_its_line() {
        let check = |text: &str, line: usize| {
            let Err(malformed) = read(text) else { panic!("{text:?} was taken for TOML") };
            assert_eq!(malformed.line, line, "{text:?}: {}", malformed.message);
        };
        check("[server]\nops = \n", 2);
        check("[server]\nops = 1\nops = 2\n", 3);
        check("[server\n", 1);
    }
}
