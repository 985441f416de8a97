//! Calls of functions with arguments that do not fit: what DataFusion says about its
//! signatures, in a sentence about the call as it is written.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::dialect::Positions;
use crate::error::{Error, ErrorKind};
use crate::words::in_sql_words;

/// The error of a call that fits no signature, if `sentence` is about one.
pub(super) fn misfit(
    sentence: &str,
    positions: &Positions,
    within: &Range<usize>,
) -> Option<Error> {
    let is_about_a_call = [
        "match any signature",
        "coerce arguments",
        "expects ",
        "coercion",
    ]
    .iter()
    .any(|sign| sentence.contains(sign));
    if !is_about_a_call {
        return None;
    }
    let name = ["unction '", "call to '"]
        .iter()
        .find_map(|before| quoted_after(sentence, before))?;
    let call = positions.call_of(within, name);
    let arguments = call.as_ref().and_then(|call| {
        let text = positions.text(call);
        Some(
            text.get(text.find('(')? + 1..text.len().checked_sub(1)?)?
                .trim(),
        )
    });
    let error = Error::new(ErrorKind::Plan, message(sentence, name, arguments));
    let of_text = types(sentence, name).is_some_and(|types| types.contains("TEXT"));
    let error = match takes_numbers(sentence) && of_text {
        true => error.help("convert the text: CAST(… AS DOUBLE)"),
        false => error,
    };
    Some(match call {
        Some(call) => error.at(call),
        None => error,
    })
}

fn message(sentence: &str, name: &str, arguments: Option<&str>) -> String {
    let types = types(sentence, name);
    let type_fault = sentence.contains(" requires ") || !sentence.contains(" expects ");
    if !type_fault && let Some(counts) = counts(sentence) {
        return format!("{name} takes {counts}");
    }
    let given = match (&types, arguments) {
        (Some(types), Some(arguments)) if !types.contains(',') && !arguments.contains(',') => {
            Some(format!("{arguments} is {types}"))
        }
        (Some(types), _) => Some(format!("given are {types}")),
        (None, _) => None,
    };
    let takes = match takes_numbers(sentence) {
        true => format!("{name} takes numbers"),
        false => format!("{name} does not take these arguments"),
    };
    match given {
        Some(given) => format!("{takes}; {given}"),
        None => takes,
    }
}

/// Whether a signature asks for numbers, and got something else.
fn takes_numbers(sentence: &str) -> bool {
    let wanted = ["Decimal", "Float", "Int", "UInt", "Numeric"];
    let requires = sentence
        .split(" requires ")
        .skip(1)
        .any(|rest| wanted.iter().any(|word| rest.starts_with(word)));
    requires || sentence.contains("Uniform(1, [Float64")
}

/// `1 argument, not 2`.
fn counts(sentence: &str) -> Option<String> {
    let number = |text: &str| -> Option<usize> {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let wanted: BTreeSet<usize> = (sentence.split(" expects ").skip(1))
        .filter_map(number)
        .collect();
    let given = sentence.split(" received ").nth(1).and_then(number)?;
    let last = wanted.last()?;
    let noun = if *last == 1 { "argument" } else { "arguments" };
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    Some(format!("{} {noun}, not {given}", wanted.join(" or ")))
}

/// The types of the arguments, as far as they are told.
fn types(sentence: &str, name: &str) -> Option<String> {
    let call = format!("argument types '{name}(");
    let told = sentence
        .split_once(&call)
        .and_then(|(_, rest)| rest.split_once(")'"))
        .map(|(types, _)| types)
        .or_else(|| {
            let (_, rest) = sentence.split_once("(DataType: ")?;
            rest.split_once(").").map(|(types, _)| types)
        })?;
    Some(in_sql_words(told))
}

fn quoted_after<'a>(sentence: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = sentence.split_once(before)?;
    let (name, _) = rest.split_once('\'')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then_some(name)
}
