//! Reading objects, and lists of objects, as streams.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetResultPayload, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

use super::{ByteStream, Objects, Stored, failed};
use crate::{Blob, BlobPart, Error, Key};

/// Read from a file at a time: large enough that handing it to a blocking thread costs little beside it.
const FILE_CHUNK_BYTES: u64 = 256 * 1024;

pub(super) async fn stream(
    backend: &dyn ObjectStore,
    key: &Key,
    range: Option<Range<u64>>,
) -> Result<(u64, ByteStream), Error> {
    if let Some(range) = range.as_ref().filter(|range| range.is_empty()) {
        let bytes = size(backend, key).await?;
        return Err(Error::Range { key: key.to_string(), bytes: bytes.min(range.start) });
    }
    let options = GetOptions { range: range.clone().map(Into::into), ..GetOptions::default() };
    let got = match backend.get_opts(key.path(), options).await {
        Ok(got) => got,
        Err(source) => return Err(explained(backend, key, range, source).await),
    };
    let (bytes, path) = (got.meta.size, key.path().clone());
    let body = match got.payload {
        GetResultPayload::File(file, _) => file_stream(file, got.range, key.clone()),
        GetResultPayload::Stream(body) => body.map_err(move |source| failed("read", &path, source)).boxed(),
    };
    Ok((bytes, body))
}

/// The error of a read: stores answer a range behind the end each in their own way.
async fn explained(
    backend: &dyn ObjectStore,
    key: &Key,
    range: Option<Range<u64>>,
    source: object_store::Error,
) -> Error {
    if let (Some(range), false) = (range, matches!(source, object_store::Error::NotFound { .. }))
        && let Ok(bytes) = size(backend, key).await
        && range.start >= bytes
    {
        return Error::Range { key: key.to_string(), bytes };
    }
    failed("read", key.path(), source)
}

async fn size(backend: &dyn ObjectStore, key: &Key) -> Result<u64, Error> {
    let meta = backend.head(key.path()).await;
    meta.map(|meta| meta.size).map_err(|source| failed("read", key.path(), source))
}

/// The bytes of `range` in `file`, read on a blocking thread.
fn file_stream(file: File, range: Range<u64>, key: Key) -> ByteStream {
    let chunks = stream::try_unfold((Some(file), range), move |(file, range)| {
        let key = key.clone();
        async move {
            let Some(mut file) = file.filter(|_| !range.is_empty()) else { return Ok(None) };
            let wanted = FILE_CHUNK_BYTES.min(range.end - range.start);
            let at = range.start;
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = Vec::with_capacity(wanted as usize);
                file.seek(SeekFrom::Start(at))?;
                (&mut file).take(wanted).read_to_end(&mut chunk)?;
                std::io::Result::Ok((file, chunk))
            });
            let (file, chunk) =
                read.await.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|source| {
                    let source = object_store::Error::Generic { store: "local", source: source.into() };
                    failed("read", key.path(), source)
                })?;
            if (chunk.len() as u64) < wanted {
                return Err(Error::Part { key: key.to_string(), expected: range.end, got: at + chunk.len() as u64 });
            }
            Ok(Some((Bytes::from(chunk), (Some(file), at + wanted..range.end))))
        }
    });
    chunks.boxed()
}

pub(super) fn blob(objects: Objects, blob: &Blob, range: Range<u64>) -> ByteStream {
    let parts = stream::iter(overlapping(blob, range)).then(move |(part, within)| {
        let objects = objects.clone();
        async move {
            let (bytes, body) = objects.get_stream(&Key::new(&part.key)?, Some(within)).await?;
            match bytes == part.bytes {
                true => Ok(body),
                false => Err(Error::Part { key: part.key, expected: part.bytes, got: bytes }),
            }
        }
    });
    parts.try_flatten().boxed()
}

/// The parts that `range` touches, each with the range within it.
fn overlapping(blob: &Blob, range: Range<u64>) -> Vec<(BlobPart, Range<u64>)> {
    let mut begin = 0_u64;
    let mut touched = Vec::new();
    for part in &blob.parts {
        let end = begin.saturating_add(part.bytes);
        let (from, to) = (range.start.max(begin), range.end.min(end));
        if from < to {
            touched.push((part.clone(), from - begin..to - begin));
        }
        begin = end;
    }
    touched
}

pub(super) async fn digest(mut body: ByteStream) -> Result<Stored, Error> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while let Some(chunk) = body.try_next().await? {
        hash.update(&chunk);
        bytes += chunk.len() as u64;
    }
    Ok(Stored { bytes, sha256: HEXLOWER.encode(&hash.finalize()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_touches_its_parts_alone() {
        let part = |key: &str, bytes| BlobPart { key: key.into(), bytes };
        let blob = Blob { parts: vec![part("a", 3), part("empty", 0), part("b", 4), part("c", 1)] };
        let check = |range: Range<u64>, expected: &[(&str, Range<u64>)]| {
            let got = overlapping(&blob, range.clone());
            let got: Vec<_> = got.iter().map(|(part, within)| (part.key.as_str(), within.clone())).collect();
            assert_eq!(got, expected, "{range:?}");
        };
        check(0..8, &[("a", 0..3), ("b", 0..4), ("c", 0..1)]);
        check(0..u64::MAX, &[("a", 0..3), ("b", 0..4), ("c", 0..1)]);
        check(2..4, &[("a", 2..3), ("b", 0..1)]);
        check(3..7, &[("b", 0..4)]);
        check(8..9, &[]);
        check(5..5, &[]);
    }
}
