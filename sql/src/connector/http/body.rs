//! Bodies: what they hold by their headers, and the bytes before they were packed.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use super::budget::Hold;
use super::message::{Fault, Head};
use crate::format::Format;

/// So much is unpacked between two looks at the limit.
const STEP_BYTES: usize = 64 << 10;

/// What is read, and how it is named.
const CONTENT_TYPES: [(&str, Format); 12] = [
    ("application/x-ndjson", Format::Ndjson),
    ("application/ndjson", Format::Ndjson),
    ("application/jsonl", Format::Ndjson),
    ("application/jsonlines", Format::Ndjson),
    ("application/json", Format::Json),
    ("text/csv", Format::Csv),
    ("application/csv", Format::Csv),
    ("text/vnd.influx.line-protocol", Format::Line),
    ("application/vnd.influx.line-protocol", Format::Line),
    ("application/vnd.apache.arrow.stream", Format::Arrow),
    ("application/x-apache-arrow-stream", Format::Arrow),
    ("application/arrow", Format::Arrow),
];

/// What programs say of any text, or of what they have not been told about.
const UNTOLD_TYPES: [&str; 4] = [
    "",
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
];

/// The format of a body: by its Content-Type, or `default` where that tells nothing.
///
/// # Errors
/// If it is none that is read.
pub(super) fn format_of(head: &Head, default: Option<Format>) -> Result<Format, Fault> {
    const READ: &str = "application/x-ndjson, application/json, text/csv, \
                        text/vnd.influx.line-protocol and application/vnd.apache.arrow.stream \
                        are read";
    let written = head.header("content-type").unwrap_or_default();
    let name = written.split(';').next().unwrap_or_default().trim();
    let lower = name.to_lowercase();
    if let Some((_, format)) = CONTENT_TYPES.iter().find(|(known, _)| *known == lower) {
        return Ok(*format);
    }
    let unread = |what: String| Fault::Bad(415, format!("{what}; {READ}"));
    match default {
        _ if !UNTOLD_TYPES.contains(&lower.as_str()) => {
            Err(unread(format!("Content-Type {name} is not read")))
        }
        Some(format) => Ok(format),
        None => Err(unread(
            "neither a Content-Type nor the option format of the stream tells what this is".into(),
        )),
    }
}

/// How a body is packed: whether by gzip.
///
/// # Errors
/// If it is packed in a way that is not read.
pub(super) fn is_gzip(head: &Head) -> Result<bool, Fault> {
    if head.values("content-encoding").len() > 1 {
        let reason = "Content-Encoding is said twice; pack the body once, with gzip";
        return Err(Fault::Bad(415, reason.into()));
    }
    let written = head.header("content-encoding").unwrap_or_default();
    match written.to_lowercase().as_str() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        _ => Err(Fault::Bad(
            415,
            format!("Content-Encoding {written} is not read; send gzip, or the bytes as they are"),
        )),
    }
}

/// The bytes of a body before it was packed, `bytes_max` at most.
///
/// # Errors
/// If they are more, or it is damaged.
pub(super) fn unpacked(
    packed: &[u8],
    bytes_max: usize,
    hold: &mut Hold<'_>,
) -> Result<Vec<u8>, Fault> {
    let mut reader = MultiGzDecoder::new(packed);
    let mut body = Vec::new();
    loop {
        let room = bytes_max - body.len();
        // One byte more than may come tells that there is more.
        let step = room.min(STEP_BYTES) as u64 + 1;
        let read = (reader.by_ref().take(step).read_to_end(&mut body)).map_err(|error| {
            Fault::Bad(400, format!("the body cannot be read as gzip: {error}"))
        })?;
        hold.more(read)?;
        if body.len() > bytes_max {
            return Err(Fault::TooLarge(bytes_max));
        }
        if (read as u64) < step {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::budget::Budget;
    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::best());
        writer.write_all(bytes).expect("into memory");
        writer.finish().expect("into memory")
    }

    fn unpack(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
        let budget = Budget::new(1 << 30);
        unpacked(bytes, bytes_max, &mut Hold::none(&budget))
    }

    #[test]
    fn a_body_is_unpacked_up_to_its_limit() {
        let text = b"hello\n".repeat(50_000);
        assert_eq!(unpack(&packed(&text), text.len()), Ok(text.clone()));
        let less = text.len() - 1;
        assert_eq!(unpack(&packed(&text), less), Err(Fault::TooLarge(less)));
        let twice = [packed(b"a"), packed(b"b")].concat();
        assert_eq!(unpack(&twice, 2), Ok(b"ab".to_vec()));
        assert_eq!(unpack(&packed(b""), 0), Ok(Vec::new()));
    }

    #[test]
    fn a_bomb_is_cut() {
        let bomb = packed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let budget = Budget::new(1 << 20);
        let mut hold = Hold::none(&budget);
        let cut = unpacked(&bomb, 64 << 20, &mut hold);
        assert_eq!(cut, Err(Fault::Busy));
        assert_eq!(unpack(&bomb, 1 << 20), Err(Fault::TooLarge(1 << 20)));
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = packed(b"some readings");
        for broken in [&whole[..whole.len() - 3], b"no gzip", b""] {
            assert!(matches!(unpack(broken, 100), Err(Fault::Bad(400, _))));
        }
    }
}
