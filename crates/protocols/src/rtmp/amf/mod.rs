//! Action Message Format: the values of commands, statuses and metadata.
//!
//! [`amf0`] reads and writes AMF 0, in which every command begins; [`amf3`] reads the AMF 3 that an AMF 0 value may switch to.

mod amf0;
mod amf3;

pub use amf0::{read, read_all, write};

/// Deepest nesting of values. Commands and metadata use 3 levels; a stack of 16 is safe everywhere.
pub const DEPTH_MAX: usize = 16;

/// Most values in a message. Metadata of long recordings lists two numbers for each keyframe.
pub const VALUES_MAX: usize = 20_000;

/// An AMF value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number; AMF 3 integers too.
    Number(f64),
    /// A boolean.
    Boolean(bool),
    /// A string; bytes that are not UTF-8 are replaced.
    String(String),
    /// An object, typed or not, in the order of the wire.
    Object(Vec<(String, Value)>),
    /// Null.
    Null,
    /// Undefined, and AMF 0's "unsupported".
    Undefined,
    /// An associative array, in the order of the wire.
    EcmaArray(Vec<(String, Value)>),
    /// A dense array.
    StrictArray(Vec<Value>),
    /// A point in time.
    Date {
        /// Milliseconds since the UNIX epoch.
        unix_ms: f64,
        /// Minutes east of UTC; reserved, usually 0.
        zone_minutes: i16,
    },
    /// An XML document.
    Xml(String),
    /// AMF 3 bytes.
    Bytes(bytes::Bytes),
    /// A reference to an earlier complex value of the message, by index. References are not followed.
    Reference(u32),
}

impl Value {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The boolean; a number is true when it is not zero.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Number(number) => Some(*number != 0.0),
            _ => None,
        }
    }

    /// The name-value pairs of an object or ECMA array.
    pub fn pairs(&self) -> &[(String, Value)] {
        match self {
            Self::Object(pairs) | Self::EcmaArray(pairs) => pairs,
            _ => &[],
        }
    }

    /// The value of a name in an object or ECMA array.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.pairs().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

/// Why bytes are not AMF, or not AMF this crate accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end within a value.
    #[error("the message ends within a value, at its byte {offset_bytes}")]
    Truncated {
        /// Offset in the message.
        offset_bytes: usize,
    },
    /// A type marker that is not defined, or is not allowed here.
    #[error("type marker {marker:#04x} at byte {offset_bytes} of the message")]
    Marker {
        /// The marker.
        marker: u8,
        /// Offset in the message.
        offset_bytes: usize,
    },
    /// Values nested deeper than [`DEPTH_MAX`].
    #[error("values nested deeper than {DEPTH_MAX}")]
    Depth,
    /// More values than [`VALUES_MAX`].
    #[error("more than {VALUES_MAX} values")]
    Count,
    /// An AMF 3 reference to nothing.
    #[error("reference to nothing at byte {offset_bytes} of the message")]
    Reference {
        /// Offset in the message.
        offset_bytes: usize,
    },
}

/// The bytes of a message, and what may still be read of them.
#[derive(Debug)]
struct Cursor<'a> {
    all: &'a [u8],
    offset: usize,
    values_left: usize,
}

impl<'a> Cursor<'a> {
    fn new(all: &'a [u8]) -> Self {
        Self { all, offset: 0, values_left: VALUES_MAX }
    }

    fn is_empty(&self) -> bool {
        self.offset >= self.all.len()
    }

    fn truncated(&self) -> Error {
        Error::Truncated { offset_bytes: self.offset }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.offset.checked_add(count).ok_or_else(|| self.truncated())?;
        let taken = self.all.get(self.offset..end).ok_or_else(|| self.truncated())?;
        self.offset = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    fn f64(&mut self) -> Result<f64, Error> {
        self.array().map(f64::from_be_bytes)
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Counts a value that is about to be read at `depth`.
    fn enter(&mut self, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.values_left = self.values_left.checked_sub(1).ok_or(Error::Count)?;
        Ok(())
    }
}
