//! The tokens of line protocol, and what a line says without a schema.

use crate::format::number::{Fault, parse_f64, parse_i64, parse_u64};
use crate::format::search::{find, find_any};

/// Where something else stood than what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) usize, pub(super) &'static str);

/// A value that does not stand in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    Boolean(&'a [u8]),
    /// Without the letter after it.
    Integer(&'a [u8]),
    Float(&'a [u8]),
}

/// Where the name, the key or the tag that begins at `start` ends: before a comma, a blank
/// or an equals sign; and whether it holds escapes.
#[inline]
pub(super) fn name_end(line: &[u8], start: usize) -> (usize, bool) {
    let (mut at, mut escaped) = (start, false);
    loop {
        at = find_any(line, at, [b',', b' ', b'=', b'\\']);
        if line.get(at) != Some(&b'\\') {
            return (at, escaped);
        }
        let meant = matches!(line.get(at + 1), Some(b',' | b' ' | b'='));
        escaped |= meant;
        at += if meant { 2 } else { 1 };
    }
}

/// As [`name_end`], of the measurement, in which an equals sign has no meaning.
#[inline]
pub(super) fn measurement_end(line: &[u8]) -> (usize, bool) {
    let (mut at, mut escaped) = name_end(line, 0);
    while line.get(at) == Some(&b'=') {
        let (end, more) = name_end(line, at + 1);
        (at, escaped) = (end, escaped | more);
    }
    (at, escaped)
}

/// A name without its escapes.
pub(super) fn unescape<'s>(name: &[u8], out: &'s mut Vec<u8>) -> &'s [u8] {
    without_escapes(name, b",= ", out)
}

/// The text of a string without its escapes.
pub(super) fn unescape_string<'s>(text: &[u8], out: &'s mut Vec<u8>) -> &'s [u8] {
    without_escapes(text, b"\"\\", out)
}

fn without_escapes<'s>(text: &[u8], escaped: &[u8], out: &'s mut Vec<u8>) -> &'s [u8] {
    out.clear();
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let meant = (byte == b'\\').then(|| bytes.next_if(|next| escaped.contains(next)));
        out.push(meant.flatten().unwrap_or(byte));
    }
    out
}

/// Where the string that begins with the quote at `start` ends, behind its closing quote,
/// and whether it holds escapes.
pub(super) fn string_end(line: &[u8], start: usize) -> Result<(usize, bool), Broken> {
    let (mut at, mut escaped) = (start + 1, false);
    loop {
        at = find(line, at, b'"', b'\\');
        match line.get(at) {
            None => return Err(Broken(line.len(), "the end of a string")),
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(_) => {
                escaped = true;
                at = (at + 2).min(line.len());
            }
        }
    }
}

/// The number or the boolean that begins at `start`, and its end.
pub(super) fn scalar(line: &[u8], start: usize) -> Result<(usize, Scalar<'_>), Broken> {
    let end = find(line, start, b',', b' ');
    let text = &line[start..end];
    let fits = |number: Result<(), Fault>| number != Err(Fault::Invalid);
    let is_numeric = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let value = match text {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" | b"f" | b"F" | b"false" | b"False"
        | b"FALSE" => Scalar::Boolean(text),
        [digits @ .., b'i'] if fits(parse_i64(digits).map(drop)) => Scalar::Integer(digits),
        [digits @ .., b'u'] if fits(parse_u64(digits).map(drop)) => Scalar::Integer(digits),
        _ if text.iter().all(is_numeric) && fits(parse_f64(text).map(drop)) => Scalar::Float(text),
        _ => return Err(Broken(start, "the value of a field")),
    };
    Ok((end, value))
}

/// What a line tells of a column.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::format) enum Sampled {
    /// A measurement or a tag.
    Tag,
    Boolean,
    Integer(String),
    Float,
    Text(String),
    Time,
}

/// The columns that a line, without the blanks around it, has, in order: the tags and the
/// fields; and whether it has a time. `None`: it is no line protocol.
pub(in crate::format) fn members(line: &[u8]) -> Option<(Vec<(String, Sampled)>, bool)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let mut scratch = Vec::new();
    let mut members = Vec::new();
    let (mut at, _) = measurement_end(line);
    if at == 0 {
        return None;
    }
    let mut in_tags = true;
    loop {
        match line.get(at) {
            Some(b',') => at += 1,
            Some(b' ') if in_tags => {
                at += line[at..].iter().take_while(|byte| **byte == b' ').count();
                in_tags = false;
            }
            _ => break,
        }
        let (end, _) = name_end(line, at);
        if end == at || line.get(end) != Some(&b'=') {
            return None;
        }
        let key = text(unescape(&line[at..end], &mut scratch))?;
        at = end + 1;
        let value = if in_tags {
            let (end, _) = name_end(line, at);
            (end > at).then_some(())?;
            at = end;
            Sampled::Tag
        } else if line.get(at) == Some(&b'"') {
            let (end, _) = string_end(line, at).ok()?;
            let string = unescape_string(&line[at + 1..end - 1], &mut scratch);
            at = end;
            Sampled::Text(text(string)?)
        } else {
            let (end, value) = scalar(line, at).ok()?;
            at = end;
            match value {
                Scalar::Boolean(_) => Sampled::Boolean,
                Scalar::Integer(digits) => Sampled::Integer(text(digits)?),
                Scalar::Float(_) => Sampled::Float,
            }
        };
        members.push((key, value));
    }
    let rest = line[at..].trim_ascii();
    let has_time = !rest.is_empty();
    let whole = !in_tags && (!has_time || parse_i64(rest).is_ok());
    whole.then_some((members, has_time))
}
