//! What each completion adds.

use serde_json::{Map, Value, json};
use store::catalogue::{
    AssetPatch, AssetState, Blob, BlobPart, Expansion, MediaKind, NewEvent, NewStep, Rendition, Source, Step, StepError,
};
use transcode::vod::{
    AnalyseSpec, Analysis, AudioCodec, AudioEncode, Chunk, Probe, Quality, RungChoice, RungSpec, SourceTrack,
    StoryboardSpec, TrackKind,
};

use super::{
    AHEAD, CLASS_FIRST, CLASS_LATER, CLASS_OTHER, REDOS_MAX, View, admit, bug, input,
    ladder::{self, How, Picture},
    language, steps, weigh,
};
use crate::{
    protocol::{ObjectRef, RenditionSummary, Spec, Storyboard},
    recipe::{AudioRecipe, Passthrough, Recipe},
};

/// Sound tracks kept of one source: more are a mistake in the file.
const AUDIO_TRACKS_MAX: usize = 16;
/// Text tracks kept of one source.
const TEXT_TRACKS_MAX: usize = 32;
/// True peak that sound is not raised over, in dBTP (EBU R 128 2.2: -1).
const TRUE_PEAK_MAX_DB: f64 = -1.0;
/// Quieter programmes are silence: they are not raised (EBU R 128 gates at -70).
const SILENCE_LUFS: f64 = -70.0;
/// Longest storyboard, in pictures.
const STORYBOARD_PICTURES_MAX: i64 = 1_000;

/// The tracks of a source that a recipe uses.
#[derive(Debug)]
pub(super) struct Tracks<'a> {
    /// Pictures.
    pub(super) video: Option<&'a SourceTrack>,
    /// Sound.
    pub(super) audio: Vec<Kept<'a>>,
    /// Text.
    pub(super) text: Vec<Kept<'a>>,
}

/// A sound or text track that becomes a rendition.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    /// `a0`, `s0`.
    pub(super) name: String,
    /// In the source.
    pub(super) track: &'a SourceTrack,
    /// Chosen when the viewer chose nothing.
    pub(super) default: bool,
    /// BCP 47 tag.
    pub(super) language: Option<String>,
    /// For people.
    pub(super) label: String,
}

impl<'a> Tracks<'a> {
    /// Chooses.
    pub(super) fn of(recipe: &Recipe, probe: &'a Probe) -> Self {
        let chosen = probe.audio().map(|track| track.index);
        let audio = probe.of_kind(TrackKind::Audio).take(AUDIO_TRACKS_MAX).enumerate();
        let text = probe.of_kind(TrackKind::Subtitle).filter(|track| track.text && recipe.subtitles);
        Self {
            video: probe.video().filter(|_| !recipe.video.is_empty()),
            audio: audio.map(|(n, track)| Kept::new('a', n, "Sound", track, Some(track.index) == chosen)).collect(),
            text: text
                .take(TEXT_TRACKS_MAX)
                .enumerate()
                .map(|(n, track)| Kept::new('s', n, "Text", track, track.default && track.forced))
                .collect(),
        }
    }
}

impl<'a> Kept<'a> {
    fn new(letter: char, number: usize, other: &str, track: &'a SourceTrack, default: bool) -> Self {
        let language = language::tag(track.language.as_deref());
        let label = language::label(track.title.as_deref(), language.as_deref(), &format!("{other} {}", number + 1));
        Self { name: format!("{letter}{number}"), track, default, language, label }
    }

    fn class(&self) -> i64 {
        if self.default { CLASS_FIRST } else { CLASS_OTHER }
    }
}

/// Whether steps have to wait for the analysis: pictures always, sound when its loudness is set.
pub(super) fn needs_analysis(recipe: &Recipe, probe: &Probe) -> bool {
    let tracks = Tracks::of(recipe, probe);
    tracks.video.is_some() || sound_waits(recipe, &tracks)
}

fn sound_waits(recipe: &Recipe, tracks: &Tracks<'_>) -> bool {
    recipe.audio.loudness_lufs.is_some() && !tracks.audio.is_empty()
}

pub(super) fn fetched(view: &View<'_>, file_name: &str, parts: &[ObjectRef], bytes: u64, sha256: &str) -> Expansion {
    let parts = parts.iter().map(|part| BlobPart { key: part.key.clone(), bytes: part.bytes }).collect();
    let source = Source {
        file_name: file_name.to_owned(),
        bytes: Some(bytes),
        sha256: Some(sha256.to_owned()),
        url: view.asset.source.url.clone(),
        blob: Some(Blob { parts }),
    };
    Expansion { asset: AssetPatch { source: Some(source), ..AssetPatch::default() }, ..Expansion::default() }
}

pub(super) fn probed(view: &View<'_>, probe: &Probe, sha256: Option<&str>) -> Result<Expansion, StepError> {
    admit(probe, view.recipe, view.limits)?;
    if let (Some(announced), Some(found)) = (&view.asset.source.sha256, sha256)
        && !announced.eq_ignore_ascii_case(found)
    {
        let human =
            format!("The file arrived damaged: its SHA-256 is {found}, {announced} was announced. Upload it again.");
        return Err(input("hash_mismatch", human));
    }
    let planned = after_probe(view.recipe, probe, view.asset.source.bytes);
    let mut asset = AssetPatch {
        media: Some(serde_json::to_value(probe).expect("a probe has text keys alone")),
        duration_ms: (probe.duration_ms > 0).then_some(probe.duration_ms),
        ..AssetPatch::default()
    };
    if let (Some(sha256), None) = (sha256, &view.asset.source.sha256) {
        asset.source = Some(Source { sha256: Some(sha256.to_owned()), ..view.asset.source.clone() });
    }
    Ok(Expansion { steps: planned.steps, context: ahead(planned.ahead), asset, ..Expansion::default() })
}

fn ahead(weight: f64) -> Map<String, Value> {
    Map::from_iter([(AHEAD.to_owned(), json!(weight))])
}

/// What follows the probe, and what the analysis will add as far as can be told.
pub(super) struct AfterProbe {
    /// Steps.
    pub(super) steps: Vec<NewStep>,
    /// Core-seconds that come later.
    pub(super) ahead: f64,
}

pub(super) fn after_probe(recipe: &Recipe, probe: &Probe, source_bytes: Option<u64>) -> AfterProbe {
    let tracks = Tracks::of(recipe, probe);
    let mut planned: Vec<NewStep> = Vec::new();
    if needs_analysis(recipe, probe) {
        planned.push(analyse(recipe, probe, &tracks, source_bytes));
    }
    if !sound_waits(recipe, &tracks) {
        planned.extend(sound(recipe, probe, &tracks, None));
    }
    planned.extend(tracks.text.iter().map(|text| subtitles_step(text, probe)));
    if let Some(track) = tracks.video {
        planned.extend(still_pictures(recipe, probe, track));
    }
    if !needs_analysis(recipe, probe) {
        let tail = tail(recipe, &names(&planned));
        planned.extend(tail);
        return AfterProbe { steps: planned, ahead: 0.0 };
    }
    // As if the source were one chunk and nothing passed through.
    let ahead = after_analysis(recipe, probe, &assumed(probe, &tracks), &[]).iter().map(|step| step.weight).sum();
    AfterProbe { steps: planned, ahead }
}

/// An analysis as the probe lets expect it, for the weight of what is to come.
fn assumed(probe: &Probe, tracks: &Tracks<'_>) -> Analysis {
    let rate = tracks.video.and_then(|track| track.video.as_ref()).map_or(0.0, weigh::frame_rate);
    let frames = (probe.duration_ms.max(0) as f64 / 1_000.0 * rate) as u64;
    let chunk = Chunk {
        index: 0,
        start_pts: 0,
        end_pts: probe.duration_ms * 90,
        frames,
        digest: String::new(),
        shot: false,
        keyframes: vec![],
    };
    Analysis { frames, end_pts: chunk.end_pts, chunks: vec![chunk], ..Analysis::default() }
}

fn analyse(recipe: &Recipe, probe: &Probe, tracks: &Tracks<'_>, source_bytes: Option<u64>) -> NewStep {
    let loudness = sound_waits(recipe, tracks);
    let complexity = recipe.video.iter().any(|ladder| ladder.per_title);
    let spec = AnalyseSpec {
        video_track: tracks.video.map(|track| track.index),
        audio_track: tracks.audio.iter().find(|kept| kept.default && loudness).map(|kept| kept.track.index),
        chunk_ms: i64::from(recipe.chunk_ms),
        gop_ms: i64::from(recipe.gop_ms),
        loudness,
        complexity,
    };
    let per_title = tracks.video.map(|track| trial_rungs(recipe, track)).unwrap_or_default();
    let weight = weigh::analyse(tracks.video, probe.duration_ms, source_bytes, loudness, complexity);
    steps::step("analyse", &Spec::Analyse { spec, per_title }, CLASS_FIRST, weight, vec!["probe".to_owned()])
}

fn trial_rungs(recipe: &Recipe, track: &SourceTrack) -> Vec<RungSpec> {
    let Some(ladder) = recipe.video.iter().find(|ladder| ladder.per_title) else { return Vec::new() };
    let rung = |picture: Picture| match picture.how {
        How::Encode(encode) => Some(RungSpec { width: encode.width, height: encode.height, kbps: encode.kbps_max }),
        How::Copy => None,
    };
    ladder::pictures(ladder, i64::from(recipe.gop_ms), track, None).into_iter().filter_map(rung).collect()
}

pub(super) fn analysed(view: &View<'_>, analysis: &Analysis, choices: &[RungChoice]) -> Result<Expansion, StepError> {
    let probe = probe_of(view)?;
    let tracks = Tracks::of(view.recipe, &probe);
    if tracks.video.is_some() && (analysis.frames == 0 || analysis.chunks.is_empty()) {
        return Err(input(
            "no_pictures",
            "No picture of the file can be read. It may be cut off or damaged: export it again and upload the new file.",
        ));
    }
    let planned = after_analysis(view.recipe, &probe, analysis, choices);
    Ok(Expansion { steps: planned, context: ahead(0.0), ..Expansion::default() })
}

fn probe_of(view: &View<'_>) -> Result<Probe, StepError> {
    use serde::Deserialize;
    let media = view.asset.media.as_ref();
    media.and_then(|media| Probe::deserialize(media).ok()).ok_or_else(|| {
        bug(
            "no_probe",
            "What the probe found is missing from the asset. Start the job again with `headwater jobs retry`.",
        )
    })
}

/// Every step that waits for the analysis.
pub(super) fn after_analysis(
    recipe: &Recipe,
    probe: &Probe,
    analysis: &Analysis,
    choices: &[RungChoice],
) -> Vec<NewStep> {
    let tracks = Tracks::of(recipe, probe);
    let mut planned = Vec::new();
    if let Some(track) = tracks.video {
        planned.extend(pictures(recipe, probe, track, analysis, choices));
    }
    if sound_waits(recipe, &tracks) {
        planned.extend(sound(recipe, probe, &tracks, Some(analysis)));
    }
    // The tail stands behind what the probe has added, too.
    let mut before = names(&planned);
    if !sound_waits(recipe, &tracks) {
        before.extend(names(&sound(recipe, probe, &tracks, None)));
    }
    before.extend(tracks.text.iter().map(|text| format!("subtitles/{}", text.name)));
    if let Some(track) = tracks.video {
        before.extend(names(&still_pictures(recipe, probe, track)));
    }
    planned.extend(tail(recipe, &before));
    planned
}

fn names(steps: &[NewStep]) -> Vec<String> {
    steps.iter().map(|step| step.name.clone()).collect()
}

/// The ladders' steps: what is played first, then the rest from the smallest up.
fn pictures(
    recipe: &Recipe,
    probe: &Probe,
    track: &SourceTrack,
    analysis: &Analysis,
    choices: &[RungChoice],
) -> Vec<NewStep> {
    let mut planned = Vec::new();
    // Sync pictures of every rendition stand where those of a copied one do: players switch there.
    let mut copied = false;
    for (index, ladder) in recipe.video.iter().enumerate() {
        let mut pictures = ladder::pictures(ladder, i64::from(recipe.gop_ms), track, Some(analysis));
        if ladder.per_title && !choices.is_empty() {
            pictures = ladder::per_title(pictures, choices);
        }
        let copy = pictures.iter().position(|picture| picture.how == How::Copy);
        copied |= copy.is_some();
        let first = copy.unwrap_or(0);
        for (at, picture) in pictures.iter().enumerate() {
            let class = if index == 0 && at == first { CLASS_FIRST } else { CLASS_OTHER };
            planned.extend(rendition(recipe, probe, track, analysis, picture, class, copied));
        }
    }
    planned.sort_by_key(|step| step.class);
    planned
}

fn rendition(
    recipe: &Recipe,
    probe: &Probe,
    track: &SourceTrack,
    analysis: &Analysis,
    picture: &Picture,
    class: i64,
    copied: bool,
) -> Vec<NewStep> {
    let name = &picture.name;
    let (mut planned, kbps, behind) = match &picture.how {
        How::Copy => {
            let kbps = u32::try_from(analysis.video_kbps.unwrap_or(0)).unwrap_or(u32::MAX);
            let weight = weigh::moving(2.0 * weigh::bytes_of(probe.duration_ms, kbps));
            (vec![steps::copy(name, class, weight, track.index)], kbps, format!("encode/{name}"))
        }
        How::Encode(encode) => {
            let mut planned: Vec<NewStep> = Vec::new();
            for chunk in &analysis.chunks {
                let mut encode = encode.clone();
                encode.keyframes_at = copied.then(|| keyframes_in(chunk, &analysis.keyframes));
                let weight = weigh::encode(track, &encode, chunk.frames as f64);
                planned.push(steps::encode_chunk(name, class, weight, encode, chunk));
            }
            planned.push(stitch(name, class, &analysis.chunks, names(&planned)));
            (planned, encode.kbps_max, format!("stitch/{name}"))
        }
    };
    let bytes = weigh::bytes_of(probe.duration_ms, kbps);
    let spec = Spec::Package {
        rendition: name.clone(),
        segment_ms: recipe.segment_ms,
        start_ms: probe.start_ms,
        language: None,
        label: None,
        default: true,
    };
    planned.push(steps::step(format!("package/{name}"), &spec, class, weigh::moving(bytes), vec![behind]));
    planned.extend(validate(recipe, track, analysis, picture));
    planned
}

/// The source's sync pictures in `chunk`; its first picture is one in any case.
fn keyframes_in(chunk: &Chunk, keyframes: &[i64]) -> Vec<i64> {
    let inside = keyframes.iter().copied().filter(|pts| (chunk.start_pts + 1..chunk.end_pts).contains(pts));
    std::iter::once(chunk.start_pts).chain(inside).collect()
}

fn stitch(name: &str, class: i64, chunks: &[Chunk], after: Vec<String>) -> NewStep {
    let expected = chunks.iter().map(|chunk| Chunk { keyframes: Vec::new(), ..chunk.clone() }).collect();
    let spec = Spec::Stitch { rendition: name.to_owned(), expected };
    steps::step(format!("stitch/{name}"), &spec, class, weigh::STEP, after)
}

fn validate(recipe: &Recipe, track: &SourceTrack, analysis: &Analysis, picture: &Picture) -> Option<NewStep> {
    let validation = recipe.validate.as_ref()?;
    // A copy is the source: only its length and its pictures are counted.
    let (ssim, vmaf, thinned) = match &picture.how {
        How::Copy => (false, false, false),
        How::Encode(encode) => (validation.ssim, validation.vmaf, encode.fps_max.is_some()),
    };
    let expected_ms = (analysis.end_pts - analysis.first_pts) / 90;
    let expected_frames = (!thinned).then_some(analysis.frames);
    let spec = Spec::Validate { rendition: picture.name.clone(), ssim, vmaf, expected_frames, expected_ms };
    let weight = weigh::validate(Some(track), picture.width, picture.height, analysis.frames as f64, ssim, vmaf);
    let behind = vec![format!("package/{}", picture.name)];
    Some(steps::optional(steps::step(format!("validate/{}", picture.name), &spec, CLASS_LATER, weight, behind)))
}

/// Encode and package every sound track; `analysis` where the loudness is set.
fn sound(recipe: &Recipe, probe: &Probe, tracks: &Tracks<'_>, analysis: Option<&Analysis>) -> Vec<NewStep> {
    let audio = &recipe.audio;
    let gain_db = analysis.and_then(|analysis| gain(audio, analysis));
    let mut planned = Vec::new();
    for kept in &tracks.audio {
        let channels = kept.track.audio.as_ref().map_or(2, |info| info.channels.clamp(1, 8)).min(audio.channels_max);
        let kbps = (audio.kbps * channels.div_ceil(2)).max(16);
        let copies = copies_sound(recipe, kept.track);
        planned.push(if copies {
            let weight = weigh::moving(2.0 * weigh::bytes_of(probe.duration_ms, kbps));
            steps::copy(&kept.name, kept.class(), weight, kept.track.index)
        } else {
            let encode =
                AudioEncode { track: kept.track.index, codec: audio.codec, kbps, channels: Some(channels), gain_db };
            steps::encode_sound(&kept.name, kept.class(), weigh::sound(probe.duration_ms, channels), encode)
        });
        let spec = Spec::Package {
            rendition: kept.name.clone(),
            segment_ms: recipe.segment_ms,
            start_ms: probe.start_ms,
            language: kept.language.clone(),
            label: Some(kept.label.clone()),
            default: kept.default,
        };
        let weight = weigh::moving(weigh::bytes_of(probe.duration_ms, kbps));
        let behind = vec![format!("encode/{}", kept.name)];
        planned.push(steps::step(format!("package/{}", kept.name), &spec, kept.class(), weight, behind));
    }
    planned
}

fn copies_sound(recipe: &Recipe, track: &SourceTrack) -> bool {
    let plain = track.codec == "aac" && track.profile.as_deref().is_none_or(|profile| profile == "LC");
    let channels = track.audio.as_ref().map_or(0, |info| info.channels);
    let only = recipe.video.iter().any(|ladder| ladder.passthrough == Passthrough::Only);
    let narrow = (1..=2).contains(&channels) || (only && channels <= 8);
    recipe.audio.passthrough
        && recipe.audio.codec == AudioCodec::Aac
        && recipe.audio.loudness_lufs.is_none()
        && plain
        && narrow
}

/// How much louder, so that the programme has the recipe's loudness and its peaks stay below full scale.
fn gain(audio: &AudioRecipe, analysis: &Analysis) -> Option<f32> {
    let target = f64::from(audio.loudness_lufs?);
    let loudness = analysis.loudness?;
    if loudness.integrated_lufs <= SILENCE_LUFS {
        return None;
    }
    let wanted = target - loudness.integrated_lufs;
    let room = TRUE_PEAK_MAX_DB - loudness.true_peak_db;
    // A peak over full scale already is no reason to make a quiet programme quieter.
    let gain = if wanted > 0.0 { wanted.min(room.max(0.0)) } else { wanted };
    Some((gain * 10.0).round() as f32 / 10.0)
}

fn subtitles_step(text: &Kept<'_>, probe: &Probe) -> NewStep {
    let spec = Spec::Subtitles {
        track: text.track.index,
        rendition: text.name.clone(),
        language: text.language.clone(),
        label: Some(text.label.clone()),
        default: text.default,
    };
    let weight = weigh::STEP + probe.duration_ms.max(0) as f64 / 1_000_000.0;
    let behind = vec!["probe".to_owned()];
    steps::optional(steps::step(format!("subtitles/{}", text.name), &spec, CLASS_OTHER, weight, behind))
}

/// Posters and storyboard: pictures that stand still.
fn still_pictures(recipe: &Recipe, probe: &Probe, track: &SourceTrack) -> Vec<NewStep> {
    let behind = || vec!["probe".to_owned()];
    let thumbnails = recipe.thumbnails.as_ref().map(|wanted| {
        let width = wanted.width.min(track.video.as_ref().map_or(wanted.width, |video| video.width)) & !1;
        let spec = Spec::Thumbnails { at_permille: wanted.at_permille.clone(), width };
        let weight = wanted.at_permille.len() as f64;
        steps::optional(steps::step("thumbnails", &spec, CLASS_OTHER, weight, behind()))
    });
    let storyboard = recipe.storyboard.as_ref().map(|wanted| {
        // A long film gets wider distances, not more sheets than a player wants to load.
        let interval_ms = wanted.interval_ms.max(probe.duration_ms / STORYBOARD_PICTURES_MAX);
        let spec = StoryboardSpec { interval_ms, columns: wanted.columns, rows: wanted.rows, width: wanted.width };
        let seconds = probe.duration_ms.max(0) as f64 / 1_000.0;
        let frames = track.video.as_ref().map_or(0.0, |video| seconds * weigh::frame_rate(video));
        // Sync pictures alone are decoded.
        let weight = weigh::STEP + weigh::decode(track, frames / 20.0);
        steps::optional(steps::step("storyboard", &Spec::Storyboard { spec }, CLASS_LATER, weight, behind()))
    });
    thumbnails.into_iter().chain(storyboard).collect()
}

/// Deliveries behind everything that is delivered; notices behind those; clean-up last.
fn tail(recipe: &Recipe, before: &[String]) -> Vec<NewStep> {
    let leaves: Vec<String> = before.iter().filter(|name| delivered(name)).cloned().collect();
    let mut planned: Vec<NewStep> = Vec::new();
    for name in &recipe.destinations {
        let spec = Spec::Transfer { name: name.clone(), destination: None, objects: Vec::new() };
        planned.push(steps::step(format!("transfer/{name}"), &spec, CLASS_LATER, 5.0, leaves.clone()));
    }
    let behind = if planned.is_empty() { leaves } else { names(&planned) };
    for (index, url) in recipe.notify.iter().enumerate() {
        planned.push(steps::notify(index, url, behind.clone()));
    }
    let last = before.iter().filter(|name| delivered(name) || name.starts_with("validate/")).cloned();
    let after = last.chain(names(&planned)).collect();
    planned.push(steps::step("clean-up", &Spec::CleanUp {}, CLASS_LATER, weigh::STEP, after));
    planned
}

fn delivered(name: &str) -> bool {
    ["package/", "subtitles/", "thumbnails", "storyboard"].iter().any(|start| name.starts_with(start))
}

pub(super) fn stitched(view: &View<'_>, step: &Step, bad: &[u32]) -> Result<Expansion, StepError> {
    let mut bad = bad.to_vec();
    if let Ok(Spec::Stitch { expected, .. }) = super::spec(step) {
        bad.extend(super::outcome::mismatched(step.rendition.as_deref(), &expected, view.steps));
    }
    bad.sort_unstable();
    bad.dedup();
    if bad.is_empty() {
        return Ok(Expansion::default());
    }
    let rendition = step.rendition.as_deref().unwrap_or_default();
    let key = format!("redo/{rendition}");
    let mut counts = view.job.context.get(&key).and_then(Value::as_object).cloned().unwrap_or_default();
    for index in &bad {
        let count = counts.get(&index.to_string()).and_then(Value::as_i64).unwrap_or(0) + 1;
        if count > REDOS_MAX {
            let human = format!(
                "Chunk {index} of rendition {rendition} was encoded {count} times and never had the pictures of its source. \
                 See the step's log; `headwater jobs retry` tries once more."
            );
            return Err(bug("chunk_mismatch", human));
        }
        counts.insert(index.to_string(), count.into());
    }
    let event = event(view, "job.chunks.redone", json!({ "rendition": rendition, "chunks": bad }));
    Ok(Expansion {
        redo: bad.iter().map(|index| format!("encode/{rendition}/{index}")).collect(),
        context: Map::from_iter([(key, Value::Object(counts))]),
        events: vec![event],
        ..Expansion::default()
    })
}

pub(super) fn packaged(
    view: &View<'_>,
    step: &Step,
    media: &ObjectRef,
    index: &ObjectRef,
    summary: &RenditionSummary,
) -> Expansion {
    let Ok(Spec::Package { rendition: name, language, label, default, .. }) = super::spec(step) else {
        return Expansion::default();
    };
    let kind = if name.starts_with('v') { MediaKind::Video } else { MediaKind::Audio };
    let rendition = Rendition {
        asset: view.asset.id.clone(),
        name,
        kind,
        codecs: summary.codecs.clone(),
        width: summary.width.map(i64::from),
        height: summary.height.map(i64::from),
        bandwidth: i64::try_from(summary.bandwidth).unwrap_or(i64::MAX),
        average_bandwidth: i64::try_from(summary.average_bandwidth).unwrap_or(i64::MAX),
        language,
        label,
        default,
        object: media.key.clone(),
        bytes: i64::try_from(media.bytes).unwrap_or(i64::MAX),
        index: index.key.clone(),
        quality: measured(view, step),
        ready: view.now,
    };
    let asset = published(view, &rendition, summary.duration_ms);
    Expansion { renditions: vec![rendition], asset, ..Expansion::default() }
}

/// SSIM and VMAF as the encoders measured them, by the chunks' lengths.
fn measured(view: &View<'_>, step: &Step) -> Value {
    let mut sums = [(0.0, 0.0); 2];
    for output in super::outcome::encodes(view.steps, step.rendition.as_deref()) {
        for (sum, value) in sums.iter_mut().zip([output.1.ssim, output.1.vmaf]) {
            if let Some(value) = value {
                *sum = (sum.0 + value * output.1.frames as f64, sum.1 + output.1.frames as f64);
            }
        }
    }
    let named = ["ssim", "vmaf"].iter().zip(sums).filter(|(_, (_, frames))| *frames > 0.0);
    Value::Object(named.map(|(name, (sum, frames))| ((*name).to_owned(), json!(sum / frames))).collect())
}

/// The asset's own fields, once `rendition` is there: it plays with its first pictures and its default sound.
fn published(view: &View<'_>, rendition: &Rendition, duration_ms: i64) -> AssetPatch {
    let mut there: Vec<Rendition> = view.renditions.iter().filter(|r| r.name != rendition.name).cloned().collect();
    there.push(rendition.clone());
    let plays = probe_of(view).is_ok_and(|probe| super::plays(view.recipe, &probe, &there));
    let alone = rendition.kind == MediaKind::Video || there.iter().all(|r| r.kind != MediaKind::Video);
    AssetPatch {
        state: (plays && view.asset.state == AssetState::Preparing).then_some(AssetState::Ready),
        // Pictures say how long it is; sound does where there are none.
        duration_ms: alone.then_some(duration_ms),
        ..AssetPatch::default()
    }
}

pub(super) fn validated(view: &View<'_>, step: &Step, quality: Option<&Quality>) -> Expansion {
    let name = step.rendition.as_deref().unwrap_or_default();
    let rendition = view.renditions.iter().find(|rendition| rendition.name == name);
    let (Some(quality), Some(rendition)) = (quality, rendition) else { return Expansion::default() };
    let mut measured = json!({ "ssim": quality.ssim });
    if let Some(vmaf) = quality.vmaf {
        measured["vmaf"] = json!(vmaf);
    }
    let wanted = view.recipe.validate.clone().unwrap_or_default();
    let low = wanted.ssim_min.is_some_and(|min| quality.ssim < min)
        || quality.vmaf.zip(wanted.vmaf_min).is_some_and(|(vmaf, min)| vmaf < min);
    let data =
        json!({ "rendition": name, "quality": measured, "ssim_min": wanted.ssim_min, "vmaf_min": wanted.vmaf_min });
    let events = if low { vec![event(view, "asset.rendition.low_quality", data)] } else { Vec::new() };
    Expansion { renditions: vec![Rendition { quality: measured, ..rendition.clone() }], events, ..Expansion::default() }
}

pub(super) fn thumbnails(images: &[ObjectRef]) -> Expansion {
    let poster = images.first().map(|image| image.key.clone());
    Expansion { asset: AssetPatch { poster, ..AssetPatch::default() }, ..Expansion::default() }
}

pub(super) fn storyboard(storyboard: &Storyboard) -> Expansion {
    let value = serde_json::to_value(storyboard).expect("a storyboard has text keys alone");
    Expansion { asset: AssetPatch { storyboard: Some(value), ..AssetPatch::default() }, ..Expansion::default() }
}

pub(super) fn subtitles(view: &View<'_>, step: &Step, media: &ObjectRef, cues: u64) -> Expansion {
    let Ok(Spec::Subtitles { rendition: name, language, label, default, .. }) = super::spec(step) else {
        return Expansion::default();
    };
    if cues == 0 {
        return Expansion::default();
    }
    let rendition = Rendition {
        asset: view.asset.id.clone(),
        name,
        kind: MediaKind::Subtitle,
        codecs: "wvtt".to_owned(),
        width: None,
        height: None,
        bandwidth: 0,
        average_bandwidth: 0,
        language,
        label,
        default,
        object: media.key.clone(),
        bytes: i64::try_from(media.bytes).unwrap_or(i64::MAX),
        index: String::new(),
        quality: json!({}),
        ready: view.now,
    };
    Expansion { renditions: vec![rendition], ..Expansion::default() }
}

pub(super) fn transferred(view: &View<'_>, step: &Step, files: u64, bytes: u64, location: &str) -> Expansion {
    let name = step.name.strip_prefix("transfer/").unwrap_or(&step.name);
    let data = json!({ "destination": name, "files": files, "bytes": bytes, "location": location });
    Expansion { events: vec![event(view, "asset.transferred", data)], ..Expansion::default() }
}

fn event(view: &View<'_>, kind: &'static str, data: Value) -> NewEvent {
    NewEvent {
        kind,
        tenant: view.job.tenant.clone(),
        asset: Some(view.asset.id.clone()),
        job: Some(view.job.id.clone()),
        data,
    }
}
