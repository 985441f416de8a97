//! The keys of a row in the order in which they are expected.
//!
//! Rows of one writer have the same keys in the same order. Each key that comes is
//! compared with the one that is next in order, as it is written; only another one is
//! looked up, and then remembered in its place. What is expected changes how fast a row
//! is read, never what is read from it.

/// So many keys are remembered.
const KEYS_MAX: usize = 256;

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The value of this column alone.
    Column(usize),
    /// The member of this index.
    Member(usize),
    /// The same, spelled in another case: unless the member has been read already.
    Alike(usize),
    /// Nothing that is read.
    Ignored,
}

/// The keys that have come, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyOrder {
    keys: Vec<Key>,
    next: usize,
}

#[derive(Debug, Clone)]
struct Key {
    /// As it is written, with what stands between it and its value.
    text: Box<[u8]>,
    /// Its first bytes, and which of them are its own.
    head: u128,
    mask: u128,
    meaning: Meaning,
}

const HEAD_BYTES: usize = 16;

impl Key {
    fn new(text: Box<[u8]>, meaning: Meaning) -> Self {
        let mut head = [0; HEAD_BYTES];
        let len = text.len().min(HEAD_BYTES);
        head[..len].copy_from_slice(&text[..len]);
        Self {
            head: u128::from_le_bytes(head),
            mask: u128::MAX >> (8 * (HEAD_BYTES - len)),
            text,
            meaning,
        }
    }

    #[inline]
    fn stands_at(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk::<HEAD_BYTES>() {
            Some(head) => {
                u128::from_le_bytes(*head) & self.mask == self.head
                    && (self.text.len() <= HEAD_BYTES || bytes.starts_with(&self.text))
            }
            None => bytes.starts_with(&self.text),
        }
    }
}

impl KeyOrder {
    /// Expects the first key of a row.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.next = 0;
    }

    /// What the key at the beginning of `bytes` stands for, and its length with the byte
    /// behind it, if it is the one that is expected.
    #[inline]
    pub(super) fn expected(&mut self, bytes: &[u8]) -> Option<(Meaning, usize)> {
        let key = self.keys.get(self.next)?;
        key.stands_at(bytes).then(|| {
            self.next += 1;
            (key.meaning, key.text.len())
        })
    }

    /// What `key` stands for, as it is written, which was not the expected one; `closer`
    /// stands between it and its value, and `look_up` is asked for a new key.
    pub(super) fn other<E>(
        &mut self,
        key: &[u8],
        closer: u8,
        look_up: impl FnOnce() -> Result<Meaning, E>,
    ) -> Result<Meaning, E> {
        let known = |known: &Key| known.text.strip_suffix(&[closer]) == Some(key);
        if let Some(place) = self.keys.iter().position(known) {
            self.next = place + 1;
            return Ok(self.keys[place].meaning);
        }
        let meaning = look_up()?;
        if self.keys.len() < KEYS_MAX {
            let text = [key, &[closer]].concat().into_boxed_slice();
            let place = self.next.min(self.keys.len());
            self.keys.insert(place, Key::new(text, meaning));
            self.next = place + 1;
        }
        Ok(meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(order: &mut KeyOrder, key: &str, meaning: Meaning) -> Meaning {
        let meant: Result<Meaning, ()> = order.other(key.as_bytes(), b':', || Ok(meaning));
        meant.expect("known")
    }

    #[test]
    fn keys_are_expected_in_the_order_in_which_they_came() {
        let long = "\"a key of more than sixteen bytes\"";
        let mut order = KeyOrder::default();
        order.begin();
        assert_eq!(order.expected(b"\"a\":1}"), None);
        assert_eq!(
            other(&mut order, "\"a\"", Meaning::Member(3)),
            Meaning::Member(3)
        );
        assert_eq!(other(&mut order, long, Meaning::Ignored), Meaning::Ignored);
        assert_eq!(
            other(&mut order, "\"c\"", Meaning::Alike(0)),
            Meaning::Alike(0)
        );

        order.begin();
        assert_eq!(order.expected(b"\"a\":1}"), Some((Meaning::Member(3), 4)));
        let text = format!("{long}:1}}");
        let shorter = &text.as_bytes()[..text.len() - 4];
        assert_eq!(order.expected(shorter), None);
        let len = long.len() + 1;
        assert_eq!(
            order.expected(text.as_bytes()),
            Some((Meaning::Ignored, len))
        );
        assert_eq!(order.expected(b"\"d\":1,\"some\":\"more\""), None);
        // A new key is remembered in its place; one that is known keeps its meaning.
        assert_eq!(
            other(&mut order, "\"d\"", Meaning::Member(1)),
            Meaning::Member(1)
        );
        assert_eq!(order.expected(b"\"c\":1}"), Some((Meaning::Alike(0), 4)));
        assert_eq!(order.expected(b"\"a\":1}"), None);
        assert_eq!(
            other(&mut order, "\"d\"", Meaning::Ignored),
            Meaning::Member(1)
        );
        assert_eq!(order.expected(b"\"c\":1}"), Some((Meaning::Alike(0), 4)));
    }

    #[test]
    fn no_more_keys_are_remembered_than_are_useful() {
        let mut order = KeyOrder::default();
        for key in 0..2 * KEYS_MAX {
            other(&mut order, &format!("\"{key}\""), Meaning::Ignored);
        }
        assert_eq!(order.keys.len(), KEYS_MAX);
    }
}
