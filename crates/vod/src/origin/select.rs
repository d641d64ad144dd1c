//! The renditions of a snapshot as the packager takes them.

use std::sync::Arc;

use packager::vod::{Images, Presentation, TextTrack, TrackIndex, Variant};
use store::catalogue::MediaKind;

use super::{
    answer::Failure,
    shelf::{Published, Shelf, Snapshot},
    storyboard,
};

/// The tracks of a snapshot with their indexes.
pub(super) struct Selection<'a> {
    tracks: Vec<(&'a Published, String, Arc<TrackIndex>)>,
    texts: Vec<&'a Published>,
}

impl<'a> Selection<'a> {
    /// Reads what is missing of the indexes.
    pub(super) async fn load(shelf: &Shelf, snapshot: &'a Snapshot) -> Result<Self, Failure> {
        let mut selection = Self { tracks: Vec::new(), texts: Vec::new() };
        for published in &snapshot.renditions {
            if published.row.kind == MediaKind::Subtitle {
                selection.texts.push(published);
            } else {
                let index = shelf.index(&published.row.index).await?;
                selection.tracks.push((published, published.folder(), index));
            }
        }
        if selection.tracks.is_empty() { Err(snapshot.missing()) } else { Ok(selection) }
    }

    /// What `render` makes of them.
    pub(super) fn present(&self, snapshot: &Snapshot, render: impl Fn(&Presentation) -> String) -> String {
        let variants: Vec<Variant> = self
            .tracks
            .iter()
            .map(|(published, folder, index)| Variant {
                name: &published.row.name,
                folder,
                index,
                language: published.row.language.as_deref(),
                label: published.row.label.as_deref(),
                default: published.row.default,
            })
            .collect();
        let texts: Vec<TextTrack> = self
            .texts
            .iter()
            .map(|published| TextTrack {
                name: &published.row.name,
                language: published.row.language.as_deref(),
                label: published.row.label.as_deref(),
                default: published.row.default,
            })
            .collect();
        let images: Option<Images> = storyboard::images(snapshot);
        render(&Presentation { variants: &variants, texts: &texts, images })
    }

    /// The longest track, in milliseconds.
    pub(super) fn duration_ms(&self) -> i64 {
        self.tracks.iter().map(|(_, _, index)| index.duration_ms()).max().unwrap_or(0)
    }
}
