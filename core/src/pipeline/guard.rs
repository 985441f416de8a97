//! Calls of operators that cannot take the engine with them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::operator::{Counters, Operator};

/// Calls an operator so that a panic becomes an error of its query.
pub(super) fn guarded<R>(
    operator: &mut dyn Operator,
    call: impl FnOnce(&mut dyn Operator) -> Result<R>,
) -> Result<R> {
    match catch_unwind(AssertUnwindSafe(|| call(operator))) {
        Ok(result) => result,
        Err(panic) => {
            let message = (panic.downcast_ref::<String>().cloned())
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_else(|| "a panic without words".into());
            Err(Error::Panic {
                operator: operator.name().into(),
                message,
            })
        }
    }
}

/// The counters of an operator; none if telling them panics.
pub(super) fn counters_of(operator: &dyn Operator) -> Counters {
    catch_unwind(AssertUnwindSafe(|| operator.counters())).unwrap_or_default()
}
