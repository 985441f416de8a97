//! Aggregates whose partial state grows: values, sets and sketches on the heap.
//!
//! A [`Collect`] says what a slot holds; [`CollectState`] is the column of slots. It
//! keeps account of the bytes and of the values held, and stops at a named limit.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, Fields};

use super::fold::Column;
use super::saved::Saved;
use super::select::{for_each_row, selected, two};
use super::slide::SlidingState;
use super::{AggregateFactory, AggregateState, Rows};
use crate::error::{Error, Result};

/// How many values the states of one aggregate call may hold, in panes and in the
/// windows that are put together from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldMax {
    /// The limit.
    pub(super) values: usize,
    /// What to write instead.
    pub(super) remedy: &'static str,
}

/// An aggregate whose partial state lies on the heap.
pub(super) trait Collect: Debug + Send + Sync + 'static {
    /// The partial state; the default is that of no rows and has no heap memory.
    type Slot: Default + Debug + Send + 'static;
    /// What a row gives.
    type Value<'a>: Copy;
    /// The argument as the values that rows give.
    type Columns<'a>: Column<Value = Self::Value<'a>>;

    /// The number of columns that a state is saved as.
    const SAVED: usize;

    /// The function's name, for errors.
    fn name(&self) -> &str;

    /// The values of a batch; those of NULLs are not looked at.
    fn columns<'a>(&self, values: &'a ArrayRef) -> Self::Columns<'a>;

    /// Adds a row.
    fn add(slot: &mut Self::Slot, value: Self::Value<'_>);

    /// Combines a state into another.
    fn merge(into: &mut Self::Slot, from: &Self::Slot);

    /// The heap memory of a slot, in a few instructions.
    fn heap_bytes(slot: &Self::Slot) -> usize;

    /// How many values a slot holds, if that is limited.
    fn held(slot: &Self::Slot) -> usize;

    /// The limit on the values held.
    fn held_max(&self) -> Option<HeldMax>;

    /// The type of the values.
    fn return_type(&self) -> DataType;

    /// The values of states.
    fn evaluate(&self, slots: &[&Self::Slot]) -> ArrayRef;

    /// The states as [`Collect::SAVED`] columns.
    fn save(&self, slots: &[&Self::Slot]) -> Vec<ArrayRef>;

    /// The states of saved columns.
    fn load(&self, saved: Saved<'_>) -> Result<Vec<Self::Slot>>;

    /// Whether a state of this one is a state of the other: only what is made of it
    /// differs.
    fn is_alike(&self, other: &Self) -> bool {
        let _ = other;
        false
    }

    /// Its states over frames that slide; `None` if it has none: a sketch for each row of a
    /// frame would be most of its memory, and its time.
    fn sliding(&self) -> Option<Box<dyn SlidingState>> {
        None
    }
}

/// A column of slots.
#[derive(Debug)]
struct CollectState<C: Collect> {
    collect: Arc<C>,
    slots: Vec<C::Slot>,
    heap_bytes: usize,
    held: usize,
}

/// Changes a slot and keeps account of what it holds.
#[inline(always)]
fn account<C: Collect>(
    slot: &mut C::Slot,
    (heap_bytes, held): (&mut usize, &mut usize),
    change: impl FnOnce(&mut C::Slot),
) {
    *heap_bytes -= C::heap_bytes(slot);
    *held -= C::held(slot);
    change(slot);
    *heap_bytes += C::heap_bytes(slot);
    *held += C::held(slot);
}

impl<C: Collect> CollectState<C> {
    fn pick(&self, slots: &[u32]) -> Vec<&C::Slot> {
        (slots.iter())
            .map(|slot| &self.slots[*slot as usize])
            .collect()
    }

    fn put(&mut self, slot: u32, new: C::Slot) {
        let slot = &mut self.slots[slot as usize];
        account::<C>(slot, (&mut self.heap_bytes, &mut self.held), |slot| {
            *slot = new;
        });
    }

    fn check_held(&self) -> Result<()> {
        match self.collect.held_max() {
            Some(max) if self.held > max.values => Err(Error::Bound {
                what: format!("{}()", self.collect.name()),
                limit: format!("{} values in its windows", max.values),
                remedy: max.remedy,
            }),
            _ => Ok(()),
        }
    }
}

impl<C: Collect> AggregateState for CollectState<C> {
    fn resize(&mut self, slots: usize) {
        if slots > self.slots.len() {
            self.slots.resize_with(slots, C::Slot::default);
        }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.put(*slot, C::Slot::default());
        }
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let columns = self.collect.columns(&rows.args[0]);
        let selection = selected(&rows, &rows.args[..1]);
        let (mut heap_bytes, mut held) = (self.heap_bytes, self.held);
        for_each_row(rows.slots.len(), selection.as_ref(), |row| {
            let slot = &mut self.slots[rows.slots[row] as usize];
            account::<C>(slot, (&mut heap_bytes, &mut held), |slot| {
                C::add(slot, columns.value(row));
            });
        });
        (self.heap_bytes, self.held) = (heap_bytes, held);
        self.check_held()
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        assert_eq!(into.len(), from.len(), "slots are merged in pairs");
        for (into, from) in into.iter().zip(from) {
            let (into, from) = two(&mut self.slots, *into, *from);
            account::<C>(into, (&mut self.heap_bytes, &mut self.held), |into| {
                C::merge(into, from);
            });
            self.check_held()?;
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        Ok(self.collect.evaluate(&self.pick(slots)))
    }

    fn save(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(self.collect.save(&self.pick(slots)))
    }

    fn load(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let saved = Saved::new(columns, C::SAVED, slots.len())?;
        let loaded = self.collect.load(saved)?;
        for (slot, loaded) in slots.iter().zip(loaded) {
            self.put(*slot, loaded);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<C::Slot>() + self.heap_bytes
    }
}

/// Makes one factory of aggregates that are alike.
type Join<C> = fn(Vec<Arc<C>>) -> Arc<dyn AggregateFactory>;

/// Makes the states of an aggregate.
#[derive(Debug)]
struct CollectFactory<C> {
    collect: Arc<C>,
    /// `None` for what has been joined.
    join: Option<Join<C>>,
}

impl<C: Collect> AggregateFactory for CollectFactory<C> {
    fn create(&self) -> Result<Box<dyn AggregateState>> {
        Ok(Box::new(CollectState {
            collect: self.collect.clone(),
            slots: vec![],
            heap_bytes: 0,
            held: 0,
        }))
    }

    fn return_type(&self) -> DataType {
        self.collect.return_type()
    }

    fn holds_values(&self) -> bool {
        self.collect.held_max().is_some()
    }

    fn sliding(&self) -> Option<Box<dyn SlidingState>> {
        self.collect.sliding()
    }

    fn join(&self, others: &[Arc<dyn AggregateFactory>]) -> Option<Arc<dyn AggregateFactory>> {
        let mut all = vec![self.collect.clone()];
        for other in others {
            let other: &dyn Any = other.as_ref();
            let other = &other.downcast_ref::<Self>()?.collect;
            if !self.collect.is_alike(other) {
                return None;
            }
            all.push(other.clone());
        }
        self.join.map(|join| join(all))
    }
}

/// A factory of states of `collect`.
pub(super) fn factory<C: Collect>(collect: C) -> Arc<dyn AggregateFactory> {
    Arc::new(CollectFactory {
        collect: Arc::new(collect),
        join: Some(|all| {
            Arc::new(CollectFactory {
                collect: Arc::new(Several(all)),
                join: None,
            })
        }),
    })
}

/// Aggregates that are alike, with one state: what is made of it is a struct.
#[derive(Debug)]
struct Several<C>(Vec<Arc<C>>);

impl<C: Collect> Collect for Several<C> {
    type Slot = C::Slot;
    type Value<'a> = C::Value<'a>;
    type Columns<'a> = C::Columns<'a>;

    const SAVED: usize = C::SAVED;

    fn name(&self) -> &str {
        self.0[0].name()
    }

    fn columns<'a>(&self, values: &'a ArrayRef) -> C::Columns<'a> {
        self.0[0].columns(values)
    }

    #[inline(always)]
    fn add(slot: &mut C::Slot, value: C::Value<'_>) {
        C::add(slot, value);
    }

    fn merge(into: &mut C::Slot, from: &C::Slot) {
        C::merge(into, from);
    }

    #[inline(always)]
    fn heap_bytes(slot: &C::Slot) -> usize {
        C::heap_bytes(slot)
    }

    #[inline(always)]
    fn held(slot: &C::Slot) -> usize {
        C::held(slot)
    }

    fn held_max(&self) -> Option<HeldMax> {
        self.0[0].held_max()
    }

    fn return_type(&self) -> DataType {
        let types = self.0.iter().map(|one| one.return_type());
        let fields = types.enumerate();
        let fields: Fields = fields
            .map(|(place, data_type)| Field::new(place.to_string(), data_type, true))
            .collect();
        DataType::Struct(fields)
    }

    fn evaluate(&self, slots: &[&C::Slot]) -> ArrayRef {
        let DataType::Struct(fields) = self.return_type() else {
            unreachable!("it is one");
        };
        let columns = self.0.iter().map(|one| one.evaluate(slots)).collect();
        Arc::new(StructArray::new(fields, columns, None))
    }

    fn save(&self, slots: &[&C::Slot]) -> Vec<ArrayRef> {
        self.0[0].save(slots)
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<C::Slot>> {
        self.0[0].load(saved)
    }
}
