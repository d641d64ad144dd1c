//! Bodies out of objects, with a window of memory each.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use packager::vod::{Progressive, Stretch};
use store::{Key, Objects};

use super::answer::{Body, BoxError};

/// How much of a track file is read at a time for a progressive file, in bytes: the pieces of a track lie close together, so that one
/// reading serves several. Two of these are the memory of a download.
const WINDOW_BYTES: u64 = 1 << 20;

/// The bytes of `range` of an object.
pub(super) fn of_object(objects: Objects, key: Key, range: Range<u64>) -> Body {
    let expected = range.end - range.start;
    let opened = async move { objects.get_stream(&key, Some(range)).await.map(|(_, bytes)| bytes) };
    let bytes = stream::once(opened).try_flatten().map_err(BoxError::from);
    // Less than was announced is an error, not an end: a cache must not take it for the whole.
    let counted = bytes.map(Some).chain(stream::once(async { None })).scan(expected, |left, item| {
        let item = match item {
            Some(Ok(bytes)) => {
                *left = left.saturating_sub(bytes.len() as u64);
                Some(Some(Ok(bytes)))
            }
            Some(Err(error)) => Some(Some(Err(error))),
            None if *left > 0 => Some(Some(Err(BoxError::from("an object is shorter than its index says")))),
            None => None,
        };
        std::future::ready(item)
    });
    let frames = counted.filter_map(|item| std::future::ready(item.map(|item| item.map(Frame::data))));
    StreamBody::new(frames).boxed_unsync()
}

/// The bytes of `range` of a virtual file; `keys` are its track files.
pub(super) fn of_movie(objects: Objects, movie: Arc<Progressive>, keys: Vec<Key>, range: Range<u64>) -> Body {
    let windows = keys.iter().map(|_| Window::default()).collect();
    let reader = Reader { objects, movie, keys, windows, range };
    let frames = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(None) => None,
            Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A stretch of a track file in memory.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

struct Reader {
    objects: Objects,
    movie: Arc<Progressive>,
    keys: Vec<Key>,
    windows: Vec<Window>,
    /// What is still to be sent.
    range: Range<u64>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        let Some(stretch) = self.movie.stretches(self.range.clone()).next() else { return Ok(None) };
        let bytes = match stretch {
            Stretch::Head(range) => self.movie.head.slice(range),
            Stretch::Track(track, range) => self.read(track, range).await?,
        };
        self.range.start += bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// The beginning of `range`: as much of it as the window holds, after it was moved when it holds nothing.
    async fn read(&mut self, track: usize, range: Range<u64>) -> Result<Bytes, BoxError> {
        let (key, window) =
            self.keys.get(track).zip(self.windows.get_mut(track)).ok_or("a piece of a track that is not there")?;
        let end = window.start + window.bytes.len() as u64;
        if !(window.start..end).contains(&range.start) {
            // A read behind the end is cut there; a request near the range's end need not read a whole window.
            let ahead = (self.range.end - self.range.start)
                .clamp(range.end - range.start, WINDOW_BYTES.max(range.end - range.start));
            let wanted = range.start..range.start + ahead.min(WINDOW_BYTES);
            *window = Window { start: range.start, bytes: self.objects.get_range(key, wanted).await? };
        }
        let from = (range.start - window.start) as usize;
        let to = (range.end - window.start).min(window.bytes.len() as u64) as usize;
        if from >= to {
            return Err("an object is shorter than its index says".into());
        }
        Ok(window.bytes.slice(from..to))
    }
}
