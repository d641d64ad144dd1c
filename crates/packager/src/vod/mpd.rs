//! A static MPD (ISO/IEC 23009-1): one Period, the segments of the HLS playlists.

use std::fmt::Write;

use media::TrackKind;

use super::{Images, Presentation, TextTrack, Variant, rate::decimal};
use crate::{
    mpd::{RepresentationHead, Xml, put_timeline},
    tags::Millis,
};

/// What a player should hold before it begins, in milliseconds.
const MIN_BUFFER_MS: i64 = 2_000;
/// Bits per second that a text track is said to need: an upper bound of what people read.
const TEXT_BITS_PER_SECOND: u32 = 1_000;

/// The manifest. Segments are at `NAME/FOLDERn.m4s`, relative to it.
pub fn mpd(presentation: &Presentation) -> String {
    let mut text = String::with_capacity(4096);
    let duration = Millis(presentation.duration_ms());
    let longest_ms = presentation.variants.iter().map(longest_segment_ms).max().unwrap_or(0);
    text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"");
    let _ = writeln!(
        text,
        " profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"static\" mediaPresentationDuration=\"PT{duration}S\" minBufferTime=\"PT{}S\" maxSegmentDuration=\"PT{}S\">",
        Millis(MIN_BUFFER_MS),
        Millis(longest_ms),
    );
    let _ = writeln!(text, "  <Period id=\"p0\" start=\"PT0.000S\" duration=\"PT{duration}S\">");
    let sets = adaptation_sets(presentation);
    let count = sets.len();
    for (id, members) in sets.into_iter().enumerate() {
        render_set(&mut text, id, &members);
    }
    for (n, track) in presentation.texts.iter().enumerate() {
        render_text(&mut text, count + n, track);
    }
    if let Some(images) = &presentation.images {
        render_images(&mut text, count + presentation.texts.len(), images);
    }
    text.push_str("  </Period>\n</MPD>\n");
    text
}

/// Milliseconds, rounded up.
fn longest_segment_ms(variant: &Variant) -> i64 {
    let timescale = variant.index.timescale;
    let longest = variant.index.segments.iter().map(|segment| segment.ticks).max().unwrap_or(0);
    -timescale.to_ms(-longest)
}

/// Renditions that a player may switch between: of one kind, codec, language, label and number of channels.
fn adaptation_sets<'a>(presentation: &Presentation<'a>) -> Vec<Vec<&'a Variant<'a>>> {
    let mut sets: Vec<Vec<&Variant>> = Vec::new();
    let pictures_first = presentation.of(TrackKind::Video).chain(presentation.of(TrackKind::Audio));
    for variant in pictures_first {
        let key = |variant: &Variant<'a>| {
            (variant.index.kind, variant.family().to_owned(), variant.language, variant.label, variant.index.channels)
        };
        let own = key(variant);
        match sets.iter_mut().find(|set| set.first().is_some_and(|first| key(first) == own)) {
            Some(set) => set.push(variant),
            None => sets.push(vec![variant]),
        }
    }
    sets
}

fn render_set(text: &mut String, id: usize, members: &[&Variant]) {
    let Some(first) = members.first() else { return };
    let content = match first.index.kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
    };
    let _ = write!(text, "    <AdaptationSet id=\"{id}\" contentType=\"{content}\" mimeType=\"{content}/mp4\"");
    render_language(text, first.language);
    if members.iter().all(|member| boundaries(member).eq(boundaries(first))) {
        text.push_str(" segmentAlignment=\"true\"");
    }
    if members.iter().all(|member| member.index.is_independent()) {
        text.push_str(" startWithSAP=\"1\"");
    }
    text.push_str(">\n");
    render_label(text, first.label);
    let role = if members.iter().any(|member| member.default) || content == "video" { "main" } else { "alternate" };
    render_role(text, role);
    members.iter().for_each(|member| render_representation(text, member));
    text.push_str("    </AdaptationSet>\n");
}

/// Starts of the segments: microseconds, so that tracks with different timescales compare.
fn boundaries<'a>(variant: &'a Variant) -> impl Iterator<Item = i64> + 'a {
    let timescale = variant.index.timescale;
    variant.index.segments.iter().map(move |segment| timescale.to_us(segment.start_ticks))
}

fn render_language(text: &mut String, language: Option<&str>) {
    if let Some(language) = language.filter(|language| !language.is_empty()) {
        let _ = write!(text, " lang=\"{}\"", Xml(language));
    }
}

fn render_label(text: &mut String, label: Option<&str>) {
    if let Some(label) = label.filter(|label| !label.is_empty()) {
        let _ = writeln!(text, "      <Label>{}</Label>", Xml(label));
    }
}

fn render_role(text: &mut String, role: &str) {
    let _ = writeln!(text, "      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>");
}

fn render_representation(text: &mut String, variant: &Variant) {
    let Variant { name, folder, index, .. } = variant;
    let head = RepresentationHead {
        id: name,
        bandwidth: index.bandwidth,
        codecs: &index.codecs,
        picture: index.width.zip(index.height).map(|(width, height)| (width, height, index.frame_rate.map(decimal))),
        sound: index.sample_rate.zip(index.channels),
    };
    let _ = writeln!(text, "      {head}");
    let _ = writeln!(
        text,
        "        <SegmentTemplate timescale=\"{}\" presentationTimeOffset=\"{}\" initialization=\"{name}/{folder}init.mp4\" media=\"{name}/{folder}$Number$.m4s\" startNumber=\"0\">",
        index.timescale.get(),
        index.zero_ticks,
    );
    let segments = index.segments.iter().map(|segment| (segment.start_ticks, segment.ticks.max(1)));
    put_timeline(text, "          ", segments);
    text.push_str("        </SegmentTemplate>\n      </Representation>\n");
}

fn render_text(text: &mut String, id: usize, track: &TextTrack) {
    let _ = write!(text, "    <AdaptationSet id=\"{id}\" contentType=\"text\" mimeType=\"text/vtt\"");
    render_language(text, track.language);
    text.push_str(">\n");
    render_label(text, track.label);
    render_role(text, "subtitle");
    let _ = writeln!(
        text,
        "      <Representation id=\"{name}\" bandwidth=\"{TEXT_BITS_PER_SECOND}\">\n        <BaseURL>{name}.vtt</BaseURL>\n      </Representation>\n    </AdaptationSet>",
        name = track.name
    );
}

/// Tiles of thumbnails (DASH-IF IOP 6.2.6).
fn render_images(text: &mut String, id: usize, images: &Images) {
    let Images { columns, rows, .. } = *images;
    let sheet_ms = u64::from(images.interval_ms).saturating_mul(u64::from(columns)).saturating_mul(rows.into());
    let bits_per_second = images.sheet_bytes.saturating_mul(8_000).checked_div(sheet_ms).unwrap_or(0).max(1);
    let (width, height) = (images.width.saturating_mul(columns), images.height.saturating_mul(rows));
    let _ = writeln!(
        text,
        "    <AdaptationSet id=\"{id}\" contentType=\"image\" mimeType=\"image/jpeg\">\n      <SegmentTemplate timescale=\"1000\" duration=\"{sheet_ms}\" media=\"storyboard-$Number$.jpg\" startNumber=\"0\"/>\n      <Representation id=\"storyboard\" bandwidth=\"{bits_per_second}\" width=\"{width}\" height=\"{height}\">\n        <EssentialProperty schemeIdUri=\"http://dashif.org/guidelines/thumbnail_tile\" value=\"{columns}x{rows}\"/>\n      </Representation>\n    </AdaptationSet>"
    );
}
