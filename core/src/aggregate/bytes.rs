//! Strings and binary values of every layout, read and written as bytes.

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, AsArray, BinaryBuilder, BinaryViewBuilder, LargeBinaryBuilder,
    LargeStringBuilder, StringBuilder, StringViewBuilder,
};
use arrow::datatypes::DataType;
use std::sync::Arc;

/// Whether [`with_bytes`] reads this type.
pub(super) fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    matches!(
        data_type,
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView
    )
}

/// Work on the values of a column, compiled for each layout.
pub(super) trait BytesVisitor {
    /// Does it. `values(row)` is the value of a row that is not NULL.
    fn visit<'a>(self, values: impl Fn(usize) -> &'a [u8]);
}

/// Does some work on the values of a string or binary column.
///
/// # Panics
/// If it is of another type.
pub(super) fn with_bytes(array: &ArrayRef, visitor: impl BytesVisitor) {
    fn go<'a, A>(array: A, visitor: impl BytesVisitor)
    where
        A: ArrayAccessor + Copy,
        A::Item: IntoBytes<'a>,
    {
        visitor.visit(|row| array.value(row).into_bytes());
    }
    match array.data_type() {
        DataType::Utf8 => go(array.as_string::<i32>(), visitor),
        DataType::LargeUtf8 => go(array.as_string::<i64>(), visitor),
        DataType::Utf8View => go(array.as_string_view(), visitor),
        DataType::Binary => go(array.as_binary::<i32>(), visitor),
        DataType::LargeBinary => go(array.as_binary::<i64>(), visitor),
        DataType::BinaryView => go(array.as_binary_view(), visitor),
        other => unreachable!("a column of bytes, not of {other}"),
    }
}

trait IntoBytes<'a> {
    fn into_bytes(self) -> &'a [u8];
}

impl<'a> IntoBytes<'a> for &'a str {
    fn into_bytes(self) -> &'a [u8] {
        self.as_bytes()
    }
}

impl<'a> IntoBytes<'a> for &'a [u8] {
    fn into_bytes(self) -> &'a [u8] {
        self
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
pub(super) fn copy_bytes(array: &ArrayRef, row: usize) -> Box<[u8]> {
    struct Copy<'r>(usize, &'r mut Box<[u8]>);
    impl BytesVisitor for Copy<'_> {
        fn visit<'a>(self, values: impl Fn(usize) -> &'a [u8]) {
            *self.1 = values(self.0).into();
        }
    }
    let mut bytes = Box::default();
    with_bytes(array, Copy(row, &mut bytes));
    bytes
}
