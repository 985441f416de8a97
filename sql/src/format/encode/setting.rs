//! Options by name, as a user writes them in `WITH (…)` or on a command line.
//!
//! A value that does not fit is an error that names the option, what was given and
//! what is allowed. What nobody asked for is left over, so that the caller can say
//! which word was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, nearest};

/// Options that are taken one by one.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pairs: &'a BTreeMap<String, String>,
    taken: BTreeSet<&'a str>,
}

impl<'a> Settings<'a> {
    /// Nothing taken yet.
    pub(crate) fn new(pairs: &'a BTreeMap<String, String>) -> Self {
        Self {
            pairs,
            taken: BTreeSet::new(),
        }
    }

    /// The names that were not asked for, in alphabetical order.
    pub(crate) fn rest(&self) -> Vec<String> {
        (self.pairs.keys())
            .filter(|name| !self.taken.contains(name.as_str()))
            .cloned()
            .collect()
    }

    /// An option's text.
    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        let (name, value) = self.pairs.get_key_value(name)?;
        self.taken.insert(name);
        Some(value)
    }

    /// An option that `read` understands, or an error that says what is `allowed`.
    pub(crate) fn parse<T>(
        &mut self,
        name: &str,
        allowed: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.text(name) {
            Some(value) => match read(value.trim()) {
                Some(parsed) => Ok(Some(parsed)),
                None => {
                    let error = unfit(name, value, allowed);
                    Err(match nearest(value.trim(), words(allowed)) {
                        Some(meant) => error.help(format!("did you mean '{meant}'?")),
                        None => error,
                    })
                }
            },
            None => Ok(None),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.parse(name, "true or false", |text| {
            match text.to_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Some(true),
                "false" | "off" | "no" | "0" => Some(false),
                _ => None,
            }
        })
    }

    /// A whole number; `_` may group its digits.
    pub(crate) fn count(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let allowed = match *range.end() {
            u64::MAX => format!("a whole number of at least {}", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        self.parse(name, &allowed, |text| {
            let number = text.replace('_', "").parse().ok()?;
            range.contains(&number).then_some(number)
        })
    }

    /// A share, from 0 to 1.
    pub(crate) fn share(&mut self, name: &str) -> Result<Option<f64>> {
        self.parse(name, "a share from 0 to 1, such as 0.05", |text| {
            let share = text.parse().ok()?;
            (0.0..=1.0).contains(&share).then_some(share)
        })
    }

    /// A length of time: `10 seconds`, `250ms`, `1 minute 30 s`, or a whole number of
    /// milliseconds.
    pub(crate) fn duration(&mut self, name: &str) -> Result<Option<Duration>> {
        let allowed =
            "a length of time, such as '10 seconds', '250 ms' or a number of milliseconds";
        self.parse(name, allowed, duration).map_err(|error| {
            match self.pairs.get(name).and_then(|text| meant(text)) {
                Some(meant) => error.help(format!("did you mean '{meant}'?")),
                None => error,
            }
        })
    }

    /// A text of one ASCII character; `\t` and `tab` are the tabulator.
    pub(crate) fn character(&mut self, name: &str) -> Result<Option<u8>> {
        let pairs = self.pairs;
        let Some((name, value)) = pairs.get_key_value(name) else {
            return Ok(None);
        };
        self.taken.insert(name);
        match value.as_bytes() {
            b"\\t" | b"tab" => Ok(Some(b'\t')),
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
            _ => Err(unfit(name, value, "one ASCII character")),
        }
    }
}

/// The words that are `allowed`, where it lists them: `'append' or 'replace'`.
fn words(allowed: &str) -> impl Iterator<Item = &str> {
    let listed = if allowed.starts_with('\'') {
        allowed
    } else {
        ""
    };
    listed.split('\'').skip(1).step_by(2)
}

/// The error of an option whose value is not allowed.
pub(crate) fn unfit(name: &str, value: &str, allowed: &str) -> Error {
    Error::new(
        ErrorKind::Option,
        format!("option {name} is '{value}', but must be {allowed}"),
    )
}

/// The error of a word that is none of those known, with the nearest of them.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> Error {
    let error = Error::new(ErrorKind::Option, format!("unknown {what} '{word}'"));
    error.help(match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean '{meant}'? known are {}", known.join(", ")),
        None => format!("known are {}", known.join(", ")),
    })
}

/// Units of time, and how many nanoseconds each is.
const UNITS: [(&str, f64); 23] = [
    ("us", 1e3),
    ("µs", 1e3),
    ("microsecond", 1e3),
    ("microseconds", 1e3),
    ("ms", 1e6),
    ("millisecond", 1e6),
    ("milliseconds", 1e6),
    ("s", 1e9),
    ("sec", 1e9),
    ("secs", 1e9),
    ("second", 1e9),
    ("seconds", 1e9),
    ("m", 60e9),
    ("min", 60e9),
    ("mins", 60e9),
    ("minute", 60e9),
    ("minutes", 60e9),
    ("h", 3_600e9),
    ("hour", 3_600e9),
    ("hours", 3_600e9),
    ("d", 86_400e9),
    ("day", 86_400e9),
    ("days", 86_400e9),
];

/// A length of time with the nearest units in place of those that are none.
fn meant(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let unit = |word: &&str| !word.is_empty() && UNITS.iter().all(|(unit, _)| unit != word);
    let wrong = (text.split(|c: char| !c.is_alphabetic())).find(unit)?;
    // A word of one or two letters is near to too many.
    let long = UNITS
        .iter()
        .map(|(unit, _)| *unit)
        .filter(|unit| unit.len() > 2);
    let meant = text.replacen(wrong, nearest(wrong, long)?, 1);
    duration(&meant).map(|_| meant)
}

fn duration(text: &str) -> Option<Duration> {
    if let Ok(millis) = text.parse() {
        return Some(Duration::from_millis(millis));
    }
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        let word = rest[..letters].to_lowercase();
        let (_, nanos) = UNITS.iter().find(|(unit, _)| *unit == word)?;
        let part = number * nanos;
        if !part.is_finite() || part >= u64::MAX as f64 {
            return None;
        }
        total = total.checked_add(Duration::from_nanos(part.round() as u64))?;
        rest = rest[letters..].trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        (pairs.iter())
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (text, millis) in [
            ("10 seconds", 10_000),
            ("10s", 10_000),
            ("250 ms", 250),
            ("250", 250),
            ("1 minute 30 s", 90_000),
            ("1h30m", 5_400_000),
            ("0.5 s", 500),
            ("2 days", 172_800_000),
            ("0", 0),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "fast", "10 parsecs", "-1 s", "1e300 days", "s", "1 s 2"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn an_unfit_value_is_named_with_what_is_allowed() {
        let pairs = pairs(&[
            ("rows", "many"),
            ("loss", "2"),
            ("follow", "maybe"),
            ("x", "1"),
        ]);
        let mut settings = Settings::new(&pairs);
        assert_eq!(
            settings
                .count("rows", 1..=u64::MAX)
                .expect_err("no number")
                .to_string(),
            "option rows is 'many', but must be a whole number of at least 1"
        );
        assert_eq!(
            settings.share("loss").expect_err("too great").to_string(),
            "option loss is '2', but must be a share from 0 to 1, such as 0.05"
        );
        assert_eq!(
            settings.flag("follow").expect_err("neither").to_string(),
            "option follow is 'maybe', but must be true or false"
        );
        assert_eq!(settings.rest(), ["x"]);
    }

    #[test]
    fn a_misspelt_word_or_unit_is_told_with_the_nearest() {
        let pairs = pairs(&[
            ("existing", "apend"),
            ("wait", "30 secnds"),
            ("long", "1 mintue 30 s"),
            ("far", "10 parsecs"),
        ]);
        let mut settings = Settings::new(&pairs);
        let existing = settings.parse("existing", "'append' or 'replace'", |_| None::<()>);
        assert_eq!(
            existing.expect_err("misspelt").to_string(),
            "option existing is 'apend', but must be 'append' or 'replace'\n   \
             = help: did you mean 'append'?"
        );
        let mut help = |name: &str| {
            let error = settings.duration(name).expect_err("no unit").to_string();
            (error.split_once("= help: ")).map(|(_, help)| help.to_owned())
        };
        assert_eq!(help("wait").as_deref(), Some("did you mean '30 seconds'?"));
        let long = Some("did you mean '1 minute 30 s'?");
        assert_eq!(help("long").as_deref(), long);
        assert_eq!(help("far"), None);
    }

    #[test]
    fn digits_may_be_grouped() {
        let pairs = pairs(&[("rows", "1_000_000")]);
        let rows = Settings::new(&pairs).count("rows", 1..=u64::MAX);
        assert_eq!(rows.expect("a number"), Some(1_000_000));
    }
}
