//! Values by the integers that they are made of.
//!
//! A timestamp, a duration and a 64-bit decimal are all `i64` to an aggregate that only
//! compares or keeps them. States are compiled for these few integers, not for each of
//! Arrow's types.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, make_array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{ArrowNativeType, DataType};

/// The type of the integers whose order is that of the values of `data_type`; `None`
/// if there is none, as for floats.
pub(super) fn ordered_as(data_type: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match data_type {
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 => data_type.clone(),
        Date32 | Time32(_) | Decimal32(..) => Int32,
        Date64 | Time64(_) | Timestamp(..) | Duration(_) | Decimal64(..) => Int64,
        Decimal128(..) => Decimal128(38, 0),
        Decimal256(..) => Decimal256(76, 0),
        _ => return None,
    })
}

/// The values of a column of a primitive type as integers of the same width, without
/// copying.
///
/// # Panics
/// If the width differs: a caller's bug.
pub(super) fn integers<N: ArrowNativeType>(array: &dyn Array) -> ScalarBuffer<N> {
    assert_eq!(
        array.data_type().primitive_width(),
        Some(size_of::<N>()),
        "integers of the width of {}",
        array.data_type()
    );
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// A column of `data_type` made of the integers of another column.
///
/// # Panics
/// If the width differs: a caller's bug.
pub(super) fn typed<T: ArrowPrimitiveType>(
    integers: PrimitiveArray<T>,
    data_type: &DataType,
) -> ArrayRef {
    let data = integers.into_data().into_builder();
    let data = (data.data_type(data_type.clone()).build()).expect("a type of the same width");
    make_array(data)
}
