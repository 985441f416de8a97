//! Where the fields and the records of CSV begin and end.
//!
//! RFC 4180, with the freedoms that files take: any delimiter, lines that end in LF or
//! CRLF, lines of comment. A quote opens a field only as its first byte; elsewhere it
//! is text. Inside quotes, delimiters and line ends are text, two quotes are one, and
//! an escape byte takes the meaning from the byte after it.
//!
//! Records are found in two ways that must agree: [`Dialect::record`] field by field,
//! by the parsers, and [`Dialect::boundary`] from quote to quote, by the thread that
//! cuts a file into chunks for them.

use memchr::{memchr, memchr_iter, memchr2, memrchr};

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
    /// A quote is not closed: the record ends with its first line, so that one stray
    /// quote does not take the rest of the file with it.
    Unclosed,
}

const LOW: u64 = u64::from_le_bytes([0x01; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// The first place from `start` on where the delimiter or a line feed stands, or the
/// end. Fields are short: eight bytes at a time beat a call of `memchr`.
#[inline]
fn field_end(bytes: &[u8], start: usize, delimiter: u8) -> usize {
    let delimiters = LOW * u64::from(delimiter);
    let line_feeds = LOW * u64::from(b'\n');
    let mut at = start;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let (a, b) = (word ^ delimiters, word ^ line_feeds);
        // The lowest bit set marks the first zero byte (Mycroft).
        let found = ((a.wrapping_sub(LOW) & !a) | (b.wrapping_sub(LOW) & !b)) & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    (bytes[at..].iter())
        .position(|byte| *byte == delimiter || *byte == b'\n')
        .map_or(bytes.len(), |found| at + found)
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

impl Dialect {
    /// Reads the record that begins at `start`, giving each field and its index to
    /// `field`. `scratch` holds the text of fields with doubled quotes.
    ///
    /// After an [`RecordFault::Unclosed`] the fields that were given count for nothing.
    #[inline]
    pub(super) fn record(
        &self,
        bytes: &[u8],
        start: usize,
        scratch: &mut Vec<u8>,
        mut field: impl FnMut(usize, FieldText<'_>),
    ) -> RecordEnd {
        let mut at = start;
        let mut fields = 0;
        let mut fault = None;
        let mut any_quoted = false;
        loop {
            let mut end;
            if self.quote.is_some() && bytes.get(at).copied() == self.quote {
                any_quoted = true;
                let Some((text, after)) = self.quoted(bytes, at, scratch) else {
                    let (end, next) = line_end(bytes, start);
                    return RecordEnd {
                        end,
                        next,
                        fields,
                        fault: Some(RecordFault::Unclosed),
                        quoted: false,
                    };
                };
                field(fields, FieldText { text, quoted: true });
                end = field_end(bytes, after, self.delimiter);
                if end > after && !(line_end_at(bytes, end) && bytes[after..end] == *b"\r") {
                    fault = fault.or(Some(RecordFault::AfterQuote));
                }
            } else {
                end = field_end(bytes, at, self.delimiter);
                let mut text = &bytes[at..end];
                if line_end_at(bytes, end)
                    && let [head @ .., b'\r'] = text
                {
                    text = head;
                }
                field(
                    fields,
                    FieldText {
                        text,
                        quoted: false,
                    },
                );
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
            at += memchr2(quote, escape, &bytes[at..])?;
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
        let last_line = |end: usize| memrchr(b'\n', &bytes[..end]).map_or(0, |at| at + 1);
        let Some(quote) = self.quote else {
            return last_line(bytes.len());
        };
        // Everything before `plain` has been walked; a record is known to begin at
        // `record`, the last one that begins before `plain`.
        let (mut plain, mut record) = (0, 0);
        let mut at = 0;
        loop {
            let next = memchr(quote, &bytes[at..]).map(|found| at + found);
            let end = next.unwrap_or(bytes.len());
            if let Some(found) = memrchr(b'\n', &bytes[plain..end]) {
                record = plain + found + 1;
            }
            plain = end;
            let Some(open) = next else {
                return record;
            };
            let opens =
                open == 0 || matches!(bytes[open - 1], b'\n') || bytes[open - 1] == self.delimiter;
            let in_comment = self.comment.is_some() && bytes.get(record).copied() == self.comment;
            at = open + 1;
            if !opens || in_comment {
                continue;
            }
            match self.close(bytes, open, quote) {
                Some(after) => (at, plain) = (after, after),
                None => return record,
            }
        }
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

    /// Whether the line at `start` is a comment.
    #[inline]
    pub(super) fn is_comment(&self, bytes: &[u8], start: usize) -> bool {
        self.comment.is_some() && bytes.get(start).copied() == self.comment
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
