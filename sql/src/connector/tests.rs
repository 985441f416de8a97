use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use tempfile::TempDir;
use windrow_core::stream::{Reject, Source, SourceEvent};

use super::SourceOptions;
use super::file::{FileSource, expand};
use super::stdin::StdinSource;
use crate::error::{Error, ErrorKind};
use crate::format::testing::{reasons, schema, shown, timestamp};
use crate::format::{Compression, Format, FormatOptions, infer};

const LONG: Duration = Duration::from_secs(60);

/// Everything that a source gives.
#[derive(Debug, Default, PartialEq)]
struct All {
    rows: Vec<String>,
    rejects: Vec<Reject>,
    bytes: u64,
    /// The partition of each batch that has rows, and `-n` − 1 for the end of one.
    order: Vec<i64>,
    batch_rows: usize,
}

fn try_all(source: &mut dyn Source) -> windrow_core::Result<All> {
    let mut all = All::default();
    loop {
        match source.poll(LONG)? {
            SourceEvent::Batch {
                partition,
                records,
                rejected,
                origin: _,
                bytes,
            } => {
                assert_eq!(records.schema(), source.schema());
                all.batch_rows = all.batch_rows.max(records.num_rows());
                all.rows.extend(shown(&records));
                all.rejects.extend(rejected);
                all.bytes += bytes;
                if all.order.last() != Some(&i64::from(partition)) {
                    all.order.push(partition.into());
                }
            }
            SourceEvent::PartitionEnd(partition) => all.order.push(-i64::from(partition) - 1),
            event
            @ (SourceEvent::Pending | SourceEvent::Watermark(_) | SourceEvent::Dropped(_)) => {
                panic!("{event:?}")
            }
            SourceEvent::End => {
                assert!(matches!(source.poll(LONG), Ok(SourceEvent::End)));
                return Ok(all);
            }
        }
    }
}

fn all(source: &mut dyn Source) -> All {
    try_all(source).expect("it can be read")
}

fn small() -> SourceOptions {
    SourceOptions {
        batch_rows: 3,
        batch_bytes: 16,
        queue_rows: 5,
        workers: 2,
    }
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    path
}

fn open(paths: Vec<PathBuf>, schema: Option<SchemaRef>) -> FileSource {
    FileSource::open(paths, schema, &FormatOptions::default(), &small()).expect("opens")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn files_are_partitions_in_the_order_of_their_names() {
    let folder = folder();
    let rows = |from: usize| -> String { (from..from + 20).map(|n| format!("{n},x\n")).collect() };
    let b = write(&folder, "b.csv", format!("n,s\n{}", rows(20)));
    let a = write(
        &folder,
        "a.csv",
        format!("n,s\r\n{}", rows(0).replace('\n', "\r\n")),
    );
    // Other columns in another order, and no line end.
    let c = write(&folder, "c.csv", "extra,s,n\n1,y,40\n2,y,bad\n3,y,41");
    let header = write(&folder, "d.csv", "n,s\n");
    let empty = write(&folder, "e.csv", "");
    let paths = vec![c.clone(), b, a, empty, header];
    let sizes: u64 = paths
        .iter()
        .map(|path| path.metadata().expect("there").len())
        .sum();
    let mut source = open(paths, None);
    assert_eq!(
        source.schema(),
        schema(&[
            ("n", DataType::Int64),
            ("s", DataType::Utf8),
            ("extra", DataType::Int64),
        ])
    );
    assert_eq!(source.partitions(), 5);
    assert_eq!(source.bytes_total(), Some(sizes));
    assert!(!source.is_live());
    let all = all(&mut source);
    let expected: Vec<String> = (0..40)
        .map(|n| format!("{n}|x|-"))
        .chain(["40|y|1".into(), "41|y|3".into()])
        .collect();
    assert_eq!(all.rows, expected);
    assert_eq!(all.order, [0, -1, 1, -2, 2, -3, 3, -4, -5]);
    assert_eq!(all.bytes, sizes);
    assert_eq!(all.batch_rows, 3);
    let position = format!("{}:3 type: column n: 'bad' is not a BIGINT", c.display());
    assert_eq!(reasons(&all.rejects), [position]);
}

#[test]
fn compressed_files_are_read() {
    let folder = folder();
    let text: String = (0..1000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let (one, two) = text.split_at(text.len() / 2);
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("written");
        encoder.finish().expect("written")
    };
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).expect("written");
    let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    for (name, bytes) in [
        ("a.ndjson.gz", [gzip(one), gzip(two)].concat()),
        ("a.jsonl.zst", [zstd(one), zstd(two)].concat()),
    ] {
        let mut source = open(vec![write(&folder, name, &bytes)], None);
        let all = all(&mut source);
        assert_eq!(all.rows, expected);
        assert_eq!(all.bytes, bytes.len() as u64);
    }
    let cut = gzip(&text);
    let mut source = open(
        vec![write(&folder, "cut.ndjson.gz", &cut[..cut.len() / 2])],
        Some(schema(&[("n", DataType::Int64)])),
    );
    let error = try_all(&mut source).expect_err("it is cut short");
    assert!(error.to_string().starts_with("reading "), "{error}");
    assert!(matches!(source.poll(LONG), Ok(SourceEvent::End)));
}

fn sample_batch(from: i64, rows: i64) -> RecordBatch {
    let numbers = from..from + rows;
    let ts: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(numbers.clone()));
    let n: ArrayRef = Arc::new(Int64Array::from_iter(
        numbers.clone().map(|n| (n % 5 != 0).then_some(n)),
    ));
    let s: ArrayRef = Arc::new(StringArray::from_iter_values(
        numbers.clone().map(|n| format!("s{n}")),
    ));
    let l: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
        numbers.map(|n| Some(vec![Some(n)])),
    ));
    RecordBatch::try_from_iter_with_nullable([
        ("ts", ts, false),
        ("n", n, true),
        ("s", s, false),
        ("l", l, true),
    ])
    .expect("columns")
}

fn write_columnar(folder: &TempDir) -> [PathBuf; 3] {
    let batches = [
        sample_batch(0, 10),
        sample_batch(10, 0),
        sample_batch(10, 7),
    ];
    let path = |name: &str| folder.path().join(name);
    let paths = [path("a.parquet"), path("a.arrow"), path("b.arrow")];
    let create = |path: &Path| File::create(path).expect("created");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(4))
        .build();
    let schema = batches[0].schema();
    let mut parquet =
        ArrowWriter::try_new(create(&paths[0]), schema.clone(), Some(properties)).expect("opens");
    let mut file = FileWriter::try_new(create(&paths[1]), &schema).expect("opens");
    let mut stream = StreamWriter::try_new(create(&paths[2]), &schema).expect("opens");
    for batch in &batches {
        parquet.write(batch).expect("written");
        file.write(batch).expect("written");
        stream.write(batch).expect("written");
    }
    parquet.close().expect("written");
    file.finish().expect("written");
    stream.finish().expect("written");
    paths
}

#[test]
fn columnar_files_keep_their_types() {
    let folder = folder();
    for path in write_columnar(&folder) {
        let mut source = open(vec![path.clone()], None);
        let declared = source.schema();
        assert_eq!(
            declared.field(0).data_type(),
            &DataType::Timestamp(TimeUnit::Millisecond, None)
        );
        assert!(declared.fields().iter().all(|field| field.is_nullable()));
        let all = all(&mut source);
        assert_eq!(
            all.rows,
            shown(
                &arrow::compute::concat_batches(
                    &sample_batch(0, 0).schema(),
                    &[sample_batch(0, 17)]
                )
                .expect("one batch")
            )
        );
        assert_eq!(all.rejects, []);
        assert_eq!(all.batch_rows, 3);
        assert_eq!(
            all.bytes,
            path.metadata().expect("there").len(),
            "{}",
            path.display()
        );
        assert_eq!(*all.order.last().expect("an end"), -1);
    }
}

#[test]
fn columnar_files_are_fitted_to_the_declared_columns() {
    let folder = folder();
    let columns = schema(&[
        ("S", DataType::Int64),
        ("ts", timestamp()),
        ("gone", DataType::Utf8),
        ("n", DataType::Int8),
    ]);
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![1, 200, 3]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["7", "8", "x"]));
    let ts: ArrayRef =
        Arc::new(TimestampMillisecondArray::from(vec![0, 1, 2]).with_timezone("Asia/Shanghai"));
    let batch =
        RecordBatch::try_from_iter([("n", wide), ("s", text), ("ts", ts)]).expect("columns");
    let path = folder.path().join("a.arrow");
    let mut file =
        FileWriter::try_new(File::create(&path).expect("created"), &batch.schema()).expect("opens");
    file.write(&batch).expect("written");
    file.finish().expect("written");
    let result = all(&mut open(vec![path.clone()], Some(columns)));
    assert_eq!(result.rows, ["7|1970-01-01T00:00:00|-|1"]);
    assert_eq!(result.rejects[1].text, "x");
    let name = path.display().to_string();
    assert_eq!(
        reasons(&result.rejects),
        [
            format!("{name}:2 type: column n: '200' is out of range for TINYINT"),
            format!("{name}:3 type: column S: 'x' is not a BIGINT"),
        ]
    );
    let error = try_all(&mut open(
        vec![path.clone()],
        Some(schema(&[("n", timestamp())])),
    ))
    .expect_err("an epoch");
    assert_eq!(
        Error::from(error).to_string(),
        format!(
            "{name}: column n is BIGINT in the file and cannot be read as TIMESTAMP\n   = help: integer epochs need their unit: declare n as BIGINT and use to_timestamp_millis or one of its kin"
        )
    );
    let error = try_all(&mut open(
        vec![path],
        Some(schema(&[("m", DataType::Utf8)])),
    ))
    .expect_err("no column");
    assert_eq!(
        error.to_string(),
        format!("{name}: it has none of the columns (m); it has n, s, ts")
    );
}

#[test]
fn damaged_columnar_files_are_errors() {
    let folder = folder();
    for name in ["x.parquet", "x.arrow"] {
        let path = write(&folder, name, "this is neither");
        let error = infer(&path, &FormatOptions::default()).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Data);
        let source = FileSource::open(
            vec![path],
            Some(schema(&[("n", DataType::Int64)])),
            &FormatOptions::default(),
            &small(),
        );
        try_all(&mut source.expect("opens")).expect_err("damaged");
    }
    for path in write_columnar(&folder) {
        let bytes = fs::read(&path).expect("there");
        let cut = write(
            &folder,
            &format!("cut-{}", path.file_name().expect("a name").display()),
            &bytes[..bytes.len() - 20],
        );
        let columns = sample_batch(0, 0).schema();
        let source = FileSource::open(
            vec![cut],
            Some(columns),
            &FormatOptions::default(),
            &small(),
        );
        // A stream of Arrow may miss its last mark; what has come is given.
        let _rows_or_error = try_all(&mut source.expect("opens"));
    }
}

#[test]
fn patterns_stand_for_files() {
    let folder = folder();
    for name in [
        "b.csv",
        "a.csv",
        "c.json",
        "notes.txt",
        ".hidden.csv",
        "x[1].csv",
    ] {
        write(&folder, name, "n\n1\n");
    }
    fs::create_dir(folder.path().join("sub")).expect("created");
    write(&folder, "sub/d.csv", "n\n1\n");
    let root = folder.path().display().to_string();
    let names = |pattern: &str| -> Vec<String> {
        expand(&format!("{root}/{pattern}"))
            .expect("matches")
            .iter()
            .map(|path| {
                path.strip_prefix(folder.path())
                    .expect("inside")
                    .display()
                    .to_string()
            })
            .collect()
    };
    assert_eq!(names("a.csv"), ["a.csv"]);
    assert_eq!(names("[ab].csv"), ["a.csv", "b.csv"]);
    // Neither what is hidden nor a link that leads nowhere.
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.clone() + "/gone.csv", folder.path().join("link.csv"))
        .expect("linked");
    assert_eq!(names("*.csv"), ["a.csv", "b.csv", "x[1].csv"]);
    assert_eq!(names("x[1].csv"), ["x[1].csv"]);
    assert_eq!(names("**/d.csv"), ["sub/d.csv"]);
    assert_eq!(names(""), ["a.csv", "b.csv", "c.json", "x[1].csv"]);

    let error = |pattern: &str| {
        expand(&format!("{root}/{pattern}"))
            .expect_err(pattern)
            .to_string()
    };
    assert_eq!(
        error("notes.tx"),
        format!("no file matches '{root}/notes.tx'\n   = help: did you mean '{root}/notes.txt'?")
    );
    assert_eq!(
        error("none/a.csv"),
        format!("no file matches '{root}/none/a.csv'\n   = help: there is no folder {root}/none")
    );
    assert_eq!(
        error("*.cvs"),
        format!(
            "no file matches '{root}/*.cvs'\n   = help: {root} holds a.csv, b.csv, c.json, notes.txt, x[1].csv"
        )
    );
    assert_eq!(
        error("quarterly-results"),
        format!(
            "no file matches '{root}/quarterly-results'\n   = help: {root} holds a.csv, b.csv, c.json, notes.txt, x[1].csv"
        )
    );
    assert!(error("[").contains("is no pattern of file names"));
    fs::create_dir(folder.path().join("none")).expect("created");
    assert!(error("none").contains("holds no file of a known format"));

    let open = |name: &str, options: &FormatOptions| {
        FileSource::open(vec![folder.path().join(name)], None, options, &small())
            .expect_err(name)
            .to_string()
    };
    assert!(open("gone.csv", &FormatOptions::default()).contains("no file matches"));
    assert!(open("notes.txt", &FormatOptions::default()).contains("the format of"));
}

#[test]
fn dropping_a_source_stops_it() {
    let folder = folder();
    let rows: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    let path = write(&folder, "a.csv", format!("n\n{rows}"));
    let mut source = open(vec![path], None);
    assert!(matches!(source.poll(LONG), Ok(SourceEvent::Batch { .. })));
    let started = Instant::now();
    drop(source);
    assert!(started.elapsed() < Duration::from_secs(1));
}

/// A pipe whose writer is in the test.
struct Pipe {
    came: Receiver<Vec<u8>>,
    rest: Vec<u8>,
}

impl Pipe {
    fn open() -> (Sender<Vec<u8>>, Box<dyn Read + Send>) {
        let (writer, came) = channel();
        (
            writer,
            Box::new(Self {
                came,
                rest: Vec::new(),
            }),
        )
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.came.recv().unwrap_or_default();
        }
        let len = self.rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.rest[..len]);
        self.rest.drain(..len);
        Ok(len)
    }
}

fn stdin(
    reader: Box<dyn Read + Send>,
    schema: Option<SchemaRef>,
    format: &FormatOptions,
) -> StdinSource {
    StdinSource::open(reader, schema, format, &small()).expect("opens")
}

fn next_rows(source: &mut dyn Source) -> Vec<String> {
    match source.poll(LONG).expect("an event") {
        SourceEvent::Batch { records, .. } => shown(&records),
        event => panic!("not rows: {event:?}"),
    }
}

#[test]
fn a_pipe_gives_what_has_come_at_once() {
    let (writer, reader) = Pipe::open();
    writer.send(b"n,s\n1,a\n2,\"b".to_vec()).expect("read");
    let mut source = stdin(reader, None, &FormatOptions::default());
    assert_eq!(
        source.schema(),
        schema(&[("n", DataType::Float64), ("s", DataType::Utf8)])
    );
    assert_eq!(next_rows(&mut source), ["1.0|a"]);
    assert!(matches!(
        source.poll(Duration::ZERO),
        Ok(SourceEvent::Pending)
    ));
    writer.send(b"\nb\"\n3,c".to_vec()).expect("read");
    assert_eq!(next_rows(&mut source), ["2.0|b\nb"]);
    writer.send(b"\n".to_vec()).expect("read");
    assert_eq!(next_rows(&mut source), ["3.0|c"]);
    drop(writer);
    assert!(matches!(
        source.poll(LONG),
        Ok(SourceEvent::PartitionEnd(0))
    ));
    assert!(matches!(source.poll(LONG), Ok(SourceEvent::End)));
    assert!(!source.is_live());
    assert_eq!(source.bytes_total(), None);
}

#[test]
fn a_pipe_tells_its_format() {
    let ndjson = b"{\"n\":1}\n{\"n\":2}\n".to_vec();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&ndjson).expect("written");
        encoder.finish().expect("written")
    };
    let zstd = zstd::encode_all(&ndjson[..], 1).expect("written");
    let batch =
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)])
            .expect("a column");
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("opens");
    stream.write(&batch).expect("written");
    let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).expect("opens");
    file.write(&batch).expect("written");
    file.finish().expect("written");
    for bytes in [
        ndjson,
        b"[{\"n\":1},\n{\"n\":2}]".to_vec(),
        b"\xEF\xBB\xBFn\n1\n2".to_vec(),
        gzip,
        zstd,
        stream.into_inner().expect("written"),
        file.into_inner().expect("written"),
    ] {
        let mut source = stdin(
            Box::new(io::Cursor::new(bytes.clone())),
            None,
            &FormatOptions::default(),
        );
        let all = all(&mut source);
        assert_eq!(all.rows, ["1", "2"], "{bytes:?}");
        assert_eq!(all.order, [0, -1]);
        if !bytes.starts_with(b"ARROW1") {
            assert_eq!(all.bytes, bytes.len() as u64);
        }
    }
    let refused = |bytes: &'static [u8], options: &FormatOptions| {
        StdinSource::open(Box::new(bytes), None, options, &small())
            .expect_err("refused")
            .to_string()
    };
    assert!(
        refused(b"PAR1....", &FormatOptions::default())
            .starts_with("Parquet cannot be read from a pipe")
    );
    assert!(refused(b"", &FormatOptions::default()).starts_with("stdin: it holds no row"));
    let gzip = FormatOptions {
        compression: Some(Compression::Gzip),
        ..FormatOptions::default()
    };
    assert!(refused(b"n\n1\n", &gzip).starts_with("reading stdin: "));
    let arrow = FormatOptions {
        format: Some(Format::Arrow),
        ..FormatOptions::default()
    };
    assert!(refused(b"n\n1\n", &arrow).starts_with("stdin cannot be read as Arrow IPC"));
}

#[test]
fn a_failing_pipe_is_an_error() {
    struct Broken(u8);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::Interrupted.into()),
                2 => {
                    buffer[0] = b'n';
                    Ok(1)
                }
                _ => Err(io::Error::other("the line is dead")),
            }
        }
    }
    let columns = schema(&[("n", DataType::Int64)]);
    let options = FormatOptions {
        format: Some(Format::Csv),
        ..FormatOptions::default()
    };
    let mut source = stdin(Box::new(Broken(0)), Some(columns), &options);
    let error = try_all(&mut source).expect_err("dead");
    assert_eq!(error.to_string(), "reading stdin: the line is dead");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn the_same_rows_whatever_the_threads_and_the_chunks(
        fields in prop::collection::vec("[a\",\n0-9é]{0,5}", 1..200),
        workers in 1usize..5, batch_bytes in prop::sample::select(vec![1, 10, 100, 4 << 20]),
        batch_rows in 1usize..50, queue_rows in 1usize..100, cut in 1usize..50,
    ) {
        let folder = folder();
        let text: String = (fields.iter().enumerate())
            .map(|(index, field)| match index % 9 {
                8 => format!("{index},x,x\n"),
                _ => format!("{index},\"{}\"\n", field.replace('"', "\"\"")),
            })
            .collect();
        let path = write(&folder, "a.csv", format!("n,s\n{text}"));
        let bytes = 4 + text.len() as u64;
        let expected: Vec<String> = (fields.iter().enumerate())
            .filter(|(index, _)| index % 9 != 8)
            .map(|(index, field)| format!("{index}|{field}"))
            .collect();
        let options = SourceOptions { batch_rows, batch_bytes, queue_rows, workers };
        let columns = schema(&[("n", DataType::Int64), ("s", DataType::Utf8)]);
        let format = FormatOptions::default();
        let mut source = FileSource::open(vec![path], Some(columns.clone()), &format, &options).expect("opens");
        let from_file = all(&mut source);
        prop_assert_eq!(&from_file.rows, &expected);
        prop_assert_eq!(from_file.rejects.len(), fields.len() - expected.len());
        prop_assert_eq!(from_file.bytes, bytes);
        prop_assert!(from_file.batch_rows <= batch_rows);

        let (writer, reader) = Pipe::open();
        for part in format!("n,s\n{text}").into_bytes().chunks(cut) {
            writer.send(part.to_vec()).expect("the pipe is open");
        }
        drop(writer);
        let mut source = StdinSource::open(reader, Some(columns), &format, &options).expect("opens");
        let from_pipe = all(&mut source);
        prop_assert_eq!(&from_pipe.rows, &expected);
        prop_assert_eq!(reasons(&from_pipe.rejects).len(), from_file.rejects.len());
        prop_assert_eq!(from_pipe.bytes, bytes);
    }
}
