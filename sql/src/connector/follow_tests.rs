//! Files that are followed: written to, renamed, cut short, deleted.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use windrow_core::stream::Source;

use super::registry::{Connector, Connectors, Pairs};
use super::socket_testing::{LONG, until};
use crate::error::Result;
use crate::format::testing::schema;
use std::sync::Arc;

fn declared(path: &Path, options: &[(&str, &str)]) -> Result<Arc<dyn Connector>> {
    let path = path.display().to_string();
    let mut pairs: Pairs = [
        ("follow", "true"),
        ("poll_interval", "5 ms"),
        ("path", &path),
    ]
    .into_iter()
    .chain(options.iter().copied())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    pairs.retain(|_, value| !value.is_empty());
    let mut connectors = Connectors::none();
    super::register_all(&mut connectors);
    let columns = schema(&[("n", DataType::Int64), ("s", DataType::Utf8)]);
    let (connector, unknown) = (connectors.get("file")?).source(&pairs, Some(columns))?;
    assert_eq!(unknown, Vec::<String>::new());
    Ok(connector)
}

fn followed(path: &Path, options: &[(&str, &str)]) -> Box<dyn Source> {
    let connector = declared(path, options).expect("it can be followed");
    assert!(connector.is_live());
    connector.open().expect("it opens")
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.expect("it can be written");
    file.write_all(text.as_bytes()).expect("written");
}

/// The rows that come until there are `count`.
fn rows(source: &mut dyn Source, count: u64) -> Vec<String> {
    let came = until(source, |came| came.count >= count);
    assert_eq!(came.rejects, vec![]);
    came.rows
}

#[test]
fn a_line_is_a_row_when_its_end_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.csv");
    append(&path, "n,s\n1,x\n2,");
    let mut source = followed(&path, &[]);
    assert_eq!(source.partitions(), 1);
    assert_eq!(rows(&mut *source, 1), ["1|x"]);
    append(&path, "y");
    append(&path, "\n3,\"two\n");
    assert_eq!(rows(&mut *source, 1), ["2|y"]);
    // A record may go on on the next line.
    append(&path, "lines\"\n");
    assert_eq!(rows(&mut *source, 1), ["3|two\nlines"]);
}

#[test]
fn rows_that_have_been_parsed_and_wait_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.csv");
    append(&path, "n,s\n1,x\n2,y\n3,z\n");
    let mut source = followed(&path, &[("batch_rows", "1")]);
    assert_eq!(rows(&mut *source, 1), ["1|x"]);
    let start = Instant::now();
    while source.backlog().map(|backlog| backlog.rows) != Some(2) {
        assert!(start.elapsed() < LONG, "{:?}", source.backlog());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn new_files_are_found_and_each_is_a_partition_with_its_own_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let pattern = folder.path().join("*.csv");
    append(&folder.path().join("a.csv"), "n,s\n1,a\n");
    let connector = declared(&pattern, &[]).expect("it can be followed");
    assert_eq!(connector.partitions(), 1);
    let mut source = connector.open().expect("it opens");
    assert_eq!(rows(&mut *source, 1), ["1|a"]);
    append(&folder.path().join("b.csv"), "s,n\nb,2\n");
    assert_eq!(rows(&mut *source, 1), ["2|b"]);
    append(&folder.path().join("a.csv"), "3,a\n");
    assert_eq!(rows(&mut *source, 1), ["3|a"]);
}

#[test]
fn a_file_may_come_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("later.ndjson");
    let mut source = followed(&path, &[]);
    assert_eq!(source.partitions(), 0);
    until(&mut *source, |_| true);
    append(&path, "{\"n\":1,\"s\":\"x\"}\n");
    assert_eq!(rows(&mut *source, 1), ["1|x"]);
    // Nothing could be compared with the columns before: a header names them all.
    let path = folder.path().join("later.csv");
    let mut source = followed(&path, &[]);
    append(&path, "n,t\n1,x\n");
    let came = until(&mut *source, |came| !came.ended.is_empty());
    assert_eq!(came.rejects[0].rule, "file");
    assert!(
        came.rejects[0].reason.contains("no column s"),
        "{:?}",
        came.rejects
    );
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_one_that_takes_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.ndjson");
    // Longer than one turn.
    let (before, after) = (200_000, 3);
    let line = |n: u64| format!("{{\"n\":{n},\"s\":\"a text of some length\"}}\n");
    append(&path, &line(0));
    let mut source = followed(&path, &[]);
    rows(&mut *source, 1);
    let mut writer = OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("it is there");
    let text: String = (1..before).map(line).collect();
    writer.write_all(text.as_bytes()).expect("written");
    fs::rename(&path, folder.path().join("a.old")).expect("renamed");
    append(
        &path,
        &(before..before + after).map(line).collect::<String>(),
    );
    let mut expected = 1;
    until(&mut *source, |_| true);
    while expected < before + after {
        let came = until(&mut *source, |came| came.count > 0);
        assert_eq!(came.rejects, vec![]);
        for row in came.rows {
            let n: u64 = row.split('|').next().expect("n").parse().expect("a number");
            assert!(n >= expected, "{n} after {expected}");
            expected = n;
        }
        expected += 1;
    }
    // Who still has the old file open may write to it; it is let go when he does not.
    writer.write_all(line(7).as_bytes()).expect("written");
    assert_eq!(rows(&mut *source, 1), ["7|a text of some length"]);
    let came = until(&mut *source, |came| !came.ended.is_empty());
    assert_eq!((came.count, came.ended), (0, vec![0]));
    append(&path, &line(8));
    assert_eq!(rows(&mut *source, 1), ["8|a text of some length"]);
}

#[test]
fn a_file_that_is_renamed_within_the_pattern_is_not_read_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
    append(&path, "n,s\n1,x\n");
    let options = [("format", "csv")];
    let mut source = followed(&folder.path().join("log*"), &options);
    assert_eq!(rows(&mut *source, 1), ["1|x"]);
    fs::rename(&path, &old).expect("renamed");
    append(&old, "2,x\n");
    append(&path, "n,s\n3,x\n");
    assert_eq!(rows(&mut *source, 2), ["2|x", "3|x"]);
    append(&old, "4,x\n");
    assert_eq!(rows(&mut *source, 1), ["4|x"]);
}

#[test]
fn a_file_that_is_cut_short_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.csv");
    append(&path, "n,s\n1,x\n2,cu");
    let mut source = followed(&path, &[]);
    rows(&mut *source, 1);
    // As `copytruncate` does it.
    let file = OpenOptions::new().write(true).open(&path);
    file.expect("it is there").set_len(0).expect("cut");
    let came = until(&mut *source, |came| came.rejects.len() == 2);
    let reasons: Vec<&str> = (came.rejects.iter())
        .map(|reject| &*reject.reason)
        .collect();
    assert!(
        reasons[0].contains("in the middle of a line"),
        "{reasons:?}"
    );
    assert_eq!(came.rejects[0].text, "2,cu");
    // That is a row, and the notice is none.
    assert!(came.rejects[0].is_row() && !came.rejects[1].is_row());
    assert!(
        reasons[1].contains("read again from its beginning"),
        "{reasons:?}"
    );
    append(&path, "s,n\ny,3\n");
    assert_eq!(rows(&mut *source, 1), ["3|y"]);
}

#[test]
fn a_deleted_file_is_let_go_with_what_was_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.ndjson");
    append(&path, "{\"n\":1,\"s\":\"x\"}\n{\"n\":2");
    let mut source = followed(
        &folder.path().join("*.ndjson"),
        &[("files_max", "1"), ("format", "ndjson")],
    );
    rows(&mut *source, 1);
    // There is no room for another one. That is told, and is no row.
    let other = folder.path().join("b.ndjson");
    append(&other, "{\"n\":9}\n");
    let came = until(&mut *source, |came| !came.rejects.is_empty());
    assert_eq!((came.count, came.rejects[0].is_row()), (0, false));
    assert!(came.rejects[0].reason.contains("files_max = 1"));
    fs::remove_file(&other).expect("deleted");
    fs::remove_file(&path).expect("deleted");
    let came = until(&mut *source, |came| !came.ended.is_empty());
    assert_eq!(came.rejects.len(), 1);
    assert_eq!(came.rejects[0].text, "{\"n\":2");
    // Another one has room now.
    append(&path, "{\"n\":3,\"s\":\"x\"}\n");
    assert_eq!(rows(&mut *source, 1), ["3|x"]);
}

#[test]
fn what_is_wrong_with_one_file_harms_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good.csv");
    append(&good, "n,s\n1,x\n");
    let options = [("format", "csv"), ("line_bytes_max", "65536")];
    let mut source = followed(&folder.path().join("*"), &options);
    rows(&mut *source, 1);
    let bad: [(&str, &[u8], &str); 3] = [
        ("a.csv.gz", b"\x1F\x8B", "is compressed"),
        ("b.csv", b"\xFF\xFEn\0", "UTF-16"),
        ("c.csv", b"x,y\n1,2\n", "column"),
    ];
    for (name, bytes, reason) in bad {
        fs::write(folder.path().join(name), bytes).expect("written");
        let came = until(&mut *source, |came| !came.ended.is_empty());
        assert_eq!(came.rejects.len(), 1);
        let reject = &came.rejects[0];
        assert!(reject.reason.contains(reason), "{reject:?} for {reason}");
        assert!(reject.position.ends_with(name), "{reject:?}");
    }
    // A line of 100 MB, written bit by bit, and one after it.
    let mut long = File::create(folder.path().join("long.csv")).expect("created");
    long.write_all(b"n,s\n").expect("written");
    for _ in 0..100 {
        long.write_all(&[b'x'; 1 << 20]).expect("written");
    }
    long.write_all(b"\n2,after\n").expect("written");
    let came = until(&mut *source, |came| came.count == 1);
    assert_eq!(
        (came.rows, came.rejects.len()),
        (vec!["2|after".to_owned()], 1)
    );
    assert!(
        came.rejects[0].reason.contains("65536"),
        "{:?}",
        came.rejects
    );
    append(&good, "3,y\n");
    assert_eq!(rows(&mut *source, 1), ["3|y"]);
}

#[test]
fn what_cannot_be_followed_is_refused_with_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.csv", "b.csv", "c.json", "d.parquet", "e.csv.gz"] {
        File::create(folder.path().join(name)).expect("created");
    }
    let refused = |name: &str, options: &[(&str, &str)]| {
        let refused = declared(&folder.path().join(name), options);
        refused.expect_err("it cannot be followed").to_string()
    };
    for (name, options, reason) in [
        ("c.json", &[][..], "format json cannot be followed"),
        ("d.parquet", &[], "format parquet cannot be followed"),
        (
            "none.csv",
            &[("format", "arrow")],
            "format arrow cannot be followed",
        ),
        ("e.csv.gz", &[], "e.csv.gz is compressed"),
        ("nowhere/a.csv", &[], "there is no folder"),
        ("*.csv", &[("files_max", "1")], "raise files_max"),
        ("a.csv", &[("follow", "")], "add follow = 'true'"),
        ("a.csv", &[("follow", "maybe")], "must be true or false"),
    ] {
        let message = refused(name, options);
        assert!(message.contains(reason), "{message} for {reason}");
    }
}
