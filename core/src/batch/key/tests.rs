//! Ids against a naive map from keys to ids, over columns of every kind of type.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::*;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;

use super::KeyInterner;

/// A type with values to draw from.
#[derive(Debug, Clone)]
struct Pool {
    values: ArrayRef,
    /// `[values]`: the place of the value that stands for all those that are one key
    /// with it; `None` for NULL.
    class: Vec<Option<usize>>,
}

impl Pool {
    /// Values that are all different.
    fn distinct(values: impl Array + 'static) -> Self {
        Self {
            class: (0..values.len()).map(Some).collect(),
            values: Arc::new(values),
        }
    }

    fn strings(data_type: &DataType) -> Self {
        let prefix = "0123456789abcdef";
        let long = [prefix; 9].concat();
        let strings = vec![
            "".into(),
            "a".into(),
            "a\0".into(),
            "a\0\0".into(),
            "\0".into(),
            "b".into(),
            "twelve bytes".into(),
            "thirteen byte".into(),
            prefix[..15].to_owned(),
            prefix.to_owned(),
            format!("{}\0", &prefix[..15]),
            format!("{}\u{f}", &prefix[..15]),
            format!("{}\u{10}", &prefix[..15]),
            format!("{prefix}\0"),
            format!("{prefix}\0\0"),
            format!("{prefix}x"),
            format!("{prefix}y"),
            format!("{prefix}{prefix}"),
            long.clone(),
            format!("{long}x"),
            format!("x{long}"),
        ];
        let strings = StringArray::from(strings);
        Self::distinct_of(cast(&strings, data_type).expect("strings"))
    }

    fn distinct_of(values: ArrayRef) -> Self {
        Self {
            class: (0..values.len()).map(Some).collect(),
            values,
        }
    }

    fn floats(data_type: &DataType) -> Self {
        let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63);
        let values = vec![
            0.0,
            -0.0,
            f64::NAN,
            negative_nan,
            1.5,
            -1.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        let values = Float64Array::from(values);
        Self {
            values: cast(&values, data_type).expect("floats"),
            class: [0, 0, 2, 2, 4, 5, 6, 7].map(Some).to_vec(),
        }
    }

    /// Entries that stand twice, NULL entries, and a key that is NULL.
    fn dictionary<K: ArrowDictionaryKeyType>() -> Self {
        let entries =
            StringArray::from(vec![Some("a"), Some("b"), None, Some("a"), Some(""), None]);
        let keys = UInt8Array::from(vec![
            Some(1),
            Some(0),
            Some(3),
            Some(2),
            Some(5),
            None,
            Some(4),
        ]);
        let keys = cast(&keys, &K::DATA_TYPE).expect("small numbers");
        let keys = keys.as_primitive::<K>().clone();
        let values = DictionaryArray::new(keys, Arc::new(entries));
        Self {
            values: Arc::new(values),
            class: vec![Some(0), Some(1), Some(1), None, None, None, Some(6)],
        }
    }

    fn lists() -> Self {
        let item = Arc::new(Field::new_list_field(DataType::Float64, true));
        let floats = Float64Array::from(vec![
            Some(0.0),
            Some(-0.0),
            Some(1.0),
            None,
            Some(f64::NAN),
            Some(-f64::NAN),
        ]);
        // [0], [-0], [], [1, NULL], [NaN], [-NaN], NULL
        let offsets = OffsetBuffer::from_lengths([1, 1, 0, 2, 1, 1, 0]);
        let nulls = NullBuffer::from(vec![true, true, true, true, true, true, false]);
        Self {
            values: Arc::new(ListArray::new(item, offsets, Arc::new(floats), Some(nulls))),
            class: vec![Some(0), Some(0), Some(2), Some(3), Some(4), Some(4), None],
        }
    }

    fn structs() -> Self {
        let tags: DictionaryArray<Int32Type> = [Some("x"), Some("x"), None, Some("y"), Some("x")]
            .into_iter()
            .collect();
        let floats = Float32Array::from(vec![0.0, -0.0, 1.0, 1.0, 1.0]);
        let fields = vec![
            (
                Arc::new(Field::new("tag", tags.data_type().clone(), true)),
                Arc::new(tags) as ArrayRef,
            ),
            (
                Arc::new(Field::new("value", DataType::Float32, true)),
                Arc::new(floats) as ArrayRef,
            ),
        ];
        Self {
            values: Arc::new(StructArray::from(fields)),
            class: vec![Some(0), Some(0), Some(2), Some(3), Some(4)],
        }
    }

    fn decimals() -> Self {
        let values = Decimal128Array::from(vec![0, 1, -1, i128::from(i64::MAX) + 1])
            .with_precision_and_scale(30, 4)
            .expect("fits");
        Self::distinct(values)
    }

    fn integers(values: Vec<i64>, data_type: &DataType) -> Self {
        let values = Int64Array::from(values);
        Self::distinct_of(cast(&values, data_type).expect("in range"))
    }

    fn all() -> Vec<Self> {
        use DataType::*;
        vec![
            Self::strings(&Utf8),
            Self::strings(&LargeUtf8),
            Self::strings(&Utf8View),
            Self::strings(&Binary),
            Self::strings(&LargeBinary),
            Self::strings(&BinaryView),
            Self::distinct(
                FixedSizeBinaryArray::try_from_iter([*b"abc", *b"ab\0", *b"\0\0\0"].iter())
                    .expect("of one length"),
            ),
            Self::distinct(
                FixedSizeBinaryArray::try_from_iter([[0; 20], [1; 20], [2; 20]].iter())
                    .expect("of one length"),
            ),
            Self::distinct(BooleanArray::from(vec![true, false])),
            Self::integers(vec![-128, -1, 0, 1, 127], &Int8),
            Self::integers(vec![0, 1, 255], &UInt8),
            Self::integers(vec![-70_000, -1, 0, 1, 65_535, 65_536], &Int32),
            Self::integers(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX], &Int64),
            Self::distinct(UInt64Array::from(vec![0, 1, u64::MAX, 1 << 63])),
            Self::integers(vec![-1, 0, 20_000], &Date32),
            Self::integers(
                vec![i64::MIN, 0, 1_700_000_000_000_000],
                &Timestamp(TimeUnit::Microsecond, Some("+08:00".into())),
            ),
            Self::floats(&Float64),
            Self::floats(&Float32),
            Self::floats(&Float16),
            Self::dictionary::<Int8Type>(),
            Self::dictionary::<UInt64Type>(),
            Self::lists(),
            Self::structs(),
            Self::decimals(),
        ]
    }
}

/// Columns drawn from pools, and for each row its key as the classes of its values.
struct Rows {
    columns: Vec<ArrayRef>,
    keys: Vec<Vec<Option<usize>>>,
}

/// Rows at places of the pools; `usize::MAX` is NULL. The first `skip` rows are cut
/// off as a slice, so that the arrays have offsets.
fn rows(pools: &[Pool], picks: &[Vec<usize>], skip: usize) -> Rows {
    let skip = skip.min(picks.len());
    let place = |pool: &Pool, pick: usize| (pick != usize::MAX).then(|| pick % pool.values.len());
    let columns = (pools.iter().enumerate())
        .map(|(column, pool)| {
            let places: UInt32Array = (picks.iter())
                .map(|row| place(pool, row[column]).map(|place| place as u32))
                .collect();
            let values = take(&pool.values, &places, None).expect("in range");
            values.slice(skip, picks.len() - skip)
        })
        .collect();
    let keys = (picks[skip..].iter())
        .map(|row| {
            (pools.iter().zip(row))
                .map(|(pool, &pick)| place(pool, pick).and_then(|place| pool.class[place]))
                .collect()
        })
        .collect();
    Rows { columns, keys }
}

fn text(column: &dyn Array) -> Vec<String> {
    let options = FormatOptions::new().with_null("∅");
    let formatter = ArrayFormatter::try_new(column, &options).expect("every type is shown");
    let nulls = column.logical_nulls();
    (0..column.len())
        .map(|row| match &nulls {
            Some(nulls) if nulls.is_null(row) => "∅".to_owned(),
            _ => format!("{:?}", formatter.value(row).to_string()),
        })
        .collect()
}

/// The naive interner.
#[derive(Default)]
struct Oracle {
    ids: HashMap<Vec<Option<usize>>, u32>,
    released: bool,
}

impl Oracle {
    /// Checks ids of rows and takes in new keys.
    fn check(&mut self, interner: &KeyInterner, pools: &[Pool], rows: &Rows, ids: &[u32]) {
        assert_eq!(ids.len(), rows.keys.len());
        for (key, &id) in rows.keys.iter().zip(ids) {
            let next = self.ids.len() as u32;
            match self.ids.get(key) {
                Some(&known) => assert_eq!(known, id, "{key:?}"),
                None => {
                    assert!(self.ids.values().all(|&other| other != id), "{key:?}");
                    assert!(self.released || id == next, "{key:?}: {id}, not {next}");
                    self.ids.insert(key.clone(), id);
                }
            }
            assert!((id as usize) < interner.bound());
        }
        assert_eq!(interner.len(), self.ids.len());
        assert_eq!(interner.is_empty(), self.ids.is_empty());
        let columns = interner.keys(ids).expect("they fit");
        assert_eq!(columns.len(), pools.len());
        for (place, (column, pool)) in columns.iter().zip(pools).enumerate() {
            assert_eq!(column.data_type(), pool.values.data_type());
            column.to_data().validate_full().expect("a valid column");
            let values = text(&pool.values);
            let expected: Vec<String> = (rows.keys.iter())
                .map(|key| key[place].map_or("∅".to_owned(), |class| values[class].clone()))
                .collect();
            assert_eq!(text(column), expected);
        }
    }
}

fn types(pools: &[Pool]) -> Vec<DataType> {
    (pools.iter())
        .map(|pool| pool.values.data_type().clone())
        .collect()
}

/// The picks of a batch, how many of its first rows are cut off, and which of the keys
/// in use are released after it.
type BatchPicks = (Vec<Vec<usize>>, usize, Vec<bool>);

/// Interns batches and releases keys between them, against the oracle.
fn check(pools: &[Pool], batches: &[BatchPicks]) {
    let mut interner = KeyInterner::new(&types(pools)).expect("all types can be keys");
    let mut oracle = Oracle::default();
    let mut ids = vec![7];
    for (picks, skip, release) in batches {
        let rows = rows(pools, picks, *skip);
        let bound = interner.bound();
        let (live, room) = (interner.len(), interner.bound() - interner.len());
        interner
            .intern(&rows.columns, rows.keys.len(), &mut ids)
            .expect("interns");
        oracle.check(&interner, pools, &rows, &ids);
        // Ids grow only when none is free.
        let fresh = interner.len() - live;
        assert_eq!(interner.bound(), bound + fresh.saturating_sub(room));

        let mut live: Vec<(Vec<Option<usize>>, u32)> = oracle
            .ids
            .iter()
            .map(|(key, &id)| (key.clone(), id))
            .collect();
        live.sort();
        let dead: Vec<(Vec<Option<usize>>, u32)> = (live.into_iter().zip(release))
            .filter_map(|(key, &dead)| dead.then_some(key))
            .collect();
        let dead_ids: Vec<u32> = dead.iter().map(|&(_, id)| id).collect();
        interner.release(&dead_ids);
        for (key, _) in &dead {
            oracle.ids.remove(key);
        }
        oracle.released |= !dead.is_empty();
        if oracle.ids.is_empty() {
            oracle.released = false;
            assert_eq!(interner.bound(), 0);
        }
        assert_eq!(interner.len(), oracle.ids.len());
    }
}

fn pick() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(usize::MAX), 9 => 0..100_usize]
}

fn batches(columns: usize) -> impl Strategy<Value = Vec<BatchPicks>> {
    let row = proptest::collection::vec(pick(), columns);
    let batch = (
        proptest::collection::vec(row, 0..60),
        0..5_usize,
        prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec(any::<bool>(), 40),
            Just(vec![true; 60]),
        ],
    );
    proptest::collection::vec(batch, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_column_of_every_type(batches in batches(1)) {
        for pool in Pool::all() {
            check(&[pool], &batches);
        }
    }

    #[test]
    fn two_and_three_columns(
        batches in batches(3),
        a in 0..24_usize,
        b in 0..24_usize,
        c in 0..24_usize,
    ) {
        let all = Pool::all();
        prop_assert_eq!(all.len(), 24);
        check(&[all[a].clone(), all[b].clone()], &batches);
        check(&[all[a].clone(), all[b].clone(), all[c].clone()], &batches);
    }

    #[test]
    fn random_strings(strings in proptest::collection::btree_set("[ab\0é]{0,20}", 1..40), batches in batches(1)) {
        let strings: Vec<String> = strings.into_iter().collect();
        check(&[Pool::distinct(StringArray::from(strings.clone()))], &batches);
        check(&[Pool::distinct(StringViewArray::from_iter_values(strings))], &batches);
    }

    #[test]
    fn random_integers(integers in proptest::collection::btree_set(
        prop_oneof![-300..300_i64, any::<i64>(), -100_000..100_000_i64], 1..60
    ), batches in batches(1)) {
        let integers: Vec<i64> = integers.into_iter().collect();
        check(&[Pool::integers(integers, &DataType::Int64)], &batches);
    }
}

/// The ids do not depend on how many threads look them up.
#[test]
fn ids_are_the_same_with_any_number_of_threads() {
    let n = 60_000_u64;
    let mix = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let strings: StringArray = (0..n)
        .map(|i| (i % 97 != 0).then(|| format!("sensor-{}", mix(i) % 30_000)))
        .collect();
    let integers: Int64Array = (0..n)
        .map(|i| Some((mix(i) % 5_000) as i64 * 1_000))
        .collect();
    let dictionary = cast(
        &strings,
        &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    )
    .expect("fits");
    let decimals: Decimal128Array = (0..n).map(|i| Some(i128::from(mix(i) % 900))).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(strings),
        Arc::new(integers),
        dictionary,
        Arc::new(decimals),
    ];
    for columns in [
        &columns[..1],
        &columns[1..2],
        &columns[2..3],
        &columns[3..],
        &columns,
    ] {
        let shown: Vec<Vec<String>> = columns.iter().map(|column| text(column)).collect();
        let mut naive = HashMap::new();
        let expected: Vec<u32> = (0..n as usize)
            .map(|row| {
                let key: Vec<&str> = shown.iter().map(|column| column[row].as_str()).collect();
                let next = naive.len() as u32;
                *naive.entry(key).or_insert(next)
            })
            .collect();
        for threads in [1, 2, 7] {
            let pool = (rayon::ThreadPoolBuilder::new().num_threads(threads))
                .build()
                .expect("threads");
            let types: Vec<DataType> = columns
                .iter()
                .map(|column| column.data_type().clone())
                .collect();
            let mut interner = KeyInterner::new(&types).expect("keys");
            let mut ids = Vec::new();
            for _ in 0..2 {
                pool.install(|| interner.intern(columns, n as usize, &mut ids))
                    .expect("interns");
                assert!(ids == expected, "{threads} threads, {types:?}");
            }
        }
    }
}

/// A run of a hundred thousand sessions, each with a few long keys, stays small.
#[test]
fn dead_keys_give_their_memory_back() {
    let mut interner = KeyInterner::new(&[DataType::Utf8, DataType::Int64]).expect("keys");
    let mut ids = Vec::new();
    let mut bytes_max = 0;
    for session in 0..1_000_i64 {
        let names: StringArray = (0..100)
            .map(|i| Some(format!("a session with quite a long name {session}/{i}")))
            .collect();
        let numbers: Int64Array = (0..100).map(|i| Some(session * 1_000_000 + i)).collect();
        let columns: [ArrayRef; 2] = [Arc::new(names), Arc::new(numbers)];
        let before = ids.clone();
        interner.intern(&columns, 100, &mut ids).expect("interns");
        interner.release(&before);
        bytes_max = bytes_max.max(interner.state_bytes());
    }
    assert_eq!(interner.len(), 100);
    assert!(interner.bound() <= 200, "{}", interner.bound());
    assert!(bytes_max < 200_000, "{bytes_max} bytes");
}

#[test]
fn released_ids_come_again_lowest_first() {
    let mut interner = KeyInterner::new(&[DataType::Int64]).expect("keys");
    let column = |values: Vec<i64>| -> [ArrayRef; 1] { [Arc::new(Int64Array::from(values))] };
    let mut ids = Vec::new();
    interner
        .intern(&column(vec![10, 20, 30, 40]), 4, &mut ids)
        .expect("interns");
    assert_eq!(ids, [0, 1, 2, 3]);
    interner.release(&[2, 0]);
    assert_eq!((interner.len(), interner.bound()), (2, 4));
    interner
        .intern(&column(vec![40, 50, 60, 70, 10]), 5, &mut ids)
        .expect("interns");
    assert_eq!(ids, [3, 0, 2, 4, 5]);
}

#[test]
fn without_columns_there_is_one_key() {
    let mut interner = KeyInterner::new(&[]).expect("no columns");
    let mut ids = vec![5];
    assert_eq!((interner.len(), interner.bound()), (0, 0));
    interner.intern(&[], 3, &mut ids).expect("interns");
    assert_eq!(ids, [0, 0, 0]);
    assert_eq!((interner.len(), interner.bound()), (1, 1));
    assert!(interner.keys(&[0]).expect("live").is_empty());
    interner.release(&[0]);
    assert!(interner.is_empty());
    interner.intern(&[], 0, &mut ids).expect("interns");
    assert!(ids.is_empty() && interner.is_empty());
}

#[test]
fn entries_without_rows_are_no_keys() {
    let entries = StringArray::from(vec!["never", "late", "first"]);
    let keys = Int32Array::from(vec![2, 1, 2]);
    let column: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(entries)));
    let mut interner = KeyInterner::new(&[column.data_type().clone()]).expect("keys");
    let mut ids = Vec::new();
    interner.intern(&[column], 3, &mut ids).expect("interns");
    assert_eq!(ids, [0, 1, 0]);
    assert_eq!(interner.len(), 2);
}

#[test]
fn every_last_byte_of_sixteen_makes_another_key() {
    let values: Vec<[u8; 16]> = (0..=u8::MAX)
        .map(|last| u128::from(last) << 120 | 7)
        .map(u128::to_le_bytes)
        .collect();
    let sixteen = values.iter().map(|value| &value[..]);
    // Fifteen of the bytes are another key, though the last counts them.
    let keys: ArrayRef = Arc::new(BinaryArray::from_iter_values(
        sixteen.chain([&values[0][..15]]),
    ));
    let mut interner = KeyInterner::new(&[DataType::Binary]).expect("bytes");
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for ids in [&mut first, &mut again] {
        (interner.intern(std::slice::from_ref(&keys), 257, ids)).expect("few keys");
    }
    assert_eq!(first, (0..257).collect::<Vec<u32>>());
    assert_eq!(again, first);
    assert_eq!(&interner.keys(&first).expect("they are in use")[0], &keys);
    interner.release(&first[..256]);
    assert_eq!(
        &interner.keys(&[256]).expect("it is in use")[0],
        &keys.slice(256, 1)
    );
}

#[test]
fn too_many_keys_for_a_dictionary_are_an_error() {
    let data_type = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int32));
    let mut interner = KeyInterner::new(std::slice::from_ref(&data_type)).expect("keys");
    let mut all = Vec::new();
    let mut ids = Vec::new();
    for start in [0, 100] {
        let values: Int32Array = (start..start + 100).map(Some).collect();
        let column = cast(&values, &data_type).expect("a hundred fit");
        interner.intern(&[column], 100, &mut ids).expect("interns");
        all.extend(&ids);
    }
    let error = interner.keys(&all).expect_err("128 fit");
    assert_eq!(
        error.to_string(),
        "200 distinct keys do not fit into a dictionary with Int8 keys"
    );
    assert_eq!(interner.keys(&all[..128]).expect("they fit")[0].len(), 128);
}

#[test]
fn other_columns_are_an_error() {
    let mut interner = KeyInterner::new(&[DataType::Int64]).expect("keys");
    let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let mut ids = Vec::new();
    let error = interner
        .intern(&[column], 1, &mut ids)
        .expect_err("32 bits");
    assert_eq!(
        error.to_string(),
        "a key column should be 1 rows of Int64, not 1 of Int32"
    );
    assert!(interner.intern(&[], 1, &mut ids).is_err());
}

#[test]
#[should_panic(expected = "key 0 is not in use")]
fn releasing_a_dead_key_is_a_bug() {
    let mut interner = KeyInterner::new(&[DataType::Int64]).expect("keys");
    interner.release(&[0]);
}

/// So many keys that their table is far, some long, some NULL.
fn many_keys(data_type: &DataType) -> ArrayRef {
    let key = |i: u64| match i % 1_000 {
        999 => None,
        n if n % 7 == 0 => Some(format!("a key of more than sixteen bytes {i}")),
        _ => Some(format!("key {i}")),
    };
    match data_type {
        DataType::Int64 => {
            let code = |i: u64| (i % 1_000 < 999).then_some(i as i64 * 1_000_003 - (1 << 40));
            Arc::new((0..70_000).map(code).collect::<Int64Array>())
        }
        _ => {
            let keys = (0..70_000).map(key).collect::<StringArray>();
            cast(&keys, data_type).expect("strings")
        }
    }
}

#[test]
fn more_keys_than_caches_hold_are_known_and_forgotten() {
    for data_type in [DataType::Int64, DataType::Utf8, DataType::Utf8View] {
        let keys = many_keys(&data_type);
        // Those of the first rows come again before the last have come.
        let rows: Vec<u32> = (0..50_000).chain(0..20_000).chain(40_000..70_000).collect();
        let batch = take(&keys, &UInt32Array::from(rows.clone()), None).expect("rows");
        // The id of a key is the number of different keys before it; NULL is one.
        let mut next = 0;
        let mut null = None;
        let expected: Vec<u32> = (0..70_000)
            .map(|row| {
                let id = match keys.is_null(row) {
                    true => *null.get_or_insert(next),
                    false => next,
                };
                next += u32::from(id == next);
                id
            })
            .collect();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads").install(|| {
                let mut interner =
                    KeyInterner::new(std::slice::from_ref(&data_type)).expect("keys");
                let mut ids = Vec::new();
                let columns = [batch.clone()];
                interner
                    .intern(&columns, batch.len(), &mut ids)
                    .expect("fits");
                let of_rows: Vec<u32> = rows.iter().map(|row| expected[*row as usize]).collect();
                assert_eq!(ids, of_rows);
                assert_eq!(interner.len(), next as usize);
                let mut found = vec![0; 1_000];
                assert!(interner.find(&columns, 69_123, &mut found[..800]));
                assert_eq!(found[..800], of_rows[69_123..69_923]);

                // So few are left that the table is near again.
                let dead: Vec<u32> = (0..next).filter(|id| id % 20 != 0).collect();
                interner.release(&dead);
                assert_eq!(interner.len(), (next - dead.len() as u32) as usize);
                let live: Vec<u32> = (0..next).filter(|id| id % 20 == 0).collect();
                let live_rows: Vec<u32> = (0..70_000_u32)
                    .filter(|row| {
                        expected[*row as usize].is_multiple_of(20) && keys.is_valid(*row as usize)
                    })
                    .collect();
                let values = take(&keys, &UInt32Array::from(live_rows), None).expect("rows");
                let mut ids = Vec::new();
                let columns = [values.clone()];
                interner
                    .intern(&columns, values.len(), &mut ids)
                    .expect("fits");
                assert_eq!(ids, live);
                assert_eq!(&interner.keys(&live).expect("live")[0], &values);

                // Those that are dead come anew, and are given dead ids.
                let columns = [keys.clone()];
                interner
                    .intern(&columns, keys.len(), &mut ids)
                    .expect("fits");
                assert_eq!(interner.len(), next as usize);
                assert!(ids.iter().all(|id| *id < next));
                assert_eq!(&interner.keys(&ids).expect("live")[0], &keys);
            });
        }
    }
}

#[test]
fn neighbouring_numbers_fall_into_slots_of_their_own() {
    // Were they hashed by a product alone, one secret in some hundred would make runs of
    // hundreds of slots of them.
    for _ in 0..2_000 {
        let seed = super::hash::Seed::random();
        let mut homes: Vec<usize> = (0..2_000)
            .map(|word| (seed.word(word) >> 52) as usize)
            .collect();
        homes.sort_unstable();
        let (mut end, mut steps) = (0, 0);
        for home in homes {
            let slot = home.max(end);
            steps += slot - home;
            end = slot + 1;
        }
        // Half full, a key is half a step from its home.
        assert!(steps < 4 * 2_000, "{steps}");
    }
}
