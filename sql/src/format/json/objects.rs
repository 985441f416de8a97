//! Where the values of a JSON document begin and end.
//!
//! A document is an array of objects, or objects one after the other. The scanner walks
//! over the text once, whatever the pieces in which it comes, and knows only strings
//! and brackets; whether a value is sound is for its parser.

use std::ops::Range;

use crate::format::rows::Spot;

/// A walk over a JSON document.
#[derive(Debug, Default)]
pub(crate) struct ObjectScanner {
    /// The open brackets of the value that is being walked over.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Where the value began, in the bytes that are still held.
    began: Option<Began>,
    /// The line on which the array began that holds the values.
    array: Option<u64>,
    /// How many values have begun in it.
    elements: u64,
    line: u64,
}

#[derive(Debug, Clone, Copy)]
struct Began {
    at: usize,
    spot: Spot,
    /// A value without brackets ends before the next separator.
    bare: bool,
}

impl ObjectScanner {
    /// Walks on over `bytes[from..]`, adding each value that ends there and where it
    /// begins.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        from: usize,
        values: &mut Vec<(Range<usize>, Spot)>,
    ) {
        for (at, &byte) in bytes.iter().enumerate().skip(from) {
            self.line += u64::from(byte == b'\n');
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => {
                    self.begin(at, true);
                    self.in_string = true;
                }
                b'[' if self.depth == 0 && self.began.is_none() && self.array.is_none() => {
                    self.array = Some(self.line + 1);
                    self.elements = 0;
                }
                b'{' | b'[' => {
                    if self.depth == 0 {
                        self.end(at, values, true);
                    }
                    self.begin(at, false);
                    self.depth += 1;
                }
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.end(at + 1, values, false);
                    }
                }
                b']' if self.array.is_some() => {
                    self.end(at, values, true);
                    self.array = None;
                }
                b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                    self.end(at, values, true)
                }
                _ => self.begin(at, true),
            }
        }
    }

    /// A value begins, unless one has.
    fn begin(&mut self, at: usize, bare: bool) {
        if self.began.is_some() {
            return;
        }
        let element = self.array.map(|_| {
            self.elements += 1;
            self.elements
        });
        let spot = Spot {
            line: self.line + 1,
            element,
        };
        self.began = Some(Began { at, spot, bare });
    }

    /// The value that has begun ends.
    fn end(&mut self, at: usize, values: &mut Vec<(Range<usize>, Spot)>, bare: bool) {
        if let Some(began) = self.began.take_if(|began| !bare || began.bare) {
            values.push((began.at..at, began.spot));
        }
    }

    /// The text ends: what has begun ends with it.
    pub(crate) fn finish(&mut self, bytes: &[u8], values: &mut Vec<(Range<usize>, Spot)>) {
        self.end(bytes.len(), values, false);
        (self.depth, self.in_string, self.escaped) = (0, false, false);
    }

    /// The line of an array that is still open.
    pub(crate) fn open_array(&self) -> Option<u64> {
        self.array
    }

    /// Where an array or a value begins that has not ended, and where the text does; `None`
    /// if all have ended.
    pub(crate) fn unclosed(&self) -> Option<String> {
        let began = (self.began).filter(|_| self.depth > 0 || self.in_string);
        let line = self.line + 1;
        match (self.array, began) {
            (Some(array), began) => {
                let preposition = if began.is_some() { "in" } else { "after" };
                let place = match self.elements {
                    0 => String::new(),
                    element => format!(", {preposition} element {element}"),
                };
                Some(format!(
                    "the JSON array that begins on line {array} is not closed: it ends on line \
                     {line}{place}"
                ))
            }
            (None, Some(Began { spot, .. })) => Some(format!(
                "the JSON value that begins on line {spot} is not closed: it ends on line {line}"
            )),
            (None, None) => None,
        }
    }

    /// Where the value begins that has not ended.
    pub(crate) fn open_value(&self) -> Option<(usize, Spot)> {
        self.began.map(|began| (began.at, began.spot))
    }

    /// The first `bytes` of the text are let go.
    pub(crate) fn advance(&mut self, bytes: usize) {
        if let Some(began) = &mut self.began {
            began.at = began.at.saturating_sub(bytes);
        }
    }
}
