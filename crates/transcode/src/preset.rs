//! Ladder presets: data, in `presets.toml`.

use serde::Deserialize;

use crate::Error;

const PRESETS: &str = include_str!("presets.toml");

/// A ladder as people choose it, before it meets a source: see [`crate::plan`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// `default`, `nott`, `alfg` or `off`.
    pub name: String,
    /// x264's speed preset.
    pub x264_preset: String,
    /// The H.264 profile.
    pub profile: String,
    /// The bit rate of the AAC rendition, in kbit/s, when the source's sound is not AAC.
    pub audio_kbps: u32,
    /// From the largest to the smallest.
    pub rungs: Vec<Rung>,
}

/// One rendition of a preset.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// The rendition's name, unique within the preset: a URL path segment.
    pub name: String,
    /// The box of a 16:9 picture, in pixels.
    pub width: u32,
    /// The box of a 16:9 picture, in pixels.
    pub height: u32,
    /// Frames per second; a faster source is divided.
    pub frame_rate_max: u32,
    /// The pictures' bit rate, in kbit/s.
    pub video_kbps: u32,
}

#[derive(Deserialize)]
struct Table {
    preset: Vec<Preset>,
}

impl Preset {
    /// Every preset.
    pub fn all() -> Vec<Self> {
        let table: Table = toml::from_str(PRESETS).expect("presets.toml is part of this crate and tested");
        table.preset
    }

    /// The preset called `name`.
    ///
    /// # Errors
    /// [`Error::UnknownPreset`], with the names there are.
    pub fn named(name: &str) -> Result<Self, Error> {
        let mut all = Self::all();
        match all.iter().position(|preset| preset.name == name) {
            Some(index) => Ok(all.swap_remove(index)),
            None => {
                let known: Vec<_> = all.into_iter().map(|preset| preset.name).collect();
                Err(Error::UnknownPreset { name: name.to_owned(), known: known.join(", ") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn presets_hold_what_they_promise() {
        let check = |name: &str, rungs: &[(u32, u32, u32)]| {
            let preset = Preset::named(name).unwrap();
            let got: Vec<_> = preset.rungs.iter().map(|r| (r.width, r.height, r.video_kbps)).collect();
            assert_eq!(got, rungs, "{name}");
        };
        check("nott", &[(640, 360, 750), (426, 240, 400), (426, 240, 200)]);
        check("alfg", &[(1280, 720, 2500), (854, 480, 1000), (640, 360, 750), (426, 240, 400), (426, 240, 200)]);
        check("off", &[]);
        assert_eq!(Preset::named("alfg").unwrap().rungs[4].frame_rate_max, 15);
    }

    #[test]
    fn rungs_are_even_unique_and_descending() {
        for preset in Preset::all() {
            let names: HashSet<_> = preset.rungs.iter().map(|rung| &rung.name).collect();
            assert_eq!(names.len(), preset.rungs.len(), "{}", preset.name);
            assert!(preset.rungs.iter().all(|r| r.width % 2 == 0 && r.height % 2 == 0 && r.frame_rate_max > 0));
            assert!(preset.rungs.is_sorted_by(|a, b| a.width >= b.width && a.video_kbps > b.video_kbps));
        }
    }

    #[test]
    fn an_unknown_preset_is_answered_with_the_known_ones() {
        let error = Preset::named("defualt").unwrap_err();
        assert_eq!(error.to_string(), r#"no ladder preset is named "defualt"; there are default, nott, alfg, off"#);
    }
}
