//! Boxes (ISO/IEC 14496-12 4.2): writing with the size filled in afterwards, reading with bounds.

use crate::{Error, Result};

/// Writes a box; `body` appends what is in it.
pub(super) fn put_box(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    body(out);
    let size = u32::try_from(out.len() - start).expect("invariant: a header box is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Writes a box with version and flags (ISO/IEC 14496-12 4.2.2).
pub(super) fn full_box(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, flags: u32, body: impl FnOnce(&mut Vec<u8>)) {
    put_box(out, kind, |out| {
        out.extend_from_slice(&(u32::from(version) << 24 | flags & 0x00FF_FFFF).to_be_bytes());
        body(out);
    });
}

/// A box's size and place of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: [u8; 4],
    /// Bytes before the body: 8, or 16 with a 64-bit size.
    pub(super) header_bytes: usize,
    /// Bytes of the whole box; `None` when it extends to the end of the file.
    pub(super) box_bytes: Option<u64>,
}

/// Reads a box header; `None` when `data` ends before it does.
pub(super) fn read_header(data: &[u8]) -> Result<Option<Header>> {
    let mut r = Reader::new("box header", data);
    let (Ok(size), Ok(kind)) = (r.u32(), r.array::<4>()) else { return Ok(None) };
    let (header_bytes, box_bytes) = match size {
        0 => (8, None),
        1 => match r.u64() {
            Ok(size) => (16, Some(size)),
            Err(_) => return Ok(None),
        },
        size => (8, Some(u64::from(size))),
    };
    if box_bytes.is_some_and(|size| size < header_bytes as u64) {
        return Err(Error::invalid("box header", format!("size {size} of {}", name(kind))));
    }
    Ok(Some(Header { kind, header_bytes, box_bytes }))
}

/// A box within its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Box<'a> {
    pub(super) kind: [u8; 4],
    pub(super) body: &'a [u8],
    /// From the beginning of the parent's body to the beginning of this box's header.
    pub(super) start: usize,
}

/// The boxes in `data`, one after another. A box that lies about its size is an error, and the last item.
pub(super) struct Boxes<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Boxes<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    fn read(&mut self) -> Result<Option<Box<'a>>> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let header = read_header(rest)?.ok_or(Error::Truncated { what: "box header", need: 8, have: rest.len() })?;
        let size = header.box_bytes.map_or(rest.len(), |size| usize::try_from(size).unwrap_or(usize::MAX));
        let body = rest.get(header.header_bytes..size).ok_or(Error::Truncated {
            what: "box",
            need: size,
            have: rest.len(),
        })?;
        let start = self.at;
        self.at += size;
        Ok(Some(Box { kind: header.kind, body, start }))
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<Box<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read().transpose();
        if matches!(item, Some(Err(_))) {
            self.at = self.data.len();
        }
        item
    }
}

/// The first box of `kind` in `data`.
pub(super) fn find<'a>(data: &'a [u8], kind: &[u8; 4]) -> Result<Option<&'a [u8]>> {
    for item in Boxes::new(data) {
        let item = item?;
        if item.kind == *kind {
            return Ok(Some(item.body));
        }
    }
    Ok(None)
}

/// Like [`find`]; a missing box is an error.
pub(super) fn need<'a>(data: &'a [u8], kind: &'static [u8; 4]) -> Result<&'a [u8]> {
    find(data, kind)?.ok_or_else(|| Error::invalid("box", format!("no {} where one is needed", name(*kind))))
}

/// A four-character code for people.
pub(super) fn name(kind: [u8; 4]) -> String {
    kind.escape_ascii().to_string()
}

/// Big-endian fields, one after another.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    what: &'static str,
    all_bytes: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(what: &'static str, data: &'a [u8]) -> Self {
        Self { what, all_bytes: data.len(), rest: data }
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((head, tail)) = self.rest.split_at_checked(n) else {
            let read = self.all_bytes - self.rest.len();
            return Err(Error::Truncated { what: self.what, need: read.saturating_add(n), have: self.all_bytes });
        };
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes(N)?;
        Ok(bytes.try_into().expect("invariant: bytes(N) gives N bytes"))
    }

    pub(super) fn skip(&mut self, n: usize) -> Result<()> {
        self.bytes(n).map(|_| ())
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Version and flags of a full box.
    pub(super) fn version_flags(&mut self) -> Result<(u8, u32)> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00FF_FFFF))
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
