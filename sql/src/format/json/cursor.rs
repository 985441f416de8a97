//! The tokens of JSON (RFC 8259), read from left to right.

use crate::format::plain::{ShortNumber, digits};
use crate::format::search::string_stop;

/// So many levels of objects and lists may stand inside each other.
pub(crate) const JSON_DEPTH_MAX: usize = 128;

/// What was expected, and where something else stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Text that is not JSON.
    At(usize, &'static str),
    /// More than [`JSON_DEPTH_MAX`] levels.
    Depth,
}

/// A place in one JSON text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// Whether a value ends before the end of its line: more lines follow in `bytes`.
    pub(super) in_line: bool,
}

/// A string between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) raw: &'a [u8],
    /// Whether `raw` holds escapes.
    pub(super) escaped: bool,
    /// Where its first quote stands.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte, if there is one.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over blanks.
    #[inline]
    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => {}
                Some(b'\n') if !self.in_line => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    /// Whether the line, or the text, ends here.
    #[inline]
    pub(super) fn is_at_line_end(&self) -> bool {
        self.peek().is_none_or(|byte| byte == b'\n')
    }

    #[cold]
    pub(super) fn broken(&self, expected: &'static str) -> Broken {
        Broken::At(self.at, expected)
    }

    /// Passes over `byte`, which must stand here.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Broken> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.broken(expected))
        }
    }

    /// Passes over a word that must stand here.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Broken> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.broken("a value"))
        }
    }

    /// Reads a string.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'a>, Broken> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = string_stop(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    let raw = &self.bytes[start..self.at];
                    self.at += 1;
                    let at = start - 1;
                    return Ok(Text { raw, escaped, at });
                }
                Some(b'\\')
                    if (self.bytes.get(self.at + 1))
                        .is_some_and(|byte| !self.in_line || *byte != b'\n') =>
                {
                    escaped = true;
                    self.at += 2;
                }
                Some(0..0x20) => return Err(self.broken("no control character in a string")),
                _ => {
                    self.at = self.bytes.len();
                    return Err(self.broken("the end of a string"));
                }
            }
        }
    }

    /// Reads a number; with it what it says, unless it is long or has an exponent.
    #[inline]
    pub(super) fn number(&mut self) -> Result<(&'a [u8], Option<ShortNumber>), Broken> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let whole = self.at;
        let mut mantissa = 0;
        self.digits(&mut mantissa)?;
        let mut count = self.at - whole;
        if self.bytes[whole] == b'0' && count > 1 {
            self.at = whole;
            return Err(self.broken("no leading zero"));
        }
        let mut scale = None;
        if self.peek() == Some(b'.') {
            self.at += 1;
            let fraction = self.at;
            self.digits(&mut mantissa)?;
            count += self.at - fraction;
            scale = u8::try_from(self.at - fraction).ok();
        }
        let mut short = (count < 20).then_some(ShortNumber {
            negative,
            mantissa,
            scale,
        });
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits(&mut 0)?;
            short = None;
        }
        Ok((&self.bytes[start..self.at], short))
    }

    /// One digit or more, which are added to `mantissa`; it overflows after 19.
    #[inline]
    fn digits(&mut self, mantissa: &mut u64) -> Result<(), Broken> {
        let start = self.at;
        self.at = digits(self.bytes, start, mantissa);
        match self.at > start {
            true => Ok(()),
            false => Err(self.broken("a digit")),
        }
    }

    /// Passes over a whole value, which stands `depth` levels deep.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Broken> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'{') => self.members(depth, |cursor, _| cursor.skip(depth + 1)),
            Some(b'[') => self.items(depth, |cursor, _| cursor.skip(depth + 1)),
            _ => Err(self.broken("a value")),
        }
    }

    /// Reads an object that stands `depth` levels deep; `member` is given each key and
    /// reads its value.
    #[inline]
    pub(super) fn members<E: From<Broken>>(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.members_from(depth, |cursor| {
            let key = cursor.string()?;
            cursor.blanks();
            cursor.expect(b':', "':'")?;
            cursor.blanks();
            member(cursor, key)
        })
    }

    /// As [`Cursor::members`], but `member` reads the key, too.
    #[inline]
    pub(super) fn members_from<E: From<Broken>>(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        if depth >= JSON_DEPTH_MAX {
            return Err(Broken::Depth.into());
        }
        self.expect(b'{', "an object")?;
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            member(self)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.broken("',' or '}'").into()),
            }
            self.blanks();
        }
    }

    /// Reads a list that stands `depth` levels deep; `item` is given each index and
    /// reads the value.
    #[inline]
    pub(super) fn items<E: From<Broken>>(
        &mut self,
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        if depth >= JSON_DEPTH_MAX {
            return Err(Broken::Depth.into());
        }
        self.expect(b'[', "a list")?;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        for index in 0.. {
            item(self, index)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.broken("',' or ']'").into()),
            }
            self.blanks();
        }
        unreachable!("a list is shorter than the address space")
    }
}

impl<'a> Text<'a> {
    /// The characters that the string stands for, unescaped into `scratch` if need be.
    /// `None`: an escape is none.
    #[inline]
    pub(super) fn decode<'s>(&self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        if self.escaped {
            unescape(self.raw, scratch)?;
            Some(scratch)
        } else {
            Some(self.raw)
        }
    }
}

fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let mut rest = raw;
    while let Some(found) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..found]);
        let escape = *rest.get(found + 1)?;
        rest = &rest[found + 2..];
        out.push(match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = unicode(&mut rest)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        });
    }
    out.extend_from_slice(rest);
    Some(())
}

/// The character of `\uXXXX`, or of a pair of surrogates. A lone one is none.
fn unicode(rest: &mut &[u8]) -> Option<char> {
    fn unit(rest: &mut &[u8]) -> Option<u32> {
        let (digits, tail) = rest.split_at_checked(4)?;
        *rest = tail;
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit * 16 + (*digit as char).to_digit(16)?)
        })
    }
    let first = unit(rest)?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first);
    }
    *rest = rest.strip_prefix(b"\\u")?;
    let second = unit(rest)?;
    if !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(bytes: &[u8]) -> Cursor<'_> {
        Cursor {
            bytes,
            at: 0,
            in_line: false,
        }
    }
    use proptest::prelude::*;

    fn whole(text: &[u8]) -> bool {
        let mut cursor = cursor(text);
        cursor.blanks();
        cursor.skip(0).is_ok() && {
            cursor.blanks();
            cursor.at == text.len()
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(whole(nested(128).as_bytes()));
        assert!(!whole(nested(129).as_bytes()));
        let mut cursor = cursor(&[b'['; 1_000_000]);
        assert_eq!(cursor.skip(0), Err(Broken::Depth));
    }

    #[test]
    fn strings_are_unescaped_as_another_parser_does() {
        for text in [
            r#""""#,
            r#""a""#,
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u00e9\u20AC""#,
            r#""\ud83d\ude00x""#,
            r#""é€😀""#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ude00""#,
            r#""\u12g4""#,
            r#""\x""#,
            r#""\u12""#,
            "\"a\u{7f}\"",
        ] {
            let mut cursor = cursor(text.as_bytes());
            let mut scratch = Vec::new();
            let value = (cursor.string().ok())
                .and_then(|string| string.decode(&mut scratch).map(<[u8]>::to_vec));
            let expected = serde_json::from_str::<String>(text)
                .ok()
                .map(String::into_bytes);
            assert_eq!(value, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn accepts_what_another_parser_accepts(text in "[\\[\\]{}:,\"0123e.+\\- a\\\\tfn]{0,12}|(true|false|null|[0-9.eE+-]{1,6}|\"[a\\\\\"u0-9]{0,5}\"|[\\[\\]{}:, ]){0,8}") {
            // The value of an escape is looked at only when it is used.
            prop_assume!(!text.contains('\\'));
            let expected = serde_json::from_str::<serde_json::Value>(&text);
            // Numbers beyond the range of a float are still numbers.
            prop_assume!(!expected.as_ref().is_err_and(|error| error.to_string().contains("out of range")));
            prop_assert_eq!(whole(text.as_bytes()), expected.is_ok());
        }
    }
}
