//! Arrow columns as keys of a table, and keys as Arrow columns again.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray, FixedSizeBinaryArray,
    GenericBinaryArray, GenericStringArray, OffsetSizeTrait, PrimitiveArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, ByteArrayType, ByteViewType, DataType};

use super::bytes::{ByteKey, ByteTable};
use super::code::{Code, CodeTable, Codes, Numbers};
use super::table::{Column, Keyed, Table};
use crate::batch::types::with_numbers;
use crate::error::{Error, Result};
use crate::kernel::{FIND_ROWS, WordTable, find_short, find_short_large};

/// Whether columns of this type are keys of a [`CodeTable`].
pub(super) fn is_code(data_type: &DataType) -> bool {
    fn width<T: ArrowPrimitiveType<Native: Code>>() -> usize {
        size_of::<T::Native>()
    }
    *data_type == DataType::Boolean || with_numbers!(data_type, width(), else 0) > 0
}

/// Whether columns of this type are keys of a [`ByteTable`].
pub(super) fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// What is done with a column of keys, whatever its type.
pub(super) trait Task<T: Table> {
    /// Whether a row is left without an id.
    fn run(self, column: &impl Column<T>, nulls: Option<&NullBuffer>, rows: usize) -> Result<bool>;
}

/// Gives ids to all rows.
pub(super) struct Intern<'a, T> {
    pub(super) keyed: &'a mut Keyed<T>,
    pub(super) ids: &'a mut Vec<u32>,
}

impl<T: Table> Task<T> for Intern<'_, T> {
    fn run(self, column: &impl Column<T>, nulls: Option<&NullBuffer>, rows: usize) -> Result<bool> {
        self.keyed.intern(column, nulls, rows, self.ids)?;
        Ok(false)
    }
}

/// Looks up the ids of rows from `first` on.
pub(super) struct Find<'a, T> {
    pub(super) keyed: &'a Keyed<T>,
    pub(super) first: usize,
    pub(super) ids: &'a mut [u32],
}

impl<T: Table> Task<T> for Find<'_, T> {
    fn run(self, column: &impl Column<T>, nulls: Option<&NullBuffer>, _: usize) -> Result<bool> {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        Ok((self.keyed).find_morsel(column, nulls, self.first, self.ids))
    }
}

/// Runs a task on a column for which [`is_code`] holds.
pub(super) fn with_codes(column: &dyn Array, task: impl Task<CodeTable>) -> Result<bool> {
    fn of<T: ArrowPrimitiveType<Native: Code>>(
        column: &dyn Array,
        task: impl Task<CodeTable>,
    ) -> Result<bool> {
        let column = column.as_primitive::<T>();
        task.run(&Numbers(column.values()), column.nulls(), column.len())
    }
    if let Some(column) = column.as_boolean_opt() {
        let values = column.values();
        let codes = Codes(|row| u64::from(values.value(row)));
        return task.run(&codes, column.nulls(), column.len());
    }
    with_numbers!(column.data_type(), of(column, task), else unreachable!("is_code holds"))
}

/// The keys of ids, as a column of `data_type`.
pub(super) fn code_keys(
    keyed: &Keyed<CodeTable>,
    data_type: &DataType,
    ids: &[u32],
) -> Result<ArrayRef> {
    fn of<T: ArrowPrimitiveType<Native: Code>>(
        codes: impl Iterator<Item = u64>,
        nulls: Option<NullBuffer>,
        data_type: &DataType,
    ) -> ArrayRef {
        let values: ScalarBuffer<T::Native> = codes.map(T::Native::from_code).collect();
        Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type.clone()))
    }
    let nulls = nulls_of(keyed, ids);
    let codes = (ids.iter()).map(|&id| {
        if keyed.is_null(id) {
            0
        } else {
            keyed.table.code(id)
        }
    });
    if *data_type == DataType::Boolean {
        let values: BooleanBuffer = codes.map(|code| code != 0).collect();
        return Ok(Arc::new(BooleanArray::new(values, nulls)));
    }
    Ok(with_numbers!(data_type, of(codes, nulls, data_type), else unreachable!("is_code holds")))
}

/// A column of strings with offsets.
struct Strings<'a, O> {
    offsets: &'a [O],
    values: &'a [u8],
}

/// Offsets of strings, of 32 or 64 bits.
trait Offset: OffsetSizeTrait {
    /// As [`find_short`].
    fn find_short(
        values: &[u8],
        offsets: &[Self],
        table: WordTable<'_>,
        ids: &mut [u32],
        further: &mut [u32; FIND_ROWS],
    ) -> usize;
}

macro_rules! offset {
    ($offset:ty, $find:ident) => {
        impl Offset for $offset {
            fn find_short(
                values: &[u8],
                offsets: &[Self],
                table: WordTable<'_>,
                ids: &mut [u32],
                further: &mut [u32; FIND_ROWS],
            ) -> usize {
                $find(values, offsets, table, ids, further)
            }
        }
    };
}

offset!(i32, find_short);
offset!(i64, find_short_large);

impl<O: Offset> Column<ByteTable> for Strings<'_, O> {
    #[inline(always)]
    fn key(&self, row: usize) -> ByteKey<'_> {
        let (start, end) = (self.offsets[row], self.offsets[row + 1]);
        ByteKey::new(self.values, start.as_usize(), end.as_usize())
    }

    #[inline(always)]
    fn keys(&self, rows: Range<usize>) -> impl Iterator<Item = ByteKey<'_>> {
        let bounds = self.offsets[rows.start..=rows.end].array_windows();
        bounds.map(|&[start, end]| ByteKey::new(self.values, start.as_usize(), end.as_usize()))
    }

    #[inline(always)]
    fn find_likely(
        &self,
        table: &ByteTable,
        first: usize,
        ids: &mut [u32],
        further: &mut [u32; FIND_ROWS],
    ) -> usize {
        let offsets = &self.offsets[first..=first + ids.len()];
        O::find_short(self.values, offsets, table.as_words(), ids, further)
    }
}

/// A column of string views.
struct Views<'a> {
    views: &'a [u128],
    buffers: &'a [Buffer],
}

impl Column<ByteTable> for Views<'_> {
    #[inline(always)]
    fn key(&self, row: usize) -> ByteKey<'_> {
        const INLINE_LEN_MAX: usize = 12;
        let view = self.views[row];
        let len = view as u32 as usize;
        if len <= INLINE_LEN_MAX {
            return ByteKey::short(view >> 32, len);
        }
        let buffer = (view >> 64) as u32 as usize;
        let start = (view >> 96) as usize;
        ByteKey::new(&self.buffers[buffer], start, start + len)
    }
}

/// A column of strings of one length.
struct Fixed<'a> {
    len: usize,
    values: &'a [u8],
}

impl Column<ByteTable> for Fixed<'_> {
    #[inline(always)]
    fn key(&self, row: usize) -> ByteKey<'_> {
        let start = row * self.len;
        ByteKey::new(self.values, start, start + self.len)
    }
}

/// Runs a task on a column for which [`is_bytes`] holds.
pub(super) fn with_bytes(column: &dyn Array, task: impl Task<ByteTable>) -> Result<bool> {
    fn strings<T: ByteArrayType<Offset: Offset>>(
        column: &dyn Array,
        task: impl Task<ByteTable>,
    ) -> Result<bool> {
        let column = column.as_bytes::<T>();
        let strings = Strings {
            offsets: column.value_offsets(),
            values: column.value_data(),
        };
        task.run(&strings, column.nulls(), column.len())
    }
    fn views<T: ByteViewType>(column: &dyn Array, task: impl Task<ByteTable>) -> Result<bool> {
        let column = column.as_byte_view::<T>();
        let views = Views {
            views: column.views(),
            buffers: column.data_buffers(),
        };
        task.run(&views, column.nulls(), column.len())
    }
    use arrow::datatypes::{
        BinaryType, BinaryViewType, LargeBinaryType, LargeUtf8Type, StringViewType, Utf8Type,
    };
    match column.data_type() {
        DataType::Utf8 => strings::<Utf8Type>(column, task),
        DataType::LargeUtf8 => strings::<LargeUtf8Type>(column, task),
        DataType::Binary => strings::<BinaryType>(column, task),
        DataType::LargeBinary => strings::<LargeBinaryType>(column, task),
        DataType::Utf8View => views::<StringViewType>(column, task),
        DataType::BinaryView => views::<BinaryViewType>(column, task),
        DataType::FixedSizeBinary(_) => {
            let column = column.as_fixed_size_binary();
            let fixed = Fixed {
                len: column.value_length() as usize,
                values: column.value_data(),
            };
            task.run(&fixed, column.nulls(), column.len())
        }
        _ => unreachable!("is_bytes holds"),
    }
}

/// The keys of ids, as a column of `data_type`.
pub(super) fn byte_keys(
    keyed: &Keyed<ByteTable>,
    data_type: &DataType,
    ids: &[u32],
) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Utf8 => Arc::new(GenericStringArray::<i32>::try_from_binary(gather(
            keyed, ids,
        )?)?),
        DataType::LargeUtf8 => Arc::new(GenericStringArray::<i64>::try_from_binary(gather(
            keyed, ids,
        )?)?),
        DataType::Binary => Arc::new(gather::<i32>(keyed, ids)?),
        DataType::LargeBinary => Arc::new(gather::<i64>(keyed, ids)?),
        DataType::Utf8View => Arc::new(gather_views(keyed, ids).finish().to_string_view()?),
        DataType::BinaryView => Arc::new(gather_views(keyed, ids).finish()),
        DataType::FixedSizeBinary(len) => {
            let len = *len as usize;
            let mut values = Vec::with_capacity(ids.len() * len);
            for (row, &id) in ids.iter().enumerate() {
                if !keyed.is_null(id) {
                    keyed.table.append(id, &mut values);
                }
                values.resize((row + 1) * len, 0);
            }
            let nulls = nulls_of(keyed, ids);
            Arc::new(FixedSizeBinaryArray::try_new_with_len(
                len as i32,
                values.into(),
                nulls,
                ids.len(),
            )?)
        }
        _ => unreachable!("is_bytes holds"),
    })
}

fn gather<O: OffsetSizeTrait>(
    keyed: &Keyed<ByteTable>,
    ids: &[u32],
) -> Result<GenericBinaryArray<O>> {
    const WORD_LEN_MEAN: usize = 16;
    let mut values = Vec::with_capacity(ids.len() * WORD_LEN_MEAN);
    let mut offsets = Vec::with_capacity(ids.len() + 1);
    offsets.push(O::zero());
    for &id in ids {
        if !keyed.is_null(id) {
            keyed.table.append(id, &mut values);
        }
        let end = O::from_usize(values.len()).ok_or_else(|| {
            Error::invalid(format!(
                "the keys of {} rows take more bytes than one column of this type holds",
                ids.len()
            ))
        })?;
        offsets.push(end);
    }
    let offsets = OffsetBuffer::new(offsets.into());
    let nulls = nulls_of(keyed, ids);
    Ok(GenericBinaryArray::try_new(offsets, values.into(), nulls)?)
}

fn gather_views(keyed: &Keyed<ByteTable>, ids: &[u32]) -> BinaryViewBuilder {
    let mut builder = BinaryViewBuilder::with_capacity(ids.len());
    let mut bytes = Vec::new();
    for &id in ids {
        if keyed.is_null(id) {
            builder.append_null();
        } else {
            bytes.clear();
            keyed.table.append(id, &mut bytes);
            builder.append_value(&bytes);
        }
    }
    builder
}

fn nulls_of<T: Table>(keyed: &Keyed<T>, ids: &[u32]) -> Option<NullBuffer> {
    if !keyed.has_null() {
        return None;
    }
    let valid: BooleanBuffer = ids.iter().map(|&id| !keyed.is_null(id)).collect();
    Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
}
