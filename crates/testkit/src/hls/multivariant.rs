//! Rules of the Multivariant Playlist.

use std::collections::BTreeSet;

use super::{
    parse::{Multivariant, Variant},
    rules::*,
};
use crate::finding::Findings;

const VIDEO: &[&str] = &["avc1", "avc3", "hvc1", "hev1", "av01", "vp09", "vp08", "dvh1", "dvhe", "vvc1"];
const AUDIO: &[&str] = &["mp4a", "opus", "Opus", "ac-3", "ec-3", "ac-4", "fLaC", "alac"];

pub(super) fn check(list: &Multivariant, out: &mut Findings) {
    check_groups(list, out);
    for (line, attributes) in &list.iframes {
        let needed = attributes.number("BANDWIDTH").is_some() && attributes.text("URI").is_some();
        let odd =
            ["FRAME-RATE", "AUDIO", "SUBTITLES", "CLOSED-CAPTIONS"].iter().find(|name| attributes.text(name).is_some());
        out.check(needed && odd.is_none(), IFRAME_STREAM, *line, || format!("{attributes:?}"));
    }
    let mut seen = BTreeSet::new();
    for variant in &list.variants {
        check_variant(list, variant, out);
        let key = (&variant.uri, variant.attributes.text("AUDIO"));
        out.check(seen.insert(key), VARIANT_UNIQUE, variant.line, || format!("{} is listed twice", variant.uri));
    }
}

fn check_groups(list: &Multivariant, out: &mut Findings) {
    let (mut names, mut defaults) = (BTreeSet::new(), BTreeSet::new());
    for (line, rendition) in &list.renditions {
        let group = (rendition.text("TYPE"), rendition.text("GROUP-ID"));
        let named = names.insert((group, rendition.text("NAME")));
        out.check(named, MEDIA_GROUP, *line, || format!("NAME {:?} twice in {group:?}", rendition.text("NAME")));
        let default = rendition.yes("DEFAULT");
        out.check(!default || defaults.insert(group), MEDIA_GROUP, *line, || format!("two defaults in {group:?}"));
        let selectable = rendition.text("AUTOSELECT").is_none_or(|value| value == "YES");
        out.check(!default || selectable, MEDIA_GROUP, *line, || format!("a default of {group:?} with AUTOSELECT=NO"));
    }
}

fn check_variant(list: &Multivariant, variant: &Variant, out: &mut Findings) {
    let Variant { line, attributes, uri } = variant;
    for kind in ["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"] {
        let Some(group) = attributes.text(kind).filter(|group| *group != "NONE") else { continue };
        let is_it = |rendition: &super::parse::Attributes| {
            rendition.text("TYPE") == Some(kind) && rendition.text("GROUP-ID") == Some(group)
        };
        let exists = list.renditions.iter().any(|(_, rendition)| is_it(rendition));
        out.check(exists, GROUP_EXISTS, *line, || format!("{uri} uses {kind} group {group}, which is not there"));
    }
    let (peak, mean) = (attributes.number("BANDWIDTH"), attributes.number("AVERAGE-BANDWIDTH"));
    let ordered = mean.is_none() || mean <= peak;
    out.check(ordered, AVERAGE_BANDWIDTH, *line, || format!("{uri}: {mean:?} over {peak:?}"));
    let Some(codecs) = attributes.text("CODECS") else {
        return out.add(CODECS, *line, format!("{uri} without CODECS"));
    };
    let codecs: Vec<&str> = codecs.split(',').map(str::trim).collect();
    for codec in codecs.iter().filter(|codec| !well_formed(codec)) {
        out.add(CODECS_FORMAT, *line, format!("{uri}: {codec:?}"));
    }
    let named =
        |families: &[&str]| codecs.iter().any(|codec| families.contains(&codec.split('.').next().unwrap_or(codec)));
    if attributes.text("AUDIO").is_some() {
        out.check(named(AUDIO), CODECS_AUDIO, *line, || format!("{uri} has an AUDIO group and CODECS {codecs:?}"));
    }
    if named(VIDEO) {
        let size = attributes.text("RESOLUTION").and_then(|size| size.split_once('x'));
        let number = |text: &str| text.parse::<u32>().is_ok_and(|n| n > 0);
        let sized = size.is_some_and(|(width, height)| number(width) && number(height));
        out.check(sized, RESOLUTION, *line, || format!("{uri} without RESOLUTION"));
        let rate = attributes.micros("FRAME-RATE").is_some_and(|rate| rate > 0);
        out.check(rate, FRAME_RATE, *line, || format!("{uri} without FRAME-RATE"));
    }
}

/// The shape that RFC 6381 and the codecs' own specifications give.
fn well_formed(codec: &str) -> bool {
    let mut fields = codec.split('.');
    let family = fields.next().unwrap_or_default();
    let rest: Vec<&str> = fields.collect();
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    match family {
        "avc1" | "avc3" => matches!(rest[..], [profile] if profile.len() == 6 && hex(profile)),
        "hvc1" | "hev1" => rest.len() >= 3 && rest.get(2).is_some_and(|level| level.starts_with(['L', 'H'])),
        "av01" => rest.len() >= 3 && rest.get(1).is_some_and(|level| level.ends_with(['M', 'H'])),
        "vp09" => rest.len() >= 3 && rest.iter().all(|field| field.len() == 2 && hex(field)),
        "mp4a" => {
            matches!(rest[..], [oti] if hex(oti))
                || matches!(rest[..], [oti, object] if hex(oti) && object.parse::<u8>().is_ok())
        }
        _ => !family.is_empty() && family.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
    }
}
