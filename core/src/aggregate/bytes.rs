//! Strings and binary values of every layout, read and written as bytes.

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, AsArray, BinaryBuilder, BinaryViewBuilder, LargeBinaryBuilder,
    LargeStringBuilder, StringBuilder, StringViewBuilder,
};
use arrow::datatypes::DataType;
use std::sync::Arc;

/// Whether [`slices`] reads this type.
pub(super) fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    matches!(
        data_type,
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView
    )
}

/// The values of a string or binary column; those of NULLs mean nothing.
///
/// # Panics
/// If it is of another type.
pub(super) fn slices(array: &dyn Array) -> Vec<&[u8]> {
    fn all<'a, A: ArrayAccessor<Item = &'a T>, T: AsRef<[u8]> + ?Sized + 'a>(
        array: A,
    ) -> Vec<&'a [u8]> {
        (0..array.len())
            .map(|row| array.value(row).as_ref())
            .collect()
    }
    match array.data_type() {
        DataType::Utf8 => all(array.as_string::<i32>()),
        DataType::LargeUtf8 => all(array.as_string::<i64>()),
        DataType::Utf8View => all(array.as_string_view()),
        DataType::Binary => all(array.as_binary::<i32>()),
        DataType::LargeBinary => all(array.as_binary::<i64>()),
        DataType::BinaryView => all(array.as_binary_view()),
        other => unreachable!("a column of bytes, not of {other}"),
    }
}

/// A column of `data_type` from values that were read from columns of that type.
///
/// # Panics
/// If the type is neither string nor binary.
pub(super) fn bytes_array<'a>(
    values: impl Iterator<Item = Option<&'a [u8]>>,
    data_type: &DataType,
) -> ArrayRef {
    macro_rules! build {
        ($builder:ident, $read:expr) => {{
            let mut builder = $builder::new();
            values.for_each(|value| builder.append_option(value.map($read)));
            Arc::new(builder.finish())
        }};
    }
    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("the bytes come from a string column")
    }
    match data_type {
        DataType::Utf8 => build!(StringBuilder, text),
        DataType::LargeUtf8 => build!(LargeStringBuilder, text),
        DataType::Utf8View => build!(StringViewBuilder, text),
        DataType::Binary => build!(BinaryBuilder, |bytes| bytes),
        DataType::LargeBinary => build!(LargeBinaryBuilder, |bytes| bytes),
        DataType::BinaryView => build!(BinaryViewBuilder, |bytes| bytes),
        other => unreachable!("a column of bytes, not of {other}"),
    }
}

/// The value of one row that is not NULL.
pub(super) fn copy_bytes(array: &dyn Array, row: usize) -> Box<[u8]> {
    slices(&array.slice(row, 1))[0].into()
}
