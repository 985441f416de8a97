//! Files as they are seen from outside, before and after each event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, Int64Array};
use tempfile::TempDir;

use super::*;

fn rows(from: i64, to: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    RecordBatch::try_from_iter([("n", column)]).expect("one column")
}

fn options(path: &Path, more: &[(&str, &str)]) -> FileSinkOptions {
    let mut pairs = BTreeMap::from([("path".to_owned(), path.to_string_lossy().into_owned())]);
    pairs.extend(
        more.iter()
            .map(|(name, value)| (name.to_string(), value.to_string())),
    );
    FileSinkOptions::from_pairs(&pairs).expect("they fit").0
}

/// The visible names, and all of them.
fn names(folder: &TempDir) -> (Vec<String>, usize) {
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let all = names.len();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    (names, all)
}

fn text(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect("a file")
}

fn sink(options: FileSinkOptions) -> FileSink {
    FileSink::create(options, &rows(0, 0).schema()).expect("it can be created")
}

#[test]
fn a_file_appears_whole_at_the_end() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("out.csv"), "the old one").expect("written");
    let mut sink = sink(options(&folder.path().join("out.csv"), &[]));
    sink.write(&rows(0, 2)).expect("written");
    sink.flush().expect("flushed");
    assert_eq!(text(&folder, "out.csv"), "the old one");
    sink.write(&rows(2, 3)).expect("written");
    sink.finish().expect("finished");
    assert_eq!(text(&folder, "out.csv"), "n\n0\n1\n2\n");
    assert_eq!(names(&folder), (vec!["out.csv".to_owned()], 1));
    assert!(sink.write(&rows(3, 4)).is_err());
}

#[test]
fn an_abort_or_a_drop_leaves_nothing() {
    for aborted in [true, false] {
        let folder = TempDir::new().expect("a folder");
        for path in ["out.csv", "parts/"] {
            let mut sink = sink(options(&folder.path().join(path), &[("format", "csv")]));
            sink.write(&rows(0, 100_000)).expect("written");
            if aborted {
                sink.abort();
                sink.finish().expect("nothing is left to finish");
            }
        }
        // A folder that was made for it is taken away by an abort.
        let parts = fs::read_dir(folder.path().join("parts")).map(Iterator::count);
        assert_eq!(parts.ok(), (!aborted).then_some(0));
        assert_eq!(names(&folder).1, usize::from(!aborted));
    }
}

#[test]
fn a_stop_leaves_the_old_file_and_the_parts_that_are_complete() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("out.csv");
    fs::write(&path, "the old one").expect("written");
    let mut file = sink(options(&path, &[]));
    file.write(&rows(0, 3)).expect("written");
    let missing = file.stop().expect("stopped").expect("it is missing");
    assert_eq!(missing, format!("'{}'", path.display()));
    assert_eq!(text(&folder, "out.csv"), "the old one");
    assert_eq!(names(&folder).1, 1);

    let path = folder.path().join("parts");
    let mut parts = sink(options(&path, &[("format", "csv"), ("roll_rows", "2")]));
    parts.write(&rows(0, 3)).expect("written");
    let missing = parts.stop().expect("stopped").expect("it is missing");
    assert_eq!(missing, format!("the last part of '{}'", path.display()));
    assert_eq!(text(&folder, "parts/part-00000.csv"), "n\n0\n1\n");
    assert_eq!(fs::read_dir(&path).expect("a folder").count(), 1);
}

#[test]
fn a_folder_of_parts_is_not_added_to_unasked() {
    let folder = TempDir::new().expect("a folder");
    let write = |more: &[(&str, &str)], from| {
        let more = [&[("format", "csv"), ("header", "false")], more].concat();
        let mut sink = FileSink::create(options(folder.path(), &more), &rows(0, 0).schema())?;
        sink.write(&rows(from, from + 1)).expect("written");
        sink.finish().expect("finished");
        Ok::<_, Error>(())
    };
    write(&[("roll_rows", "1")], 0).expect("nothing is there");
    let error = write(&[], 1).expect_err("a part is there");
    assert!(error.message().ends_with("holds parts already"), "{error}");
    assert!(error.to_string().contains("existing = 'append'"), "{error}");
    write(&[("existing", "append")], 2).expect("it is asked for");
    assert_eq!(text(&folder, "part-00000.csv"), "0\n");
    assert_eq!(text(&folder, "part-00001.csv"), "2\n");
    write(&[("existing", "replace")], 3).expect("it is asked for");
    assert_eq!(names(&folder), (vec!["part-00000.csv".to_owned()], 1));
    assert_eq!(text(&folder, "part-00000.csv"), "3\n");
}

#[test]
fn parts_hold_so_many_rows_and_go_on_where_others_ended() {
    let folder = TempDir::new().expect("a folder");
    let more = [
        ("format", "csv"),
        ("roll_rows", "3"),
        ("header", "false"),
        ("existing", "append"),
    ];
    for _ in 0..2 {
        let mut sink = sink(options(folder.path(), &more));
        sink.write(&rows(0, 2)).expect("written");
        assert!(
            names(&folder).0.len().is_multiple_of(3),
            "no part is complete"
        );
        sink.write(&rows(2, 7)).expect("written");
        sink.finish().expect("finished");
    }
    let (names, all) = names(&folder);
    assert_eq!((names.len(), all), (6, 6));
    let texts: Vec<_> = names.iter().map(|name| text(&folder, name)).collect();
    assert_eq!(names[0], "part-00000.csv");
    assert_eq!(names[5], "part-00005.csv");
    assert_eq!(texts[..3], ["0\n1\n2\n", "3\n4\n5\n", "6\n"]);
    assert_eq!(texts[..3], texts[3..]);
}

#[test]
fn a_part_that_another_writer_made_meanwhile_stays() {
    let folder = TempDir::new().expect("a folder");
    let mut sink = sink(options(folder.path(), &[("format", "csv")]));
    sink.write(&rows(0, 1)).expect("written");
    fs::write(folder.path().join("part-00000.csv"), "another's").expect("written");
    sink.finish().expect("finished");
    assert_eq!(text(&folder, "part-00000.csv"), "another's");
    assert_eq!(text(&folder, "part-00001.csv"), "n\n0\n");
}

#[test]
fn a_part_is_published_when_its_time_is_over() {
    let folder = TempDir::new().expect("a folder");
    let seconds = Arc::new(AtomicU64::new(0));
    let (start, now) = (Instant::now(), seconds.clone());
    let options = options(
        folder.path(),
        &[("format", "ndjson"), ("roll_interval", "10 s")],
    );
    let clock = move || start + Duration::from_secs(now.load(Ordering::Relaxed));
    let mut sink = FileSink::with_clock(options, &rows(0, 0).schema(), Box::new(clock))
        .expect("it can be created");
    sink.write(&rows(0, 1)).expect("written");
    seconds.store(9, Ordering::Relaxed);
    sink.flush().expect("flushed");
    assert_eq!(names(&folder).0.len(), 0);
    seconds.store(10, Ordering::Relaxed);
    sink.flush().expect("flushed");
    assert_eq!(text(&folder, "part-00000.ndjson"), "{\"n\":0}\n");
    sink.write(&rows(1, 2)).expect("written");
    seconds.store(20, Ordering::Relaxed);
    sink.write(&rows(2, 3)).expect("written");
    assert_eq!(text(&folder, "part-00001.ndjson"), "{\"n\":1}\n");
    // No row has to come for it.
    seconds.store(30, Ordering::Relaxed);
    sink.tick().expect("published");
    assert_eq!(text(&folder, "part-00002.ndjson"), "{\"n\":2}\n");
    sink.finish().expect("finished");
    assert_eq!(names(&folder), (names(&folder).0, 3));
}

#[test]
fn a_result_without_rows_is_a_whole_file_and_no_part() {
    let folder = TempDir::new().expect("a folder");
    let mut file = sink(options(&folder.path().join("result.json"), &[]));
    file.finish().expect("finished");
    assert_eq!(text(&folder, "result.json"), "[]\n");
    let mut parts = sink(options(
        &folder.path().join("parts/"),
        &[("format", "parquet")],
    ));
    parts.finish().expect("finished");
    assert_eq!(
        fs::read_dir(folder.path().join("parts"))
            .expect("a folder")
            .count(),
        0
    );
}

#[cfg(unix)]
#[test]
fn a_file_is_readable_as_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().expect("a folder");
    sink(options(&folder.path().join("out.csv"), &[]))
        .finish()
        .expect("finished");
    fs::write(folder.path().join("other"), "").expect("written");
    let mode = |name| {
        let metadata = fs::metadata(folder.path().join(name)).expect("a file");
        metadata.permissions().mode()
    };
    assert_eq!(mode("out.csv"), mode("other"));
}

#[cfg(unix)]
#[test]
fn what_is_replaced_keeps_its_mode_and_its_links() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = TempDir::new().expect("a folder");
    let elsewhere = TempDir::new().expect("a folder");
    let old = elsewhere.path().join("real.csv");
    fs::write(&old, "the old one").expect("written");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let link = folder.path().join("out.csv");
    symlink(&old, &link).expect("made");
    let mut sink = sink(options(&link, &[]));
    // The temporary file stands beside the target, and is as secret.
    assert_eq!(names(&folder).1, 1);
    for entry in fs::read_dir(elsewhere.path()).expect("a folder") {
        let metadata = entry.expect("readable").metadata().expect("a file");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    sink.write(&rows(0, 1)).expect("written");
    sink.finish().expect("finished");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert_eq!(fs::read_to_string(&old).expect("a file"), "n\n0\n");
    let mode = fs::metadata(&old).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("socket.csv");
    let _held = std::os::unix::net::UnixListener::bind(&path).expect("made");
    let error = FileSink::create(options(&path, &[]), &rows(0, 0).schema());
    let text = error.expect_err("a socket").to_string();
    assert!(text.contains("it is a socket, not a file"), "{text}");
    assert!(text.contains("help: "), "{text}");
    assert_eq!(names(&folder).1, 1);
}

#[test]
fn errors_say_what_to_change() {
    let folder = TempDir::new().expect("a folder");
    let missing = folder.path().join("none").join("out.csv");
    let error = FileSink::create(options(&missing, &[]), &rows(0, 0).schema());
    let text = error.expect_err("no folder").to_string();
    assert!(text.contains("help: create the folder '"), "{text}");
    assert!(!text.contains("tmp\""), "{text}");

    let path = folder.path().join("out.csv");
    fs::write(&path, "").expect("written");
    let error = FileSink::create(options(&path, &[("roll_rows", "5")]), &rows(0, 0).schema());
    assert!(
        error
            .expect_err("a file")
            .message()
            .ends_with("must be a folder, not a file")
    );

    for (pairs, message) in [
        (vec![], "a file sink needs the option path"),
        (
            vec![("path", "out")],
            "the name 'out' does not tell the format",
        ),
        (
            vec![("path", "a.csv"), ("format", "cvs")],
            "unknown format 'cvs'",
        ),
        (
            vec![("path", "a.csv"), ("roll_rows", "0")],
            "option roll_rows is '0', but must be a whole number of at least 1",
        ),
    ] {
        let pairs = (pairs.into_iter())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let error = FileSinkOptions::from_pairs(&pairs).expect_err("it does not fit");
        assert_eq!(error.message(), message);
    }
}

#[test]
fn names_tell_how_to_write() {
    let of = |path: &str| options(Path::new(path), &[]);
    assert_eq!(of("a.csv.gz").encode.compression, Some(Compression::Gzip));
    assert_eq!(of("a.tsv").encode.delimiter, b'\t');
    assert!(of("a.arrow").encode.arrow_file);
    assert!(!of("a.arrows").encode.arrow_file);
}
