//! JSON: objects to rows, directed by the schema.
//!
//! - A key is a column if it is spelled as it is, or in another case if only one column
//!   is meant and no key is spelled as it; other keys are ignored, columns without a key
//!   are NULL. Of a key that stands twice the last counts.
//! - `path.COLUMN = 'a.b.0'` reads a column from inside: keys of objects and indices of
//!   lists. A path that leads nowhere is NULL.
//! - Numbers go into numeric columns, strings into times and text, objects into structs,
//!   arrays into lists. A column of text takes any value as it is written, a decimal
//!   also takes a string. An integer column takes no fraction and no exponent.
//!
//! The text is read once, from left to right, straight into the columns; a tree is never
//! built.

mod cursor;
mod objects;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use memchr::memchr;

use cursor::{Broken, Cursor, JSON_DEPTH_MAX, Text};
pub(crate) use objects::ObjectScanner;

use super::chunk::{Chunk, ChunkParser, Shape};
use super::column::{Column, Takes};
use super::keys::{KeyOrder, Meaning};
use super::number::Fault;
use super::options::JsonPath;
use super::rows::{Piece, RowFault, RowShape, Rows, Spot};
use crate::error::Result;

/// What is read at one place of a row's tree.
#[derive(Debug, Default)]
struct Node {
    /// The columns that take the value itself.
    columns: Vec<usize>,
    /// What is read inside, by key or by index.
    inner: Vec<Member>,
    /// The columns that are read inside, at any depth.
    below: Vec<usize>,
}

#[derive(Debug)]
struct Member {
    key: Box<[u8]>,
    node: Node,
}

impl Node {
    fn add(&mut self, keys: &[String], column: usize) {
        let Some((key, rest)) = keys.split_first() else {
            self.columns.push(column);
            return;
        };
        self.below.push(column);
        let known = (self.inner.iter()).position(|member| *member.key == *key.as_bytes());
        let index = known.unwrap_or_else(|| {
            self.inner.push(Member {
                key: key.as_bytes().into(),
                node: Node::default(),
            });
            self.inner.len() - 1
        });
        self.inner[index].node.add(rest, column);
    }

    /// What a key of the outermost object stands for.
    #[cold]
    fn meaning(&self, key: &[u8]) -> Meaning {
        let exact = (self.inner.iter()).position(|member| *member.key == *key);
        if let Some(index) = exact {
            let node = &self.inner[index].node;
            return match (&node.columns[..], node.inner.is_empty()) {
                ([column], true) => Meaning::Column(*column),
                _ => Meaning::Member(index),
            };
        }
        let mut alike = (self.inner.iter().enumerate())
            .filter(|(_, member)| member.key.eq_ignore_ascii_case(key))
            .map(|(index, _)| index);
        match (alike.next(), alike.next()) {
            (Some(index), None) => Meaning::Alike(index),
            _ => Meaning::Ignored,
        }
    }

    /// The member that is read into `column` alone.
    #[cold]
    fn member(&self, column: usize) -> Option<&Self> {
        (self.inner.iter().map(|member| &member.node)).find(|node| node.columns == [column])
    }

    /// Whether the row that is read has it already.
    fn is_read(&self, rows: &Rows<'_>) -> bool {
        (self.columns.iter().chain(&self.below))
            .any(|column| rows.columns[*column].len() > rows.len())
    }
}

/// The place of `key` among `keys`; keys mostly come in the same order, so that the
/// search begins at `hint`.
#[inline]
fn find<'k>(
    count: usize,
    at: impl Fn(usize) -> &'k [u8],
    key: &[u8],
    hint: &mut usize,
) -> Option<usize> {
    let start = if *hint < count { *hint } else { 0 };
    let found = (start..count)
        .chain(0..start)
        .find(|index| at(*index) == key)?;
    *hint = found + 1;
    Some(found)
}

/// Why a row is not accepted.
#[derive(Debug)]
enum Stop {
    Broken(Broken),
    /// The value between two places does not fit.
    Value(usize, usize, Fault),
    /// As [`Stop::Value`], with the column.
    Column(usize, usize, usize, Fault),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Reads the value at `cursor` into `column`.
#[inline]
fn read_value(
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    depth: usize,
    scratch: &mut Vec<u8>,
) -> Result<(), Stop> {
    let start = cursor.at;
    if let Some(end) = column.scan_json(cursor.bytes, start) {
        cursor.at = end;
        return Ok(());
    }
    let fits = match (cursor.peek(), column.takes()) {
        (Some(b'n'), _) => {
            cursor.word("null")?;
            column.append_null();
            Ok(())
        }
        (Some(b'-' | b'0'..=b'9'), takes) => {
            let (text, number) = cursor.number()?;
            match takes {
                Takes::Number | Takes::Decimal | Takes::Text => column.append_number(number, text),
                Takes::Time => Err(Fault::Epoch),
                _ => Err(Fault::Invalid),
            }
        }
        (Some(b'"'), takes) => {
            let string = cursor.string()?;
            match takes {
                Takes::Text | Takes::Time | Takes::Decimal => match string.decode(scratch) {
                    Some(text) => column.append_text(text),
                    None => return Err(Broken::At(start, "known escapes").into()),
                },
                _ => Err(Fault::Invalid),
            }
        }
        (Some(b't' | b'f'), Takes::Boolean) => {
            cursor.skip(depth)?;
            column.append_text(&cursor.bytes[start..cursor.at])
        }
        (Some(b'{'), Takes::Struct) => {
            read_struct(cursor, column, depth, scratch)?;
            Ok(())
        }
        (Some(b'['), Takes::List) => {
            let child = column.child().expect("a list has a child");
            cursor.items(depth, |cursor, _| {
                read_value(cursor, child, depth + 1, scratch)
            })?;
            column.close();
            Ok(())
        }
        (_, takes) => {
            cursor.skip(depth)?;
            match takes {
                Takes::Text => column.append_text(&cursor.bytes[start..cursor.at]),
                _ => Err(Fault::Invalid),
            }
        }
    };
    fits.map_err(|fault| Stop::Value(start, cursor.at, fault))
}

fn read_struct(
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    depth: usize,
    scratch: &mut Vec<u8>,
) -> Result<(), Stop> {
    let len = column.len();
    let (fields, children) = column.children().expect("a struct has children");
    let mut hint = 0;
    cursor.members(depth, |cursor, key| {
        let key = decode_key(key, scratch)?;
        let name = |index: usize| fields[index].name().as_bytes();
        match find(fields.len(), name, key, &mut hint) {
            Some(index) => {
                children[index].truncate(len);
                read_value(cursor, &mut children[index], depth + 1, scratch)
            }
            None => Ok(cursor.skip(depth + 1)?),
        }
    })?;
    column.close();
    Ok(())
}

#[inline]
fn decode_key<'s, 'a: 's>(key: Text<'a>, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Stop> {
    (key.decode(scratch)).ok_or_else(|| Broken::At(key.at, "known escapes").into())
}

/// Reads the rows of NDJSON lines, or of the objects of a JSON array.
#[derive(Debug)]
pub(crate) struct JsonParser {
    shape: RowShape,
    root: Node,
}

impl JsonParser {
    /// A parser for the columns of `shape`, some of which are found by `paths`.
    ///
    /// # Errors
    /// If a column cannot be read from text.
    pub(crate) fn new(shape: RowShape, paths: &BTreeMap<String, JsonPath>) -> Result<Self> {
        Rows::new(&shape)?;
        let mut root = Node::default();
        for (index, field) in shape.schema.fields().iter().enumerate() {
            match paths.get(field.name()) {
                Some(path) => root.add(&path.0, index),
                None => root.add(std::slice::from_ref(field.name()), index),
            }
        }
        Ok(Self { shape, root })
    }

    /// Reads what `node` wants of the value at `cursor`, which stands `depth` levels
    /// deep.
    #[inline]
    fn read(
        &self,
        node: &Node,
        cursor: &mut Cursor<'_>,
        rows: &mut Rows<'_>,
        depth: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let start = cursor.at;
        for &index in &node.columns {
            cursor.at = start;
            let len = rows.len();
            let column = &mut rows.columns[index];
            if column.len() > len {
                column.truncate(len);
            }
            read_value(cursor, column, depth, scratch).map_err(|stop| match stop {
                Stop::Value(start, end, fault) => Stop::Column(index, start, end, fault),
                stop => stop,
            })?;
        }
        if node.inner.is_empty() {
            return match node.columns.is_empty() {
                true => Ok(cursor.skip(depth)?),
                false => Ok(()),
            };
        }
        // Of an object that stands twice nothing is left.
        for &index in &node.below {
            let len = rows.len();
            rows.columns[index].truncate(len);
        }
        cursor.at = start;
        match cursor.peek() {
            Some(b'{') => self.read_members(node, cursor, rows, depth, scratch),
            Some(b'[') => cursor.items(depth, |cursor, index| {
                let wanted = (node.inner.iter())
                    .find(|member| super::number::parse_u64(&member.key) == Ok(index as u64));
                match wanted {
                    Some(member) => self.read(&member.node, cursor, rows, depth + 1, scratch),
                    None => Ok(cursor.skip(depth + 1)?),
                }
            }),
            _ => Ok(cursor.skip(depth)?),
        }
    }

    fn read_members(
        &self,
        node: &Node,
        cursor: &mut Cursor<'_>,
        rows: &mut Rows<'_>,
        depth: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let mut hint = 0;
        cursor.members(depth, |cursor, key| {
            let key = decode_key(key, scratch)?;
            let known = |index: usize| &*node.inner[index].key;
            match find(node.inner.len(), known, key, &mut hint) {
                Some(index) => self.read(&node.inner[index].node, cursor, rows, depth + 1, scratch),
                None => Ok(cursor.skip(depth + 1)?),
            }
        })
    }

    /// Reads the object of a row into the columns.
    #[inline]
    fn read_row(
        &self,
        cursor: &mut Cursor<'_>,
        rows: &mut Rows<'_>,
        work: &mut Work,
    ) -> Result<(), Stop> {
        let Work { order, scratch } = work;
        order.begin();
        cursor.members_from(0, |cursor| {
            let meaning = match order.expected(&cursor.bytes[cursor.at..]) {
                Some((meaning, len)) => {
                    cursor.at += len;
                    meaning
                }
                None => self.other_key(cursor, order, scratch)?,
            };
            cursor.blanks();
            let node = match meaning {
                Meaning::Column(index) => {
                    let len = rows.len();
                    let column = &mut rows.columns[index];
                    if column.len() == len
                        && let Some(end) = column.scan_json(cursor.bytes, cursor.at)
                    {
                        cursor.at = end;
                        return Ok(());
                    }
                    self.root.member(index)
                }
                Meaning::Member(index) => Some(&self.root.inner[index].node),
                Meaning::Alike(index) => {
                    Some(&self.root.inner[index].node).filter(|node| !node.is_read(rows))
                }
                Meaning::Ignored => None,
            };
            match node {
                Some(node) => self.read(node, cursor, rows, 1, scratch),
                None => Ok(cursor.skip(1)?),
            }
        })
    }

    /// Reads a key that is not the expected one.
    #[cold]
    fn other_key(
        &self,
        cursor: &mut Cursor<'_>,
        order: &mut KeyOrder,
        scratch: &mut Vec<u8>,
    ) -> Result<Meaning, Stop> {
        let start = cursor.at;
        let key = cursor.string()?;
        let quoted = &cursor.bytes[start..cursor.at];
        cursor.blanks();
        cursor.expect(b':', "':'")?;
        order.other(quoted, b':', || {
            Ok(self.root.meaning(decode_key(key, scratch)?))
        })
    }

    /// Appends the row of the line that begins at `start`, and gives the line's end.
    /// `None`: it is no row, or not a good one; what was appended has to be taken back.
    #[inline]
    fn line(
        &self,
        bytes: &[u8],
        start: usize,
        rows: &mut Rows<'_>,
        work: &mut Work,
    ) -> Option<usize> {
        let mut cursor = Cursor {
            bytes,
            at: start,
            in_line: true,
        };
        cursor.blanks();
        let object = cursor.at;
        if cursor.peek() != Some(b'{') {
            return None;
        }
        self.read_row(&mut cursor, rows, work).ok()?;
        let len = cursor.at - object;
        cursor.blanks();
        if !cursor.is_at_line_end() || len > self.shape.line_bytes_max {
            return None;
        }
        rows.complete();
        rows.accept(start);
        Some(cursor.at)
    }

    /// Appends one row, or says why not.
    fn row(&self, row: &[u8], rows: &mut Rows<'_>, work: &mut Work) -> Result<(), Stop> {
        let mut cursor = Cursor {
            bytes: row,
            at: 0,
            in_line: false,
        };
        if cursor.peek() != Some(b'{') {
            return Err(cursor.broken("an object").into());
        }
        self.read_row(&mut cursor, rows, work)?;
        cursor.blanks();
        match cursor.peek() {
            None => Ok(()),
            Some(_) => Err(cursor.broken("nothing after the object").into()),
        }
    }

    /// As [`JsonParser::row`]; what stops it in words.
    fn appended(&self, row: &[u8], rows: &mut Rows<'_>, work: &mut Work) -> Result<(), RowFault> {
        (self.row(row, rows, work)).map_err(|stop| describe(rows, row, &stop))
    }
}

/// A line without the blanks of JSON around it. A form feed is none.
#[cold]
fn trimmed(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().take_while(|byte| is_blank(byte)).count();
    let rest = &line[start..];
    let end = rest.iter().rev().take_while(|byte| is_blank(byte)).count();
    &rest[..rest.len() - end]
}

/// What parsing a chunk works with.
#[derive(Debug, Default)]
struct Work {
    order: KeyOrder,
    /// A string without its escapes.
    scratch: Vec<u8>,
}

#[cold]
fn describe(rows: &Rows<'_>, row: &[u8], stop: &Stop) -> RowFault {
    match *stop {
        Stop::Broken(Broken::Depth) => RowFault::Parse(format!(
            "objects and lists are nested deeper than {JSON_DEPTH_MAX} levels (json_depth_max)"
        )),
        Stop::Broken(Broken::At(at, expected)) if at >= row.len() => RowFault::Parse(format!(
            "not valid JSON: it ends where {expected} was expected"
        )),
        Stop::Broken(Broken::At(at, expected)) => RowFault::Parse(format!(
            "not valid JSON: expected {expected} at byte {}",
            at + 1
        )),
        Stop::Column(column, start, end, fault) => {
            let name = rows.name(column);
            RowFault::value(name, &rows.columns[column], &row[start..end], fault)
        }
        Stop::Value(..) => unreachable!("a value is read for a column"),
    }
}

impl ChunkParser for JsonParser {
    fn parse(
        &self,
        chunk: &Chunk,
        out: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> windrow_core::Result<()> {
        let mut rows = Rows::new(&self.shape)?;
        let bytes = &chunk.bytes[..];
        // Validated once for all values; only a damaged chunk is checked row by row.
        let check_utf8 = simdutf8::basic::from_utf8(bytes).is_err();
        let mut work = Work::default();
        match &chunk.shape {
            Shape::TooLong(element) => {
                let fault = rows.too_long();
                let spot = Spot {
                    line: chunk.first_line,
                    element: *element,
                };
                rows.reject(bytes, spot, fault);
            }
            Shape::Broken(reason) => {
                let fault = RowFault::Parse((*reason).to_owned());
                rows.reject(bytes, chunk.first_line, fault);
            }
            Shape::Values(values) => {
                for (range, spot) in values {
                    let row = (&bytes[range.clone()], range.start);
                    rows.add(row, *spot, check_utf8, |rows| {
                        self.appended(row.0, rows, &mut work)
                    });
                    if rows.give_if_full(out)?.is_break() {
                        return Ok(());
                    }
                }
            }
            Shape::Lines => {
                let (mut at, mut line) = (chunk.start, chunk.first_line);
                while at < bytes.len() {
                    let good = match check_utf8 {
                        true => None,
                        false => self.line(bytes, at, &mut rows, &mut work),
                    };
                    let end = good.unwrap_or_else(|| {
                        rows.take_back();
                        let rest = &bytes[at..];
                        let end = memchr(b'\n', rest).unwrap_or(rest.len());
                        let row = trimmed(&rest[..end]);
                        if !row.trim_ascii().is_empty() {
                            rows.add((row, at), line, check_utf8, |rows| {
                                self.appended(row, rows, &mut work)
                            });
                        }
                        at + end
                    });
                    if rows.give_if_full(out)?.is_break() {
                        return Ok(());
                    }
                    at = end + 1;
                    line += 1;
                }
            }
        }
        let _stopped = rows.give(out)?;
        Ok(())
    }

    fn file(&self) -> &str {
        &self.shape.file
    }

    fn row<'a>(&self, chunk: &'a Chunk, start: usize) -> &'a [u8] {
        let rest = &chunk.bytes[start..];
        let end = match &chunk.shape {
            Shape::Values(values) => values
                .binary_search_by_key(&start, |(range, _)| range.start)
                .map_or(rest.len(), |value| values[value].0.len()),
            _ => memchr(b'\n', rest).unwrap_or(rest.len()),
        };
        rest[..end].trim_ascii()
    }
}

#[cfg(test)]
mod tests;
