//! AMF 0 (Action Message Format -- AMF 0, December 2007).

use bytes::{BufMut, BytesMut};

use super::{Cursor, Error, Value, amf3};

// AMF 0, 2.1: type markers.
const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const REFERENCE: u8 = 0x07;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;
const UNSUPPORTED: u8 = 0x0d;
const XML: u8 = 0x0f;
const TYPED_OBJECT: u8 = 0x10;
const AVM_PLUS: u8 = 0x11;

/// Reads one value and moves `input` past it.
///
/// # Errors
/// When `input` does not begin with a whole value within the limits; `input` stays where it was.
pub fn read(input: &mut &[u8]) -> Result<Value, Error> {
    let mut cursor = Cursor::new(input);
    let value = value(&mut cursor, 1)?;
    *input = input.get(cursor.offset..).unwrap_or_default();
    Ok(value)
}

/// Reads values to the end of `input`: a command or data message. The limits hold for all of them together.
///
/// # Errors
/// When a value is malformed or over a limit.
pub fn read_all(input: &[u8]) -> Result<Vec<Value>, Error> {
    let mut cursor = Cursor::new(input);
    let mut values = Vec::new();
    while !cursor.is_empty() {
        values.push(value(&mut cursor, 1)?);
    }
    Ok(values)
}

fn value(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, Error> {
    cursor.enter(depth)?;
    let offset_bytes = cursor.offset;
    let marker = cursor.u8()?;
    Ok(match marker {
        NUMBER => Value::Number(cursor.f64()?),
        BOOLEAN => Value::Boolean(cursor.u8()? != 0),
        STRING => Value::String(short_text(cursor)?),
        OBJECT => Value::Object(pairs(cursor, depth)?),
        NULL => Value::Null,
        UNDEFINED | UNSUPPORTED => Value::Undefined,
        REFERENCE => Value::Reference(u32::from(cursor.u16()?)),
        ECMA_ARRAY => {
            // The count is a hint that encoders get wrong; the end marker decides.
            cursor.u32()?;
            Value::EcmaArray(pairs(cursor, depth)?)
        }
        STRICT_ARRAY => strict_array(cursor, depth)?,
        DATE => Value::Date { unix_ms: cursor.f64()?, zone_minutes: cursor.array().map(i16::from_be_bytes)? },
        LONG_STRING => Value::String(long_text(cursor)?),
        XML => Value::Xml(long_text(cursor)?),
        TYPED_OBJECT => {
            short_text(cursor)?;
            Value::Object(pairs(cursor, depth)?)
        }
        AVM_PLUS => amf3::value(cursor, depth)?,
        _ => return Err(Error::Marker { marker, offset_bytes }),
    })
}

fn short_text(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let length = cursor.u16()?;
    cursor.text(usize::from(length))
}

fn long_text(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let length = cursor.u32()?;
    cursor.text(usize::try_from(length).unwrap_or(usize::MAX))
}

/// Name-value pairs up to the end marker. A message that ends where a name would begin ends the object too: some encoders
/// leave the marker of their metadata out.
fn pairs(cursor: &mut Cursor<'_>, depth: usize) -> Result<Vec<(String, Value)>, Error> {
    let mut pairs = Vec::new();
    while !cursor.is_empty() {
        let name = short_text(cursor)?;
        if name.is_empty() && cursor.all.get(cursor.offset) == Some(&OBJECT_END) {
            cursor.u8()?;
            break;
        }
        pairs.push((name, value(cursor, depth + 1)?));
    }
    Ok(pairs)
}

fn strict_array(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, Error> {
    let count = cursor.u32()?;
    // Grown as values arrive: the count may lie.
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(value(cursor, depth + 1)?);
    }
    Ok(Value::StrictArray(values))
}

/// Writes `value` as AMF 0. Bytes and references, which AMF 0 lacks or which mean nothing here, become undefined.
pub fn write(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Number(number) => {
            out.put_u8(NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(value) => out.put_slice(&[BOOLEAN, u8::from(*value)]),
        Value::String(text) => write_text(out, text),
        Value::Object(pairs) => {
            out.put_u8(OBJECT);
            write_pairs(out, pairs);
        }
        Value::EcmaArray(pairs) => {
            out.put_u8(ECMA_ARRAY);
            out.put_u32(u32::try_from(pairs.len()).unwrap_or(u32::MAX));
            write_pairs(out, pairs);
        }
        Value::StrictArray(values) => {
            out.put_u8(STRICT_ARRAY);
            out.put_u32(u32::try_from(values.len()).unwrap_or(u32::MAX));
            values.iter().for_each(|value| write(out, value));
        }
        Value::Date { unix_ms, zone_minutes } => {
            out.put_u8(DATE);
            out.put_f64(*unix_ms);
            out.put_i16(*zone_minutes);
        }
        Value::Xml(text) => {
            out.put_u8(XML);
            write_long(out, text);
        }
        Value::Null => out.put_u8(NULL),
        Value::Undefined | Value::Bytes(_) | Value::Reference(_) => out.put_u8(UNDEFINED),
    }
}

fn write_text(out: &mut BytesMut, text: &str) {
    match u16::try_from(text.len()) {
        Ok(length) => {
            out.put_u8(STRING);
            out.put_u16(length);
            out.put_slice(text.as_bytes());
        }
        Err(_) => {
            out.put_u8(LONG_STRING);
            write_long(out, text);
        }
    }
}

fn write_long(out: &mut BytesMut, text: &str) {
    out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
}

fn write_pairs(out: &mut BytesMut, pairs: &[(String, Value)]) {
    for (name, value) in pairs {
        write_name(out, name);
        write(out, value);
    }
    out.put_slice(&[0, 0, OBJECT_END]);
}

/// Names have no long form: an absurdly long one is cut at the last whole character.
fn write_name(out: &mut BytesMut, name: &str) {
    let end = name.floor_char_boundary(usize::from(u16::MAX));
    let name = name.get(..end).unwrap_or_default();
    out.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
    out.put_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::amf::{DEPTH_MAX, VALUES_MAX};

    fn check(bytes: &[u8], expected: Result<Vec<Value>, Error>) {
        let shown = bytes.get(..16).unwrap_or(bytes);
        assert_eq!(read_all(bytes), expected, "{shown:02x?}");
    }

    fn number(value: f64) -> Vec<u8> {
        [&[NUMBER][..], &value.to_be_bytes()].concat()
    }

    #[test]
    fn every_type_reads_as_the_specification_says() {
        check(&number(1.5), Ok(vec![Value::Number(1.5)]));
        check(&[1, 0, 1, 1, 1, 7], Ok(vec![Value::Boolean(false), Value::Boolean(true), Value::Boolean(true)]));
        check(b"\x02\0\x04live", Ok(vec!["live".into()]));
        check(b"\x03\0\x01a\x05\0\0\x09", Ok(vec![Value::Object(vec![("a".into(), Value::Null)])]));
        check(&[5, 6, 0x0d], Ok(vec![Value::Null, Value::Undefined, Value::Undefined]));
        check(&[7, 0, 3], Ok(vec![Value::Reference(3)]));
        check(b"\x08\0\0\0\x63\0\x01a\x01\x01\0\0\x09", Ok(vec![Value::EcmaArray(vec![("a".into(), true.into())])]));
        check(&[10, 0, 0, 0, 2, 5, 6], Ok(vec![Value::StrictArray(vec![Value::Null, Value::Undefined])]));
        let date = [&[DATE][..], &86_400_000f64.to_be_bytes(), &[0xff, 0xff]].concat();
        check(&date, Ok(vec![Value::Date { unix_ms: 86_400_000.0, zone_minutes: -1 }]));
        check(b"\x0c\0\0\0\x02hi", Ok(vec!["hi".into()]));
        check(b"\x0f\0\0\0\x04<a/>", Ok(vec![Value::Xml("<a/>".into())]));
        check(b"\x10\0\x01C\0\x01a\x05\0\0\x09", Ok(vec![Value::Object(vec![("a".into(), Value::Null)])]));
        check(b"\x02\0\x02\xff\xfe", Ok(vec!["\u{fffd}\u{fffd}".into()]));
        check(b"", Ok(vec![]));
    }

    #[test]
    fn a_missing_end_marker_at_the_end_of_metadata_is_forgiven() {
        check(b"\x08\0\0\0\x01\0\x01a\x01\x01", Ok(vec![Value::EcmaArray(vec![("a".into(), true.into())])]));
    }

    #[test]
    fn an_empty_name_is_a_name_unless_the_end_follows() {
        check(b"\x03\0\0\x05\0\0\x09", Ok(vec![Value::Object(vec![(String::new(), Value::Null)])]));
    }

    #[test]
    fn malformed_values_say_where() {
        check(&[0, 1, 2], Err(Error::Truncated { offset_bytes: 1 }));
        check(b"\x02\0\x05live", Err(Error::Truncated { offset_bytes: 3 }));
        check(&[5, 4], Err(Error::Marker { marker: 4, offset_bytes: 1 }));
        check(&[9], Err(Error::Marker { marker: 9, offset_bytes: 0 }));
        check(&[0x0c, 0xff, 0xff, 0xff, 0xff, 1], Err(Error::Truncated { offset_bytes: 5 }));
        check(&[0x0a, 0xff, 0xff, 0xff, 0xff], Err(Error::Truncated { offset_bytes: 5 }));
        check(&[0x0a, 0xff, 0xff, 0xff, 0xff, 5], Err(Error::Truncated { offset_bytes: 6 }));
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |depth: usize| [&[10, 0, 0, 0, 1].repeat(depth)[..], &[5]].concat();
        assert!(read_all(&nested(DEPTH_MAX - 1)).is_ok());
        check(&nested(DEPTH_MAX), Err(Error::Depth));
        check(&nested(10_000), Err(Error::Depth));
        check(&b"\x03\0\x01a".repeat(10_000), Err(Error::Depth));
    }

    #[test]
    fn the_number_of_values_is_limited() {
        assert!(read_all(&vec![NULL; VALUES_MAX]).is_ok());
        check(&vec![NULL; VALUES_MAX + 1], Err(Error::Count));
        let array = [&[10, 0x7f, 0xff, 0xff, 0xff][..], &vec![NULL; VALUES_MAX]].concat();
        check(&array, Err(Error::Count));
    }

    #[test]
    fn reading_one_value_leaves_the_rest() {
        let mut input = &[5, 6, 1][..];
        assert_eq!(read(&mut input), Ok(Value::Null));
        assert_eq!(input, [6, 1]);
    }

    #[test]
    fn long_strings_and_names_are_written_readably() {
        let long = "x".repeat(70_000);
        let mut out = BytesMut::new();
        write(&mut out, &Value::Object(vec![(long.clone(), long.as_str().into())]));
        let expected = Value::Object(vec![("x".repeat(65_535), long.as_str().into())]);
        assert_eq!(read_all(&out), Ok(vec![expected]));
    }
}
