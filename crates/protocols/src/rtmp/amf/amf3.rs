//! AMF 3 (Action Message Format -- AMF 3, January 2013), reading only: peers with `objectEncoding` 3 switch to it within commands.

use bytes::Bytes;

use super::{Cursor, Error, VALUES_MAX, Value};

// AMF 3, 3.1: type markers.
const UNDEFINED: u8 = 0x00;
const NULL: u8 = 0x01;
const FALSE: u8 = 0x02;
const TRUE: u8 = 0x03;
const INTEGER: u8 = 0x04;
const DOUBLE: u8 = 0x05;
const STRING: u8 = 0x06;
const XML_DOCUMENT: u8 = 0x07;
const DATE: u8 = 0x08;
const ARRAY: u8 = 0x09;
const OBJECT: u8 = 0x0a;
const XML: u8 = 0x0b;
const BYTE_ARRAY: u8 = 0x0c;

/// Class of an object whose traits later objects refer to (AMF 3, 3.12).
#[derive(Clone, Default)]
struct Traits {
    names: Vec<String>,
    dynamic: bool,
}

/// The tables that references of one AMF 3 value point into.
#[derive(Default)]
struct Tables {
    strings: Vec<String>,
    traits: Vec<Traits>,
}

/// Reads the AMF 3 value after an AMF 0 `avmplus` marker. References to complex values stay [`Value::Reference`].
pub(super) fn value(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, Error> {
    read(cursor, &mut Tables::default(), depth)
}

fn read(cursor: &mut Cursor<'_>, tables: &mut Tables, depth: usize) -> Result<Value, Error> {
    cursor.enter(depth)?;
    let offset_bytes = cursor.offset;
    let marker = cursor.u8()?;
    Ok(match marker {
        UNDEFINED => Value::Undefined,
        NULL => Value::Null,
        FALSE => Value::Boolean(false),
        TRUE => Value::Boolean(true),
        INTEGER => Value::Number(f64::from(signed_29(u29(cursor)?))),
        DOUBLE => Value::Number(cursor.f64()?),
        STRING => Value::String(string(cursor, tables)?),
        XML_DOCUMENT | XML => match inline_length(cursor)? {
            Ok(length) => Value::Xml(cursor.text(length)?),
            Err(reference) => reference,
        },
        DATE => match inline_length(cursor)? {
            Ok(_) => Value::Date { unix_ms: cursor.f64()?, zone_minutes: 0 },
            Err(reference) => reference,
        },
        BYTE_ARRAY => match inline_length(cursor)? {
            Ok(length) => Value::Bytes(Bytes::copy_from_slice(cursor.take(length)?)),
            Err(reference) => reference,
        },
        ARRAY => array(cursor, tables, depth)?,
        OBJECT => object(cursor, tables, depth)?,
        // Vectors, dictionaries and externalizable classes are not used in RTMP commands.
        _ => return Err(Error::Marker { marker, offset_bytes }),
    })
}

/// Variable-length unsigned integer of 29 bits (AMF 3, 1.3.1).
fn u29(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let mut number = 0;
    for _ in 0..3 {
        let byte = cursor.u8()?;
        number = number << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Ok(number << 8 | u32::from(cursor.u8()?))
}

fn signed_29(number: u32) -> i32 {
    // The sign is bit 28: shifting it to bit 31 and back extends it.
    (number << 3).cast_signed() >> 3
}

/// The length of an inline value, or the reference that stands for the value.
fn inline_length(cursor: &mut Cursor<'_>) -> Result<Result<usize, Value>, Error> {
    let header = u29(cursor)?;
    Ok(match header & 1 {
        0 => Err(Value::Reference(header >> 1)),
        _ => Ok(length(header)),
    })
}

fn length(header: u32) -> usize {
    usize::try_from(header >> 1).unwrap_or(usize::MAX)
}

fn string(cursor: &mut Cursor<'_>, tables: &mut Tables) -> Result<String, Error> {
    let offset_bytes = cursor.offset;
    let header = u29(cursor)?;
    if header & 1 == 0 {
        // A reference costs two bytes and may name a long string: it counts as a value, so that a message cannot multiply itself.
        cursor.values_left = cursor.values_left.checked_sub(1).ok_or(Error::Count)?;
        let text = tables.strings.get(length(header)).ok_or(Error::Reference { offset_bytes })?;
        return Ok(text.clone());
    }
    let text = cursor.text(length(header))?;
    // The empty string is never sent by reference; a long one is kept as empty, so that references to it stay cheap.
    if !text.is_empty() && tables.strings.len() < VALUES_MAX {
        tables.strings.push(if text.len() <= REFERENCED_STRING_BYTES_MAX { text.clone() } else { String::new() });
    }
    Ok(text)
}

/// Longest string that a reference yields. Referenced strings are property names; without a limit, a message of a megabyte
/// could ask for gigabytes.
const REFERENCED_STRING_BYTES_MAX: usize = 256;

fn array(cursor: &mut Cursor<'_>, tables: &mut Tables, depth: usize) -> Result<Value, Error> {
    let dense = match inline_length(cursor)? {
        Ok(dense) => dense,
        Err(reference) => return Ok(reference),
    };
    let mut pairs = dynamic_members(cursor, tables, depth)?;
    let mut values = Vec::new();
    for _ in 0..dense {
        values.push(read(cursor, tables, depth + 1)?);
    }
    if pairs.is_empty() {
        return Ok(Value::StrictArray(values));
    }
    pairs.extend(values.into_iter().enumerate().map(|(index, value)| (index.to_string(), value)));
    Ok(Value::EcmaArray(pairs))
}

fn dynamic_members(cursor: &mut Cursor<'_>, tables: &mut Tables, depth: usize) -> Result<Vec<(String, Value)>, Error> {
    let mut pairs = Vec::new();
    loop {
        let name = string(cursor, tables)?;
        if name.is_empty() {
            return Ok(pairs);
        }
        pairs.push((name, read(cursor, tables, depth + 1)?));
    }
}

fn object(cursor: &mut Cursor<'_>, tables: &mut Tables, depth: usize) -> Result<Value, Error> {
    let offset_bytes = cursor.offset;
    let header = u29(cursor)?;
    if header & 1 == 0 {
        return Ok(Value::Reference(header >> 1));
    }
    let traits = match header & 0b111 {
        0b111 => return Err(Error::Marker { marker: OBJECT, offset_bytes }),
        0b011 => new_traits(cursor, tables, header)?,
        _ => known_traits(cursor, tables, header, offset_bytes)?,
    };
    let mut pairs = Vec::new();
    for name in traits.names {
        pairs.push((name, read(cursor, tables, depth + 1)?));
    }
    if traits.dynamic {
        pairs.extend(dynamic_members(cursor, tables, depth)?);
    }
    Ok(Value::Object(pairs))
}

fn new_traits(cursor: &mut Cursor<'_>, tables: &mut Tables, header: u32) -> Result<Traits, Error> {
    string(cursor, tables)?;
    let mut traits = Traits { names: Vec::new(), dynamic: header & 0b1000 != 0 };
    for _ in 0..header >> 4 {
        cursor.values_left = cursor.values_left.checked_sub(1).ok_or(Error::Count)?;
        traits.names.push(string(cursor, tables)?);
    }
    tables.traits.push(traits.clone());
    Ok(traits)
}

/// Traits by reference cost as many values as they have names: see [`string`].
fn known_traits(cursor: &mut Cursor<'_>, tables: &Tables, header: u32, offset_bytes: usize) -> Result<Traits, Error> {
    let index = usize::try_from(header >> 2).unwrap_or(usize::MAX);
    let traits = tables.traits.get(index).ok_or(Error::Reference { offset_bytes })?;
    cursor.values_left = cursor.values_left.checked_sub(traits.names.len()).ok_or(Error::Count)?;
    Ok(traits.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::amf::read_all;

    /// Reads `bytes` after an `avmplus` marker.
    fn check(bytes: &[u8], expected: Result<Value, Error>) {
        let input = [&[0x11], bytes].concat();
        let shown = bytes.get(..16).unwrap_or(bytes);
        assert_eq!(read_all(&input), expected.map(|value| vec![value]), "{shown:02x?}");
    }

    fn object(pairs: &[(&str, Value)]) -> Value {
        Value::Object(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn scalars_read_as_the_specification_says() {
        check(&[0], Ok(Value::Undefined));
        check(&[1], Ok(Value::Null));
        check(&[2], Ok(Value::Boolean(false)));
        check(&[3], Ok(Value::Boolean(true)));
        check(&[4, 0x7f], Ok(Value::Number(127.0)));
        check(&[4, 0x81, 0x00], Ok(Value::Number(128.0)));
        check(&[4, 0xff, 0xff, 0xff, 0xff], Ok(Value::Number(-1.0)));
        check(&[4, 0xc0, 0x80, 0x80, 0x00], Ok(Value::Number(-268_435_456.0)));
        check(&[4, 0xbf, 0xff, 0xff, 0xff], Ok(Value::Number(268_435_455.0)));
        check(&[5, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Ok(Value::Number(1.5)));
        check(b"\x06\x09live", Ok("live".into()));
        check(b"\x0b\x09<a/>", Ok(Value::Xml("<a/>".into())));
        check(&[8, 1, 0, 0, 0, 0, 0, 0, 0, 0], Ok(Value::Date { unix_ms: 0.0, zone_minutes: 0 }));
        check(&[0x0c, 5, 1, 2], Ok(Value::Bytes(Bytes::from_static(&[1, 2]))));
        check(&[0x0a, 2], Ok(Value::Reference(1)));
    }

    #[test]
    fn arrays_are_dense_or_associative() {
        check(&[9, 5, 1, 1, 3], Ok(Value::StrictArray(vec![Value::Null, true.into()])));
        let mixed = vec![("a".to_owned(), Value::Null), ("0".to_owned(), true.into())];
        check(b"\x09\x03\x03a\x01\x01\x03", Ok(Value::EcmaArray(mixed)));
    }

    #[test]
    fn objects_share_names_and_classes() {
        // A dynamic object of a nameless class without fixed members, whose second member's name refers to the first.
        check(b"\x0a\x0b\x01\x03a\x04\x01\x03b\x06\x00\x01", Ok(object(&[("a", 1.0.into()), ("b", "a".into())])));
        // Two objects of a class with one member: the second refers to the class of the first.
        let pair = Value::StrictArray(vec![object(&[("x", 1.0.into())]), object(&[("x", 2.0.into())])]);
        check(b"\x09\x05\x01\x0a\x13\x01\x03x\x04\x01\x0a\x01\x04\x02", Ok(pair));
    }

    #[test]
    fn malformed_values_are_errors() {
        check(&[], Err(Error::Truncated { offset_bytes: 1 }));
        check(&[4, 0xff], Err(Error::Truncated { offset_bytes: 3 }));
        check(&[0x0d], Err(Error::Marker { marker: 0x0d, offset_bytes: 1 }));
        check(&[6, 0], Err(Error::Reference { offset_bytes: 2 }));
        check(&[0x0a, 0x01], Err(Error::Reference { offset_bytes: 2 }));
        check(&[0x0a, 0x07], Err(Error::Marker { marker: 0x0a, offset_bytes: 2 }));
        check(&[9, 3, 1].repeat(10_000), Err(Error::Depth));
    }

    #[test]
    fn classes_by_reference_cannot_multiply_a_message() {
        // A class of 100 names, then an array of objects that refer to it: 100 values for 2 + 100 bytes each.
        let class = [&[0x0a, 0x8c, 0x43, 1][..], &[3, b'x'].repeat(100), &[1].repeat(100)].concat();
        let again = [&[0x0a, 1][..], &[1].repeat(100)].concat();
        let many = [&[9, 0xff, 0xff, 0xff, 0xff, 1][..], &class, &again.repeat(1_000)].concat();
        check(&many, Err(Error::Count));
    }
}
