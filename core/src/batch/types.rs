//! From a type that is known at run time to one that the compiler knows.

/// Calls `$of::<T>` with the arrow type of a column of integers, floats, dates or
/// times; `$other` for any other type.
macro_rules! with_numbers {
    ($data_type:expr, $of:ident ( $($arg:expr),* ), else $other:expr) => {{
        use arrow::datatypes::{DataType::*, *};
        match $data_type {
            Int8 => $of::<Int8Type>($($arg),*),
            Int16 => $of::<Int16Type>($($arg),*),
            Int32 => $of::<Int32Type>($($arg),*),
            Int64 => $of::<Int64Type>($($arg),*),
            UInt8 => $of::<UInt8Type>($($arg),*),
            UInt16 => $of::<UInt16Type>($($arg),*),
            UInt32 => $of::<UInt32Type>($($arg),*),
            UInt64 => $of::<UInt64Type>($($arg),*),
            Float16 => $of::<Float16Type>($($arg),*),
            Float32 => $of::<Float32Type>($($arg),*),
            Float64 => $of::<Float64Type>($($arg),*),
            Date32 => $of::<Date32Type>($($arg),*),
            Date64 => $of::<Date64Type>($($arg),*),
            Time32(TimeUnit::Second) => $of::<Time32SecondType>($($arg),*),
            Time32(TimeUnit::Millisecond) => $of::<Time32MillisecondType>($($arg),*),
            Time64(TimeUnit::Microsecond) => $of::<Time64MicrosecondType>($($arg),*),
            Time64(TimeUnit::Nanosecond) => $of::<Time64NanosecondType>($($arg),*),
            Timestamp(TimeUnit::Second, _) => $of::<TimestampSecondType>($($arg),*),
            Timestamp(TimeUnit::Millisecond, _) => $of::<TimestampMillisecondType>($($arg),*),
            Timestamp(TimeUnit::Microsecond, _) => $of::<TimestampMicrosecondType>($($arg),*),
            Timestamp(TimeUnit::Nanosecond, _) => $of::<TimestampNanosecondType>($($arg),*),
            Duration(TimeUnit::Second) => $of::<DurationSecondType>($($arg),*),
            Duration(TimeUnit::Millisecond) => $of::<DurationMillisecondType>($($arg),*),
            Duration(TimeUnit::Microsecond) => $of::<DurationMicrosecondType>($($arg),*),
            Duration(TimeUnit::Nanosecond) => $of::<DurationNanosecondType>($($arg),*),
            _ => $other,
        }
    }};
}
pub(super) use with_numbers;
