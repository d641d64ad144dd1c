//! Recipes as people write them.

use vod::recipe::{InvalidRecipe, Passthrough, Recipe};

#[test]
fn the_built_in_recipes_are_valid_and_read_back() {
    let built_in = Recipe::built_in();
    assert_eq!(built_in.keys().collect::<Vec<_>>(), ["audio", "default", "fast", "passthrough"]);
    for (name, recipe) in built_in {
        assert!(Recipe::valid_name(&name));
        assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap(), recipe, "{name}");
        assert!(!recipe.description.is_empty(), "{name}");
    }
}

#[test]
fn a_short_recipe_takes_the_usual_values() {
    let recipe = Recipe::from_toml("[[video]]\nrungs = [{ height = 360, kbps_max = 800 }]\n").unwrap();
    let ladder = &recipe.video[0];

    assert_eq!((recipe.segment_ms, recipe.gop_ms, recipe.chunk_ms), (4_000, 2_000, 20_000));
    assert_eq!(
        (ladder.passthrough, ladder.preset.as_str(), ladder.pixel_format.as_str()),
        (Passthrough::Never, "veryfast", "yuv420p")
    );
    assert_eq!((recipe.audio.kbps, recipe.audio.channels_max, recipe.audio.passthrough), (128, 2, true));
}

#[test]
fn a_wrong_recipe_is_refused_with_the_field() {
    let check = |text: &str, expected: &str| {
        let error = Recipe::from_toml(text).unwrap_err();
        let shown = error.to_string();
        let field = match error {
            InvalidRecipe::Form(_) => "form".to_owned(),
            InvalidRecipe::Field { field, .. } => field,
        };
        assert_eq!(field, expected, "{shown}");
    };
    let rung = "rungs = [{ height = 360, kbps_max = 800 }]";
    check("rungs = 1", "form");
    check("segment_ms = 100", "segment_ms");
    check("chunk_ms = 1", "chunk_ms");
    check("[[video]]\nrungs = []", "video[0].rungs");
    check("[[video]]\nrungs = [{ height = 361, kbps_max = 800 }]", "video[0].rungs[0].height");
    check("[[video]]\nrungs = [{ height = 360, kbps_max = 1 }]", "video[0].rungs[0].kbps_max");
    check("[[video]]\nrungs = [{ height = 360, kbps_max = 800 }, { height = 720, kbps_max = 900 }]", "video[0].rungs");
    check(&format!("[[video]]\n{rung}\n[[video]]\n{rung}"), "video[1]");
    check(&format!("[[video]]\ncodec = \"hevc\"\npassthrough = \"only\"\n{rung}"), "video[0].passthrough");
    check(&format!("[[video]]\npreset = \"slow -y\"\n{rung}"), "video[0].preset");
    check(&format!("[[video]]\nextra = [\"-i\", \"/etc/passwd\"]\n{rung}"), "video[0].extra");
    check("[audio]\nloudness_lufs = 3.0", "audio.loudness_lufs");
    check("destinations = [\"../x\"]", "destinations");
    check("notify = [\"file:///etc/passwd\"]", "notify");
    check("thumbnails = { at_permille = [2000], width = 100 }", "thumbnails.at_permille");
}
