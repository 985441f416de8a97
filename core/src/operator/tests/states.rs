//! Aggregates for tests, each as plain as can be.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};

use crate::aggregate::{AggregateCall, AggregateFactory, AggregateState, Rows};
use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    Count,
    Sum,
    Max,
    /// All values in the order in which they were combined, as text.
    List,
    /// The value of the earliest row, the first to arrive among equals.
    First,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Slot {
    count: i64,
    sum: f64,
    list: Vec<f64>,
    first: Option<(i64, u64, f64)>,
}

#[derive(Debug)]
struct State(Plain, Vec<Slot>);

impl AggregateFactory for Plain {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        Ok(Box::new(State(*self, Vec::new())))
    }

    fn return_type(&self) -> DataType {
        match self {
            Self::Count => DataType::Int64,
            Self::List => DataType::Utf8,
            Self::Sum | Self::Max | Self::First => DataType::Float64,
        }
    }
}

/// [`Plain`], as an aggregate whose states are dear to copy.
#[derive(Debug)]
pub(crate) struct Dear(pub(crate) Plain);

impl AggregateFactory for Dear {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        self.0.create()
    }

    fn return_type(&self) -> DataType {
        self.0.return_type()
    }

    fn holds_values(&self) -> bool {
        true
    }
}

impl AggregateState for State {
    fn resize(&mut self, slots: usize) {
        assert!(slots >= self.1.len(), "never shrinks");
        self.1.resize(slots, Slot::default());
    }

    fn clear(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.1[slot as usize] = Slot::default();
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        assert_eq!(rows.slots.len(), rows.times.len());
        let values = rows.args[0].as_primitive::<Float64Type>();
        for (row, &slot) in rows.slots.iter().enumerate() {
            if rows.filter.is_some_and(|filter| !filter.value(row)) {
                continue;
            }
            let (slot, value) = (&mut self.1[slot as usize], values.value(row));
            slot.count += 1;
            slot.sum += value;
            slot.list.push(value);
            let this = (rows.times[row], rows.first_ordinal + row as u64, value);
            if slot
                .first
                .is_none_or(|first| (this.0, this.1) < (first.0, first.1))
            {
                slot.first = Some(this);
            }
        }
        Ok(())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len());
        for (&into, &from) in into.iter().zip(from) {
            assert_ne!(into, from);
            let later = self.1[from as usize].clone();
            let earlier = &mut self.1[into as usize];
            if later.count == 0 {
                continue;
            }
            earlier.count += later.count;
            earlier.sum += later.sum;
            earlier.list.extend(later.list);
            let firsts = [earlier.first, later.first];
            earlier.first =
                (firsts.into_iter().flatten()).min_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let slots = slots.iter().map(|&slot| &self.1[slot as usize]);
        Ok(match self.0 {
            Plain::Count => Arc::new(Int64Array::from_iter_values(slots.map(|slot| slot.count))),
            Plain::Sum => Arc::new(Float64Array::from_iter(
                slots.map(|slot| (slot.count > 0).then_some(slot.sum)),
            )),
            Plain::Max => Arc::new(Float64Array::from_iter(
                slots.map(|slot| slot.list.iter().copied().reduce(f64::max)),
            )),
            Plain::First => Arc::new(Float64Array::from_iter(
                slots.map(|slot| slot.first.map(|first| first.2)),
            )),
            Plain::List => Arc::new(StringArray::from_iter_values(
                slots.map(|slot| format!("{:?}", slot.list)),
            )),
        })
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let slots: Vec<&Slot> = (slots.iter()).map(|&slot| &self.1[slot as usize]).collect();
        let bits = |slot: &&Slot| {
            let words: Vec<String> = (slot.list.iter())
                .map(|value| value.to_bits().to_string())
                .collect();
            words.join(" ")
        };
        let first = |part: fn((i64, u64, f64)) -> i64| -> ArrayRef {
            let parts = slots.iter().map(|slot| slot.first.map(part));
            Arc::new(Int64Array::from_iter(parts))
        };
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(
                slots.iter().map(|slot| slot.count),
            )),
            Arc::new(Float64Array::from_iter_values(
                slots.iter().map(|slot| slot.sum),
            )),
            Arc::new(StringArray::from_iter_values(slots.iter().map(bits))),
            first(|first| first.0),
            first(|first| first.1 as i64),
            first(|first| first.2.to_bits() as i64),
        ])
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        assert_eq!(columns.len(), 6);
        for (row, &slot) in slots.iter().enumerate() {
            let number = |column: usize| {
                let column = columns[column].as_primitive::<Int64Type>();
                column.is_valid(row).then(|| column.value(row))
            };
            let words = columns[2].as_string::<i32>().value(row);
            let slot = &mut self.1[slot as usize];
            assert_eq!(*slot, Slot::default(), "loaded into an empty slot");
            *slot = Slot {
                count: number(0).expect("counted"),
                sum: columns[1].as_primitive::<Float64Type>().value(row),
                list: (words.split_whitespace())
                    .map(|word| f64::from_bits(word.parse().expect("bits")))
                    .collect(),
                first: number(3).map(|time| {
                    let value = f64::from_bits(number(5).expect("a value") as u64);
                    (time, number(4).expect("an ordinal") as u64, value)
                }),
            };
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.1.len() * size_of::<Slot>()
    }
}

/// A call of a plain aggregate over one column.
pub(crate) fn call(plain: Plain, column: usize) -> AggregateCall {
    let name = format!("{plain:?}").to_lowercase();
    AggregateCall {
        field: Arc::new(Field::new(name, plain.return_type(), true)),
        factory: Arc::new(plain),
        args: vec![column],
        filter: None,
    }
}
