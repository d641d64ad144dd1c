//! Packaged tracks: what an index says is read and held against what its worker said of it, and a whole asset is laid out for
//! servers that know nothing but files.

use std::fmt::Write;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use packager::vod::{
    Presentation, TextTrack, TrackIndex, Variant, iframe_playlist, media_playlist, multivariant_playlist,
    subtitle_playlist,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use store::{
    Key,
    catalogue::{Asset, MediaKind, Rendition, Step, StepError},
};

use super::{Manager, ManagerError};
use crate::{
    plan,
    protocol::{ObjectRef, Output, Spec, Storyboard, TransferObject},
};

/// Largest index that is read, in bytes: ten million samples take about as much.
const INDEX_BYTES_MAX: u64 = 128 << 20;
/// Beginning of a file that is looked at to know what it is, in bytes.
const MAGIC_BYTES: u64 = 16;

impl Manager {
    /// Whether what will be delivered is what it should be: an index that describes its track file as the worker did, pictures
    /// that are JPEGs, text that is WebVTT.
    pub(super) async fn readable(&self, spec: &Spec, output: &Output) -> Result<Result<(), StepError>, ManagerError> {
        let bad = |what: String| {
            let human =
                format!("{what} Nothing of it was published; the worker's version and machine should be checked.");
            Ok(Err(plan::disbelieved(human)))
        };
        match (spec, output) {
            (Spec::Package { rendition, .. }, Output::Packaged { media, index, summary }) => {
                let track = match self.index(&index.key).await? {
                    Ok(track) => track,
                    Err(why) => return bad(format!("The index of rendition {rendition} cannot be read: {why}.")),
                };
                // From the asset's beginning, or from the track's own.
                let own_ms = track.timescale.to_ms(track.end_ticks - track.start_ticks);
                let lasts = [track.duration_ms(), own_ms].iter().any(|ms| summary.duration_ms.abs_diff(*ms) <= 1);
                let rates = (track.bandwidth, track.average_bandwidth);
                let differing = [
                    ("size", media.bytes != track.bytes()),
                    ("codecs", summary.codecs != track.codecs),
                    ("picture", (summary.width, summary.height) != (track.width, track.height)),
                    ("bit rates", (summary.bandwidth, summary.average_bandwidth) != rates),
                    ("samples", summary.samples != track.sample_count() as u64),
                    ("segments", summary.segments != track.segments.len() as u64),
                    ("length", !lasts),
                ];
                if let Some((what, _)) = differing.iter().find(|(_, differs)| *differs) {
                    return bad(format!("The index of rendition {rendition} is another track's: its {what} differ."));
                }
                Ok(Ok(()))
            }
            (_, Output::Thumbnails { images }) => self.begins(images, b"\xff\xd8\xff", "JPEG").await,
            (_, Output::Storyboard(board)) => self.begins(&board.sheets, b"\xff\xd8\xff", "JPEG").await,
            (_, Output::Subtitles { media, .. }) => self.begins(std::slice::from_ref(media), b"WEBVTT", "WebVTT").await,
            _ => Ok(Ok(())),
        }
    }

    async fn begins(
        &self,
        objects: &[ObjectRef],
        magic: &[u8],
        what: &str,
    ) -> Result<Result<(), StepError>, ManagerError> {
        for object in objects {
            let begin = self.objects().get_range(&Key::new(&object.key)?, 0..MAGIC_BYTES.min(object.bytes)).await?;
            let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&begin);
            if !begin.starts_with(magic) {
                let human =
                    format!("{} is no {what} file. Nothing of it was published; check the worker.", object.name());
                return Ok(Err(plan::disbelieved(human)));
            }
        }
        Ok(Ok(()))
    }

    /// A track's index; the inner error says why it is none.
    async fn index(&self, key: &str) -> Result<Result<TrackIndex, String>, ManagerError> {
        let key = Key::new(key)?;
        let Some(meta) = self.objects().head(&key).await? else { return Ok(Err("it is not stored".to_owned())) };
        if meta.bytes > INDEX_BYTES_MAX {
            return Ok(Err("it is too large".to_owned()));
        }
        let text = self.objects().get_range(&key, 0..meta.bytes).await?;
        Ok(serde_json::from_slice(&text).map_err(|error| error.to_string()))
    }

    /// The asset as files that any web server can deliver: track files, playlists that point into them, text, poster, and the
    /// sheets of the storyboard. The playlists are written for this step, below its own prefix.
    pub(super) async fn export(&self, step: &Step, asset: &Asset) -> Result<Vec<TransferObject>, ManagerError> {
        let renditions = self.catalogue().renditions(&asset.id).await?;
        let hashes = self.hashes(step).await?;
        let stored = |key: &str, bytes: u64, path: String| TransferObject {
            object: ObjectRef { key: key.to_owned(), bytes, sha256: hash_of(&hashes, key) },
            path,
        };
        let mut files = Vec::new();
        let mut tracks: Vec<(&Rendition, TrackIndex)> = Vec::new();
        let mut texts = Vec::new();
        for rendition in &renditions {
            let bytes = u64::try_from(rendition.bytes).unwrap_or(0);
            if rendition.kind == MediaKind::Subtitle {
                files.push(stored(&rendition.object, bytes, format!("{}/0.vtt", rendition.name)));
                let playlist = subtitle_playlist(asset.duration_ms.unwrap_or(0), "");
                files.push(self.written(step, &format!("{}/index.m3u8", rendition.name), playlist).await?);
                texts.push(rendition);
            } else if let Ok(index) = self.index(&rendition.index).await? {
                files.push(stored(&rendition.object, bytes, format!("{}/{MEDIA}", rendition.name)));
                tracks.push((rendition, index));
            }
        }
        for (rendition, index) in &tracks {
            let playlist = as_byte_ranges(&media_playlist(index, ""), index);
            files.push(self.written(step, &format!("{}/index.m3u8", rendition.name), playlist).await?);
            if rendition.kind == MediaKind::Video {
                let playlist = as_byte_ranges(&iframe_playlist(index, ""), index);
                files.push(self.written(step, &format!("{}/iframes.m3u8", rendition.name), playlist).await?);
            }
        }
        files.extend(self.stills(asset, &stored).await?);
        // Last, so that a player that looks meanwhile finds all that it names.
        files.push(self.written(step, "index.m3u8", multivariant(&tracks, &texts)).await?);
        Ok(files)
    }

    async fn stills(
        &self,
        asset: &Asset,
        stored: &impl Fn(&str, u64, String) -> TransferObject,
    ) -> Result<Vec<TransferObject>, ManagerError> {
        let mut files = Vec::new();
        if let Some(poster) = &asset.poster
            && let Some(meta) = self.objects().head(&Key::new(poster)?).await?
        {
            files.push(stored(poster, meta.bytes, "poster.jpg".to_owned()));
        }
        let storyboard = asset.storyboard.as_ref().and_then(|value| Storyboard::deserialize(value).ok());
        for (number, sheet) in storyboard.into_iter().flat_map(|board| board.sheets).enumerate() {
            files.push(stored(&sheet.key, sheet.bytes, format!("storyboard-{number}.jpg")));
        }
        Ok(files)
    }

    /// Stores a text for a transfer. The same step may do so again in another attempt, under another token.
    async fn written(&self, step: &Step, path: &str, text: String) -> Result<TransferObject, ManagerError> {
        let key = format!("{}{}", plan::prefix(step, false, step.token), path.replace('/', "-"));
        let sha256 = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
        let object = ObjectRef { key, bytes: text.len() as u64, sha256 };
        self.objects().put_new(&Key::new(&object.key)?, vec![Bytes::from(text)]).await?;
        Ok(TransferObject { object, path: path.to_owned() })
    }

    /// Hashes of what this job's steps stored.
    async fn hashes(&self, step: &Step) -> Result<Vec<ObjectRef>, ManagerError> {
        let steps = self.catalogue().steps(&step.job).await?;
        let outputs = steps.iter().filter_map(|step| Output::deserialize(step.output.as_ref()?).ok());
        Ok(outputs.flat_map(delivered).collect())
    }
}

/// The track file's name below its rendition's folder.
const MEDIA: &str = "media.mp4";

fn hash_of(objects: &[ObjectRef], key: &str) -> String {
    objects.iter().find(|object| object.key == key).map_or_else(String::new, |object| object.sha256.clone())
}

fn delivered(output: Output) -> Vec<ObjectRef> {
    match output {
        Output::Packaged { media, .. } | Output::Subtitles { media, .. } => vec![media],
        Output::Thumbnails { images } => images,
        Output::Storyboard(board) => board.sheets,
        _ => Vec::new(),
    }
}

fn multivariant(tracks: &[(&Rendition, TrackIndex)], texts: &[&Rendition]) -> String {
    let variants: Vec<Variant<'_>> = tracks
        .iter()
        .map(|(rendition, index)| Variant {
            name: &rendition.name,
            folder: "",
            index,
            language: rendition.language.as_deref(),
            label: rendition.label.as_deref(),
            default: rendition.default,
        })
        .collect();
    let texts: Vec<TextTrack<'_>> = texts
        .iter()
        .map(|rendition| TextTrack {
            name: &rendition.name,
            language: rendition.language.as_deref(),
            label: rendition.label.as_deref(),
            default: rendition.default,
        })
        .collect();
    multivariant_playlist(&Presentation { variants: &variants, texts: &texts, images: None })
}

/// A Media Playlist whose segments are files of their own, as one whose segments are byte ranges of the track file
/// (RFC 8216bis 4.4.4.2).
fn as_byte_ranges(playlist: &str, index: &TrackIndex) -> String {
    let mut out = String::with_capacity(playlist.len() * 2);
    // A range within the segment: of key frames.
    let mut within: Option<(u64, u64)> = None;
    for line in playlist.lines() {
        if let Some(range) = line.strip_prefix("#EXT-X-BYTERANGE:") {
            within =
                range.split_once('@').and_then(|(bytes, offset)| Some((bytes.parse().ok()?, offset.parse().ok()?)));
        } else if line.starts_with("#EXT-X-MAP:") {
            let _ = writeln!(out, "#EXT-X-MAP:URI=\"{MEDIA}\",BYTERANGE=\"{}@0\"", index.init.len());
        } else if let Some(segment) = line.strip_suffix(".m4s").and_then(|number| index.segment(number.parse().ok()?)) {
            let (bytes, offset) = within.take().unwrap_or((segment.end - segment.start, 0));
            let _ = writeln!(out, "#EXT-X-BYTERANGE:{bytes}@{}\n{MEDIA}", segment.start + offset);
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
