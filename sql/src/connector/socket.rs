//! What connectors over sockets have in common: they read text whose columns are declared.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::files::check_paths;
use super::registry::Pairs;
use crate::error::{Error, ErrorKind, Result};
use crate::format::column::nullable;
use crate::format::encode::setting::unfit;
use crate::format::text::TextFormat;
use crate::format::{Compression, Format, FormatOptions};

/// The text that a connector reads, in one of `formats`, and the options that are not the
/// format's.
///
/// - `line_bytes_max`: where the option does not say otherwise.
///
/// # Errors
/// If an option of the format does not fit.
pub(super) fn text(
    connector: &str,
    formats: &[Format],
    line_bytes_max: usize,
    pairs: &Pairs,
) -> Result<(TextFormat, Pairs)> {
    let (mut options, rest) = FormatOptions::from_pairs(pairs)?;
    let allowed = || {
        let names: Vec<String> = formats.iter().map(Format::to_string).collect();
        let (last, others) = names.split_last().expect("a connector reads something");
        format!("{} or {last}", others.join(", "))
    };
    let Some(format) = options.format else {
        let message = format!("connector '{connector}' needs the option format");
        return Err(Error::new(ErrorKind::Option, message).help(format!("it reads {}", allowed())));
    };
    if !formats.contains(&format) {
        return Err(unfit("format", &format.to_string(), &allowed()));
    }
    FormatOptions::check_use(&[format], pairs)?;
    if (options.compression).is_some_and(|compression| compression != Compression::None) {
        let message = format!("connector '{connector}' reads no compressed bytes");
        return Err(Error::new(ErrorKind::Option, message).help("leave the option compression out"));
    }
    if !pairs.contains_key("line_bytes_max") {
        options.line_bytes_max = line_bytes_max;
    }
    let text = TextFormat {
        format,
        delimiter: options.delimiter.unwrap_or(b','),
        options: Arc::new(options),
    };
    let rest = (rest.into_iter())
        .map(|name| (name.clone(), pairs[&name].clone()))
        .collect();
    Ok((text, rest))
}

/// The columns that a connector reads, all of them nullable.
///
/// # Errors
/// If they are not declared, or an option names another.
pub(super) fn columns(
    connector: &str,
    text: &TextFormat,
    declared: Option<SchemaRef>,
) -> Result<SchemaRef> {
    let Some(declared) = declared else {
        let message = format!(
            "the columns of connector '{connector}' cannot be inferred: nothing has come yet"
        );
        return Err(Error::new(ErrorKind::Plan, message)
            .help("declare them: CREATE STREAM name (ts TIMESTAMP, value DOUBLE, …) WITH (…)"));
    };
    check_paths(&text.options, &declared)?;
    Ok(nullable(&declared))
}
