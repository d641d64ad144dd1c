//! Every room's settings, read once: defaults < `headwater.toml` < `HEADWATER_<SECTION>_<KEY>` < flags.
//!
//! A room declares its section with `base::section!` and gets one line in the list below. Reference page, defaults
//! file, flags and environment names follow from the declaration.

mod document;
mod layers;
pub mod reference;
mod suggest;
mod validate;

use base::config::{Field, Section};

pub use layers::{Error, FlagValue, Origin, Problem, Resolved, Sources, resolve};

/// Prefix of the environment variables that are settings.
pub const ENV_PREFIX: &str = "HEADWATER_";
/// Names the configuration file in the environment; not itself a setting.
pub const ENV_CONFIG: &str = "HEADWATER_CONFIG";
/// The configuration file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "headwater.toml";

/// A section as the generators see it.
#[derive(Clone, Copy, Debug)]
pub struct SectionInfo {
    /// The table's name.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its settings in the order of the declaration.
    pub fields: &'static [Field],
}

impl SectionInfo {
    const fn of<T: Section>() -> Self {
        Self { name: T::NAME, doc: T::DOC, fields: T::FIELDS }
    }

    /// The setting called `key`.
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

macro_rules! sections {
    ($( $(#[doc = $doc:literal])* $field:ident : $type:ty, )*) => {
        /// The settings of the whole process, one field per section.
        #[derive(Clone, Debug, Default)]
        pub struct Settings {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        /// Every section, in the order of the reference.
        pub const SECTIONS: &[SectionInfo] = &[ $( SectionInfo::of::<$type>(), )* ];

        impl Settings {
            fn from_merged(merged: &layers::Merged, problems: &mut Vec<Problem>) -> Self {
                Self { $( $field: merged.section::<$type>(problems), )* }
            }
        }
    };
}

sections! {
    /// The process itself.
    server: crate::server::Config,
    /// Delivery.
    edge: edge::Config,
    /// Live streams.
    live: live::Config,
    /// The ladder.
    transcode: transcode::Config,
    /// Where segments and recordings are kept.
    store: store::Config,
    /// Uploads and assets.
    vod: vod::Config,
    /// Steps of jobs.
    worker: vod::worker::Config,
    /// The control API.
    api: api::Config,
    /// Words that ask a platform.
    client: crate::client::Config,
}

/// The section called `name`.
pub fn section(name: &str) -> Option<&'static SectionInfo> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The environment variable of a setting: `HEADWATER_SERVER_DATA_DIR` for `data_dir` in `[server]`.
pub fn env_name(section: &str, key: &str) -> String {
    format!("{ENV_PREFIX}{}_{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}

/// Whether a setting's value is never shown: its type or its name speaks of a key, token, password or secret. Showing
/// too little is no harm.
pub fn is_secret(field: &Field) -> bool {
    let names = format!("{} {}", field.kind, field.key).to_ascii_lowercase();
    ["secret", "key", "token", "password"].iter().any(|word| names.contains(word))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_has_its_own_environment_name_and_a_text() {
        let mut names = BTreeSet::from([ENV_CONFIG.to_owned()]);
        for section in SECTIONS {
            assert!(!section.doc.trim().is_empty(), "[{}] says nothing", section.name);
            for field in section.fields {
                assert!(!field.doc.trim().is_empty(), "{}.{} says nothing", section.name, field.key);
                assert!(names.insert(env_name(section.name, field.key)), "{}.{}: name taken", section.name, field.key);
            }
        }
    }
}
