//! The planner's words in a reader's: types as SQL names them, sentences without dumps.

use arrow::datatypes::{DataType, TimeUnit};

/// A type as `CREATE STREAM` takes it.
pub fn sql_type(data_type: &DataType) -> String {
    let precision = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "(0)",
        TimeUnit::Millisecond => "(3)",
        TimeUnit::Microsecond => "",
        TimeUnit::Nanosecond => "(9)",
    };
    match data_type {
        DataType::Null => "NULL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float16 | DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".into(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BYTEA".into(),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP{}", precision(unit)),
        DataType::Timestamp(unit, Some(_)) => {
            format!("TIMESTAMP{} WITH TIME ZONE", precision(unit))
        }
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => format!("DECIMAL({digits}, {scale})"),
        DataType::Dictionary(_, values) => sql_type(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("ARRAY<{}>", sql_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter();
            let fields: Vec<String> = fields
                .map(|field| format!("{} {}", field.name(), sql_type(field.data_type())))
                .collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A number of things, with `,` between groups of three digits: `1 row`, `1,200 rows`.
pub fn counted(number: u64, one: &str, more: &str) -> String {
    let mut digits = number.to_string();
    let mut place = digits.len();
    while place > 3 {
        place -= 3;
        digits.insert(place, ',');
    }
    format!("{digits} {}", if number == 1 { one } else { more })
}

/// The planner's names of types, the longer before those that they begin with.
const TYPES: [(&str, &str); 37] = [
    ("Interval(MonthDayNano)", "INTERVAL"),
    ("Interval(DayTime)", "INTERVAL"),
    ("Interval(YearMonth)", "INTERVAL"),
    ("Timestamp(µs)", "TIMESTAMP"),
    ("Timestamp(ns)", "TIMESTAMP(9)"),
    ("Timestamp(ms)", "TIMESTAMP(3)"),
    ("Timestamp(s)", "TIMESTAMP(0)"),
    ("Duration(ns)", "INTERVAL"),
    ("Duration(µs)", "INTERVAL"),
    ("Duration(ms)", "INTERVAL"),
    ("Duration(s)", "INTERVAL"),
    ("LargeUtf8", "TEXT"),
    ("Utf8View", "TEXT"),
    ("Utf8", "TEXT"),
    ("LargeBinary", "BYTEA"),
    ("BinaryView", "BYTEA"),
    ("Binary", "BYTEA"),
    ("Boolean", "BOOLEAN"),
    ("Float64", "DOUBLE"),
    ("Float32", "REAL"),
    ("Float16", "REAL"),
    ("UInt64", "BIGINT UNSIGNED"),
    ("UInt32", "INT UNSIGNED"),
    ("UInt16", "SMALLINT UNSIGNED"),
    ("UInt8", "TINYINT UNSIGNED"),
    ("Int64", "BIGINT"),
    ("Int32", "INT"),
    ("Int16", "SMALLINT"),
    ("Int8", "TINYINT"),
    ("Date32", "DATE"),
    ("Date64", "DATE"),
    ("Decimal128", "DECIMAL"),
    ("Decimal256", "DECIMAL"),
    ("Time64(ns)", "TIME"),
    ("Time64(µs)", "TIME"),
    ("Time32(ms)", "TIME"),
    ("Time32(s)", "TIME"),
];

/// A sentence with the planner's types named as SQL does.
pub fn in_sql_words(sentence: &str) -> String {
    let mut told = String::with_capacity(sentence.len());
    let mut rest = sentence;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let is_start = !before.is_alphanumeric() && before != '_';
        let known = (TYPES.iter())
            .filter(|_| is_start)
            .find_map(|(name, sql)| Some((name, sql, rest.strip_prefix(name)?)))
            .filter(|(.., after)| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        if let Some((_, sql, after)) = known {
            told.push_str(sql);
            (rest, before) = (after, ' ');
        } else {
            told.push(next);
            (rest, before) = (&rest[next.len_utf8()..], next);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_names_that_a_stream_takes() {
        let utc = Some("+00:00".into());
        for (data_type, name) in [
            (DataType::Utf8View, "TEXT"),
            (
                DataType::Timestamp(TimeUnit::Microsecond, None),
                "TIMESTAMP",
            ),
            (
                DataType::Timestamp(TimeUnit::Millisecond, utc),
                "TIMESTAMP(3) WITH TIME ZONE",
            ),
            (DataType::Decimal128(10, 2), "DECIMAL(10, 2)"),
        ] {
            assert_eq!(sql_type(&data_type), name);
        }
    }

    #[test]
    fn one_thing_is_not_many() {
        for (number, text) in [
            (0, "0 rows"),
            (1, "1 row"),
            (999, "999 rows"),
            (1_000, "1,000 rows"),
            (1_234_567, "1,234,567 rows"),
        ] {
            assert_eq!(counted(number, "row", "rows"), text);
        }
    }

    #[test]
    fn whole_names_alone_are_replaced() {
        assert_eq!(
            in_sql_words("from Utf8 and UInt64 to Timestamp(µs), not Int64x or my_Utf8"),
            "from TEXT and BIGINT UNSIGNED to TIMESTAMP, not Int64x or my_Utf8"
        );
    }
}
