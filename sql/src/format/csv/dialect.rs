//! Where the fields and the records of CSV begin and end.
//!
//! RFC 4180, with the freedoms that files take: any delimiter, lines that end in LF or
//! CRLF, lines of comment. A quote opens a field only as its first byte; elsewhere it
//! is text. Inside quotes, delimiters and line ends are text, two quotes are one, and
//! an escape byte takes the meaning from the byte after it.
//!
//! A stray quote must not take good rows with it. Quotes that reach over a line end
//! count only if a delimiter or a line end follows them; otherwise the first of them
//! is held for a stray one, and the record ends with its first line.
//!
//! Records are found in two ways that must agree: [`Dialect::record`] field by field,
//! by the parsers, and [`Dialect::boundary`] from quote to quote, by the thread that
//! cuts a file into chunks for them.

use memchr::{memchr, memchr_iter, memchr2, memrchr};

use crate::format::search::{HIGH, LOW, find};

/// The bytes that have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
}

/// A field's text and whether it stood in quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldText<'a> {
    pub(super) text: &'a [u8],
    pub(super) quoted: bool,
}

/// What takes the fields of a record.
pub(super) trait Fields {
    /// Takes the field `index`, which begins at `start`, if it is plain, and gives its
    /// end, where [`Dialect::field_ends`] must hold.
    #[inline]
    fn plain(&mut self, _index: usize, _bytes: &[u8], _start: usize) -> Option<usize> {
        None
    }

    /// Takes the field `index`.
    fn field(&mut self, index: usize, field: FieldText<'_>);
}

impl<F: FnMut(usize, FieldText<'_>)> Fields for F {
    fn field(&mut self, index: usize, field: FieldText<'_>) {
        self(index, field);
    }
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordEnd {
    /// Where its text ends, without the line end.
    pub(super) end: usize,
    /// Where the next record begins.
    pub(super) next: usize,
    /// How many fields it has.
    pub(super) fields: usize,
    /// What is wrong with it.
    pub(super) fault: Option<RecordFault>,
    /// Whether a field stood in quotes, so that it may reach over several lines.
    pub(super) quoted: bool,
}

/// Why a record is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordFault {
    /// Text follows a closing quote.
    AfterQuote,
    /// A quote is not closed, or only lines later and within a field: the record ends
    /// with its first line, so that one stray quote does not take good rows with it.
    Unclosed,
}

/// Every place where `wanted` stands. Quotes stand close together, so that a call of
/// `memchr` for each would cost more than a look at every eight bytes.
fn places(bytes: &[u8], wanted: u8) -> impl Iterator<Item = usize> + '_ {
    const REST: u64 = !HIGH;
    let wanted_bytes = LOW * u64::from(wanted);
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words = words.iter().enumerate().flat_map(move |(index, word)| {
        let word = u64::from_le_bytes(*word) ^ wanted_bytes;
        // Exactly the high bits of the bytes that are zero.
        let mut found = !(((word & REST) + REST) | word | REST);
        std::iter::from_fn(move || {
            let place = index * 8 + (found.trailing_zeros() / 8) as usize;
            (found != 0).then(|| {
                found &= found - 1;
                place
            })
        })
    });
    let start = words.len() * 8;
    let in_rest = (rest.iter().enumerate())
        .filter(move |(_, byte)| **byte == wanted)
        .map(move |(index, _)| start + index);
    in_words.chain(in_rest)
}

/// Where the line that begins at `start` ends, and where the next one begins.
pub(super) fn line_end(bytes: &[u8], start: usize) -> (usize, usize) {
    let (end, next) = match memchr(b'\n', &bytes[start..]) {
        Some(found) => (start + found, start + found + 1),
        None => (bytes.len(), bytes.len()),
    };
    let end = end - usize::from(end > start && bytes[end - 1] == b'\r');
    (end, next)
}

/// A walk along the quotes of a text.
#[derive(Debug, Default)]
struct Walk {
    /// Everything before has been walked over.
    plain: usize,
    /// The last record that is known to begin.
    record: usize,
}

impl Walk {
    /// Walks on to `end`, outside quotes.
    #[inline]
    fn pass(&mut self, bytes: &[u8], end: usize) {
        // Where every field is quoted there is one byte between two of them.
        let line = match end - self.plain {
            0 => None,
            1 => (bytes[self.plain] == b'\n').then_some(0),
            _ => memrchr(b'\n', &bytes[self.plain..end]),
        };
        if let Some(line) = line {
            self.record = self.plain + line + 1;
        }
        self.plain = end;
    }

    /// Gives up the record after its first line.
    #[cold]
    fn give_up(&mut self, bytes: &[u8]) {
        (_, self.record) = line_end(bytes, self.record);
        self.plain = self.record;
    }
}

impl Dialect {
    /// Whether an unquoted field may end at `at`.
    #[inline]
    pub(super) fn field_ends(&self, bytes: &[u8], at: usize) -> bool {
        match bytes.get(at) {
            None | Some(b'\n') => true,
            Some(b'\r') => bytes.get(at + 1) == Some(&b'\n'),
            Some(byte) => *byte == self.delimiter,
        }
    }

    /// Reads the record that begins at `start`, giving each field and its index to
    /// `sink`. `scratch` holds the text of fields with doubled quotes.
    ///
    /// After an [`RecordFault::Unclosed`] the fields that were given count for nothing.
    #[inline]
    pub(super) fn record(
        &self,
        bytes: &[u8],
        start: usize,
        scratch: &mut Vec<u8>,
        mut sink: impl Fields,
    ) -> RecordEnd {
        let mut at = start;
        let mut fields = 0;
        let mut fault = None;
        let mut any_quoted = false;
        loop {
            let mut end;
            if let Some(plain_end) = sink.plain(fields, bytes, at) {
                fields += 1;
                let stop = bytes.get(plain_end).copied();
                if stop == Some(self.delimiter) {
                    at = plain_end + 1;
                    continue;
                }
                let line_end = plain_end + usize::from(stop == Some(b'\r'));
                return RecordEnd {
                    end: plain_end,
                    next: (line_end + 1).min(bytes.len()),
                    fields,
                    fault,
                    quoted: any_quoted,
                };
            }
            if self.quote.is_some() && bytes.get(at).copied() == self.quote {
                any_quoted = true;
                let Some((text, after)) = self.quoted(bytes, at, scratch) else {
                    return unclosed(bytes, start, fields);
                };
                end = find(bytes, after, self.delimiter, b'\n');
                if end > after && !(line_end_at(bytes, end) && bytes[after..end] == *b"\r") {
                    if memchr(b'\n', &bytes[at..after]).is_some() {
                        return unclosed(bytes, start, fields);
                    }
                    fault = fault.or(Some(RecordFault::AfterQuote));
                }
                sink.field(fields, FieldText { text, quoted: true });
            } else {
                end = find(bytes, at, self.delimiter, b'\n');
                let mut text = &bytes[at..end];
                if line_end_at(bytes, end)
                    && let [head @ .., b'\r'] = text
                {
                    text = head;
                }
                let quoted = false;
                sink.field(fields, FieldText { text, quoted });
            }
            fields += 1;
            if line_end_at(bytes, end) {
                let next = (end + 1).min(bytes.len());
                end -= usize::from(end > start && bytes[end - 1] == b'\r');
                return RecordEnd {
                    end,
                    next,
                    fields,
                    fault,
                    quoted: any_quoted,
                };
            }
            at = end + 1;
        }
    }

    /// The text inside the quotes that open at `open`, and where they have closed.
    #[inline]
    fn quoted<'a>(
        &self,
        bytes: &'a [u8],
        open: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Option<(&'a [u8], usize)> {
        let quote = self.quote?;
        let escape = self.escape.unwrap_or(quote);
        scratch.clear();
        let mut from = open + 1;
        let mut at = from;
        loop {
            at = find(bytes, at, quote, escape);
            if at == bytes.len() {
                return None;
            }
            let literal = if bytes[at] == quote {
                bytes.get(at + 1) == Some(&quote)
            } else {
                at + 1 < bytes.len()
            };
            if literal {
                scratch.extend_from_slice(&bytes[from..at]);
                scratch.push(bytes[at + 1]);
                at += 2;
                from = at;
            } else if bytes[at] != quote {
                return None;
            } else if scratch.is_empty() {
                return Some((&bytes[from..at], at + 1));
            } else {
                scratch.extend_from_slice(&bytes[from..at]);
                return Some((scratch, at + 1));
            }
        }
    }

    /// Where the last whole record of `bytes`, which begin with a record, ends: behind
    /// a line feed outside quotes, or at 0.
    ///
    /// The quotes are walked from one to the next, and only if there are any.
    pub(crate) fn boundary(&self, bytes: &[u8]) -> usize {
        let quote = self.quote.filter(|quote| memchr(*quote, bytes).is_some());
        match (quote, self.escape) {
            (None, _) => memrchr(b'\n', bytes).map_or(0, |at| at + 1),
            (Some(quote), None) => self.boundary_by_quotes(bytes, quote),
            (Some(quote), Some(_)) => self.boundary_by_escapes(bytes, quote),
        }
    }

    fn boundary_by_quotes(&self, bytes: &[u8], quote: u8) -> usize {
        let mut walk = Walk::default();
        'walk: loop {
            let start = walk.plain;
            let mut quotes = (places(&bytes[start..], quote))
                .map(|place| start + place)
                .peekable();
            while let Some(open) = quotes.next() {
                if !self.opens(bytes, open, &mut walk) {
                    continue;
                }
                loop {
                    let Some(close) = quotes.next() else {
                        return walk.record;
                    };
                    if quotes.next_if_eq(&(close + 1)).is_some() {
                        continue;
                    }
                    if self.is_stray(bytes, open, close + 1) {
                        walk.give_up(bytes);
                        continue 'walk;
                    }
                    walk.plain = close + 1;
                    break;
                }
            }
            walk.pass(bytes, bytes.len());
            return walk.record;
        }
    }

    fn boundary_by_escapes(&self, bytes: &[u8], quote: u8) -> usize {
        let mut walk = Walk::default();
        let mut at = 0;
        while let Some(open) = memchr(quote, &bytes[at..]).map(|found| at + found) {
            at = open + 1;
            if self.opens(bytes, open, &mut walk) {
                match self.close(bytes, open, quote) {
                    Some(after) if self.is_stray(bytes, open, after) => {
                        walk.give_up(bytes);
                        at = walk.plain;
                    }
                    Some(after) => (at, walk.plain) = (after, after),
                    None => return walk.record,
                }
            }
        }
        walk.pass(bytes, bytes.len());
        walk.record
    }

    /// Whether the quote at `open`, which stands outside quotes, opens a field.
    #[inline]
    fn opens(&self, bytes: &[u8], open: usize, walk: &mut Walk) -> bool {
        let first = open == 0 || bytes[open - 1] == b'\n' || bytes[open - 1] == self.delimiter;
        walk.pass(bytes, open);
        first && !self.is_comment(bytes, walk.record)
    }

    /// Where the quotes that open at `open` have closed.
    fn close(&self, bytes: &[u8], open: usize, quote: u8) -> Option<usize> {
        let escape = self.escape.unwrap_or(quote);
        let mut at = open + 1;
        loop {
            at += memchr2(quote, escape, bytes.get(at..)?)?;
            if bytes[at] != quote || bytes.get(at + 1) == Some(&quote) {
                at += 2;
            } else {
                return Some(at + 1);
            }
        }
    }

    /// Whether the quote at `open` is a stray one: the quotes reach over a line end, and
    /// at `after`, where they have closed, the field goes on. Where the bytes end too
    /// soon to tell, no record ends behind it, and the answer makes no difference.
    #[inline]
    fn is_stray(&self, bytes: &[u8], open: usize, after: usize) -> bool {
        let ends = match bytes.get(after) {
            None | Some(b'\n') => true,
            Some(b'\r') if line_end_at(bytes, after + 1) => true,
            Some(byte) => *byte == self.delimiter,
        };
        !ends && memchr(b'\n', &bytes[open..after]).is_some()
    }

    /// Whether the line at `start` is a comment.
    #[inline]
    pub(super) fn is_comment(&self, bytes: &[u8], start: usize) -> bool {
        self.comment.is_some() && bytes.get(start).copied() == self.comment
    }
}

/// The end of a record that is given up after its first line.
#[cold]
fn unclosed(bytes: &[u8], start: usize, fields: usize) -> RecordEnd {
    let (end, next) = line_end(bytes, start);
    RecordEnd {
        end,
        next,
        fields,
        fault: Some(RecordFault::Unclosed),
        quoted: false,
    }
}

/// Whether a line ends at `at`.
#[inline]
fn line_end_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|byte| *byte == b'\n')
}

/// How many line feeds `bytes` hold.
pub(crate) fn line_feeds(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}
