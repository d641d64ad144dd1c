//! One declaration per setting: the struct, its default, its text and its place in files, environment and flags.
//!
//! A crate declares its section with [`section!`](crate::section); only `headwater` reads files, environment and arguments, and
//! generates the reference page, the defaults file and `--help` from [`Section::FIELDS`].

/// A setting as the reference page, the defaults file and the flags show it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key in the section's table, e.g. `segment_duration_ms`.
    pub key: &'static str,
    /// The default as TOML, e.g. `2000` or `"0.0.0.0:1935"`.
    pub default: &'static str,
    /// The Rust type as declared, e.g. `u32`. The value of one that names a secret or a key is never shown.
    pub kind: &'static str,
    /// What it does, with unit and range: the doc comment of the field.
    pub doc: &'static str,
}

/// A crate's table in the configuration file.
pub trait Section: Default + serde::de::DeserializeOwned {
    /// The table's name, e.g. `live`.
    const NAME: &'static str;
    /// What the section is about.
    const DOC: &'static str;
    /// Its settings, in the order of the declaration.
    const FIELDS: &'static [Field];
}

/// Declares a [`Section`]: doc comments become the reference, the literal after `=` is the default in TOML.
///
/// ```
/// base::section! {
///     /// Packaging of live streams.
///     pub struct Config in "packager" {
///         /// Target duration of a segment, in milliseconds (500 to 10,000).
///         segment_duration_ms: u32 = "2000",
///     }
/// }
/// assert_eq!(Config::default().segment_duration_ms, 2000);
/// ```
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident in $section:literal {
            $( $(#[doc = $field_doc:literal])* $field:ident : $type:ty = $default:literal, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, $crate::config::serde::Deserialize)]
        #[serde(crate = "base::config::serde", deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::config::parse_default($default), )* }
            }
        }

        impl $crate::config::Section for $name {
            const NAME: &'static str = $section;
            const DOC: &'static str = concat!($($doc, "\n"),*);
            const FIELDS: &'static [$crate::config::Field] = &[
                $( $crate::config::Field {
                    key: stringify!($field),
                    default: $default,
                    kind: stringify!($type),
                    doc: concat!($($field_doc, "\n"),*),
                }, )*
            ];
        }
    };
}

pub use serde;

/// Reads the default of a declaration.
///
/// # Panics
/// When the declaration's default is not of its type: a mistake that the crate's first test shows.
pub fn parse_default<T: serde::de::DeserializeOwned>(text: &str) -> T {
    #[derive(serde::Deserialize)]
    struct One<T> {
        value: T,
    }
    let parsed: Result<One<T>, _> = toml::from_str(&format!("value = {text}"));
    parsed.map(|one| one.value).unwrap_or_else(|error| panic!("the default {text:?} does not fit its type: {error}"))
}
