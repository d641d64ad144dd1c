//! Playlists that do not change any more (RFC 8216bis).

use std::fmt::Write;

use base::Timescale;
use media::TrackKind;

use super::{
    Presentation, TextTrack, TrackIndex, Variant,
    rate::{decimal, target_s},
    tracks::Quoted,
};
use crate::tags::{Millis, Seconds, StreamInf, distinct};

/// EXT-X-MAP in playlists of more than I-frames (RFC 8216bis 8).
const VERSION: u32 = 6;
/// The variant that players try first is the best one up to this many bits per second: what most connections carry at once.
const FIRST_BITS_PER_SECOND: u64 = 2_000_000;
/// The one group of text tracks.
const TEXTS: &str = "text";

/// The Multivariant Playlist: each picture rendition with each group of sound; sound alone when there are no pictures.
pub fn multivariant_playlist(presentation: &Presentation) -> String {
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n");
    if presentation.variants.iter().all(|variant| variant.index.is_independent()) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let groups = groups(presentation);
    groups.iter().for_each(|group| group.render(&mut text));
    render_texts(&mut text, presentation.texts);
    for variant in in_order(presentation) {
        if variant.index.kind == TrackKind::Audio || groups.is_empty() {
            let own = groups.iter().find(|group| group.members.iter().any(|member| member.name == variant.name));
            render_variant(&mut text, presentation, variant, own);
        } else {
            groups.iter().for_each(|group| render_variant(&mut text, presentation, variant, Some(group)));
        }
    }
    presentation.of(TrackKind::Video).for_each(|variant| render_iframes(&mut text, variant));
    text
}

/// Renditions of sound that stand in for one another.
struct Group<'a> {
    id: String,
    members: Vec<&'a Variant<'a>>,
}

/// Sound by codec and channels. Sound alone needs a group only where there is a choice of languages.
fn groups<'a>(presentation: &Presentation<'a>) -> Vec<Group<'a>> {
    let mut groups: Vec<(String, Group)> = Vec::new();
    for variant in presentation.of(TrackKind::Audio) {
        let same_language = |member: &&Variant| member.language == variant.language && member.label == variant.label;
        let key = format!("{}-{}", variant.family(), variant.index.channels.unwrap_or(0));
        // Bit rates of one language are not renditions to choose from: each goes to a group of its own.
        let fits = |group: &&mut (String, Group)| group.0 == key && !group.1.members.iter().any(same_language);
        match groups.iter_mut().find(fits) {
            Some((_, group)) => group.members.push(variant),
            None => {
                let id = if groups.is_empty() { "audio".to_owned() } else { format!("audio-{}", groups.len() + 1) };
                groups.push((key, Group { id, members: vec![variant] }));
            }
        }
    }
    let pictures = presentation.of(TrackKind::Video).next().is_some();
    groups.into_iter().map(|(_, group)| group).filter(|group| pictures || group.members.len() > 1).collect()
}

impl Group<'_> {
    fn render(&self, text: &mut String) {
        let chosen = self.members.iter().position(|member| member.default).unwrap_or(0);
        let mut names = Vec::new();
        for (n, member) in self.members.iter().enumerate() {
            let name = unique_name(&mut names, member.label.or(member.language), "Audio", n);
            let _ = write!(text, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"{}\"", self.id, Quoted(&name));
            render_language(text, member.language);
            let default = if n == chosen { "YES" } else { "NO" };
            let channels = member.index.channels.unwrap_or(2);
            let _ = writeln!(
                text,
                ",DEFAULT={default},AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{}/index.m3u8\"",
                member.name
            );
        }
    }

    fn peak(&self) -> u64 {
        self.members.iter().map(|member| member.index.bandwidth).max().unwrap_or(0)
    }

    fn mean(&self) -> u64 {
        self.members.iter().map(|member| member.index.average_bandwidth).max().unwrap_or(0)
    }
}

/// NAMEs differ within a group (RFC 8216bis 4.4.6.1.1).
fn unique_name(names: &mut Vec<String>, wanted: Option<&str>, kind: &str, n: usize) -> String {
    let wanted = wanted.map_or_else(|| format!("{kind} {}", n + 1), str::to_owned);
    let name = if names.contains(&wanted) { format!("{wanted} ({})", n + 1) } else { wanted };
    names.push(name.clone());
    name
}

fn render_language(text: &mut String, language: Option<&str>) {
    if let Some(language) = language.filter(|language| !language.is_empty()) {
        let _ = write!(text, ",LANGUAGE=\"{}\"", Quoted(language));
    }
}

fn render_texts(text: &mut String, texts: &[TextTrack]) {
    let chosen = texts.iter().position(|track| track.default);
    let mut names = Vec::new();
    for (n, track) in texts.iter().enumerate() {
        let name = unique_name(&mut names, track.label.or(track.language), "Subtitles", n);
        let _ = write!(text, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"{TEXTS}\",NAME=\"{}\"", Quoted(&name));
        render_language(text, track.language);
        let default = if chosen == Some(n) { "YES" } else { "NO" };
        let _ = writeln!(text, ",DEFAULT={default},AUTOSELECT=YES,FORCED=NO,URI=\"{}/index.m3u8\"", track.name);
    }
}

/// The variants: the one to begin with, then the others from the best. Without pictures, one of each group of sound.
fn in_order<'a>(presentation: &Presentation<'a>) -> Vec<&'a Variant<'a>> {
    let mut variants: Vec<_> = presentation.of(TrackKind::Video).collect();
    if variants.is_empty() {
        variants = presentation.of(TrackKind::Audio).collect();
        let languages = distinct(variants.iter().map(|variant| format!("{:?} {:?}", variant.language, variant.label)));
        if languages.len() > 1 {
            let chosen = variants.iter().find(|variant| variant.default).or(variants.first()).copied();
            return chosen.into_iter().collect();
        }
    }
    variants.sort_by_key(|variant| std::cmp::Reverse(variant.index.bandwidth));
    let below = |variant: &&Variant| variant.index.bandwidth <= FIRST_BITS_PER_SECOND;
    let first = variants.iter().position(below).unwrap_or(variants.len().saturating_sub(1));
    if let Some(begun) = variants.get_mut(..=first) {
        begun.rotate_right(1);
    }
    variants
}

fn render_variant(text: &mut String, presentation: &Presentation, variant: &Variant, sound: Option<&Group>) {
    let index = variant.index;
    let is_sound = index.kind == TrackKind::Audio;
    let beside = sound.filter(|_| !is_sound);
    let codecs = std::iter::once(variant).chain(sound.iter().flat_map(|group| group.members.iter().copied()));
    let stream = StreamInf {
        peak: index.bandwidth + beside.map_or(0, Group::peak),
        mean: index.average_bandwidth + beside.map_or(0, Group::mean),
        codecs: distinct(codecs.map(|variant| variant.index.codecs.clone())),
        resolution: index.width.zip(index.height),
        frame_rate: index.frame_rate.map(decimal),
        audio: sound.map(|group| group.id.as_str()),
        subtitles: (!presentation.texts.is_empty()).then_some(TEXTS),
    };
    let _ = writeln!(text, "#EXT-X-STREAM-INF:{stream}\n{}/index.m3u8", variant.name);
}

fn render_iframes(text: &mut String, variant: &Variant) {
    let index = variant.index;
    let frames = key_frames(index);
    if frames.is_empty() {
        return;
    }
    let rate =
        |bytes: u64, ticks: i64| crate::bandwidth::bits_per_second(bytes, index.timescale.to_us(ticks).unsigned_abs());
    let peak = frames.iter().map(|frame| rate(frame.bytes, frame.ticks)).max().unwrap_or(0);
    let mean = rate(frames.iter().map(|frame| frame.bytes).sum(), frames.iter().map(|frame| frame.ticks).sum());
    let _ = write!(
        text,
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={mean},CODECS=\"{}\"",
        peak.max(mean),
        index.codecs
    );
    if let Some((width, height)) = index.width.zip(index.height) {
        let _ = write!(text, ",RESOLUTION={width}x{height}");
    }
    let _ = writeln!(text, ",URI=\"{}/iframes.m3u8\"", variant.name);
}

/// A track's Media Playlist. `folder` is where its segments are, seen from the playlist: empty, or a path that ends with a slash.
pub fn media_playlist(index: &TrackIndex, folder: &str) -> String {
    let lengths = index.segments.iter().map(|segment| segment.ticks);
    let mut text = head(VERSION, target_s(lengths, index.timescale));
    if index.is_independent() {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let _ = writeln!(text, "#EXT-X-MAP:URI=\"{folder}init.mp4\"");
    for (number, segment) in index.segments.iter().enumerate() {
        let _ = writeln!(text, "#EXTINF:{},\n{folder}{number}.m4s", Seconds(segment.ticks, index.timescale));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// A key frame, as a stretch of a segment from its fragment's header on.
struct KeyFrame {
    segment: usize,
    offset: u64,
    bytes: u64,
    start: i64,
    ticks: i64,
}

/// The sync samples that begin fragments: they can be had with one range.
fn key_frames(index: &TrackIndex) -> Vec<KeyFrame> {
    let mut samples = index.samples();
    let mut frames: Vec<KeyFrame> = Vec::new();
    for (number, segment) in index.segments.iter().enumerate() {
        for fragment in index.fragments.get(segment.fragments.clone()).unwrap_or_default() {
            let first = samples.next();
            // A sample that is skipped is one that the fragment has besides.
            let rest = samples.by_ref().take((fragment.samples as usize).saturating_sub(1));
            rest.for_each(drop);
            let Some(first) = first.filter(|first| first.sync) else { continue };
            if let Some(last) = frames.last_mut() {
                last.ticks = (first.pts() - last.start).max(0);
            }
            frames.push(KeyFrame {
                segment: number,
                offset: fragment.offset - segment.offset,
                bytes: u64::from(fragment.header_bytes) + u64::from(first.bytes),
                start: first.pts(),
                ticks: (index.end_ticks - first.pts()).max(0),
            });
        }
    }
    frames
}

/// The track's key frames for fast forward and thumbnails (RFC 8216bis 4.4.3.6); `folder` as for [`media_playlist`].
pub fn iframe_playlist(index: &TrackIndex, folder: &str) -> String {
    let frames = key_frames(index);
    let mut text = head(VERSION, target_s(frames.iter().map(|frame| frame.ticks), index.timescale));
    let _ = writeln!(text, "#EXT-X-I-FRAMES-ONLY\n#EXT-X-MAP:URI=\"{folder}init.mp4\"");
    for KeyFrame { segment, offset, bytes, ticks, .. } in frames {
        let seconds = Seconds(ticks, index.timescale);
        let _ = writeln!(text, "#EXTINF:{seconds},\n#EXT-X-BYTERANGE:{bytes}@{offset}\n{folder}{segment}.m4s");
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// A text track's Media Playlist: one segment, `{folder}0.vtt`, as long as the presentation.
pub fn subtitle_playlist(duration_ms: i64, folder: &str) -> String {
    let duration_ms = duration_ms.max(1);
    let mut text = head(VERSION, target_s([duration_ms].into_iter(), Timescale::MS));
    let _ = writeln!(text, "#EXTINF:{},\n{folder}0.vtt\n#EXT-X-ENDLIST", Millis(duration_ms));
    text
}

fn head(version: u32, target_s: i64) -> String {
    format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"
    )
}
