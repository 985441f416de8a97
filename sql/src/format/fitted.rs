//! Reading a columnar file without the columns that no query asks for.
//!
//! ```text
//!  parts ─▶ wanted columns ─▶ batches; the other columns are NULL
//!                │
//!                └─ a row breaks a rule, or lies behind the watermark and may be late:
//!                   it is kept whole. Its batch is read again with all columns, and so
//!                   is the rest of the file.
//! ```
//!
//! A value that may not fit its column is always read: what is rejected does not depend on
//! what is asked for.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::adapt::Adapter;
use super::origin::Whole;
use crate::error::Result;

/// A file whose rows can be read again by their numbers.
pub(crate) trait RowFile: Debug + Send + Sync {
    /// The rows from `first_row` on, counted from 0, which were given as one batch. Those
    /// that do not fit are left out.
    ///
    /// # Errors
    /// If they cannot be read any more.
    fn read_again(&self, adapter: &Adapter, first_row: u64, rows: usize) -> Result<RecordBatch>;
}

/// How the rows of a file are fitted to the declared columns.
#[derive(Debug)]
pub(crate) struct Fitted {
    whole: Arc<Adapter>,
    /// `None`: all columns are asked for.
    narrow: Option<(Arc<Adapter>, Arc<Again>)>,
}

#[derive(Debug)]
struct Again {
    file: Arc<dyn RowFile>,
    adapter: Arc<Adapter>,
    /// Whether rows had to be read again.
    used: AtomicBool,
}

impl Whole for Again {
    fn rows(&self, first_row: u64, rows: usize) -> Result<RecordBatch> {
        self.used.store(true, Relaxed);
        self.file.read_again(&self.adapter, first_row, rows)
    }
}

impl Fitted {
    /// Fits rows of `file`, whose columns are `theirs`, as `adapter` does. `wanted`: which
    /// of the declared columns are asked for; `None`: all.
    pub(crate) fn new(
        file: Arc<dyn RowFile>,
        adapter: Adapter,
        theirs: &Schema,
        wanted: Option<&[bool]>,
    ) -> Self {
        let whole = Arc::new(adapter);
        let narrow = wanted.and_then(|wanted| {
            let again = Arc::new(Again {
                file,
                adapter: whole.clone(),
                used: AtomicBool::new(false),
            });
            let narrow = whole.narrowed(theirs, wanted, again.clone())?;
            Some((Arc::new(narrow), again))
        });
        Self { whole, narrow }
    }

    /// What fits all declared columns.
    pub(crate) fn whole(&self) -> &Adapter {
        &self.whole
    }

    /// What fits the next rows.
    pub(crate) fn adapter(&self) -> Arc<Adapter> {
        match &self.narrow {
            Some((narrow, again)) if !again.used.load(Relaxed) => narrow.clone(),
            _ => self.whole.clone(),
        }
    }
}
