//! What DataFusion computes inside Windrow's operators: expressions over batches,
//! quality rules, aggregates that have no state of our own.

mod fault;

mod blame;

mod rows;

mod ranges;

mod rules;

mod foreign;

mod times;

pub use blame::{Blame, misfit};
pub use fault::data_fault;
pub(crate) use fault::{is_dump, sentence};
pub use foreign::ForeignAggregate;
pub use ranges::RangeCondition;
pub use rows::{ColumnExpr, Stretch};
pub use rules::{CheckRule, ComputedColumn, StreamRules};
pub use times::time_functions;
