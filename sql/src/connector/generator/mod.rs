//! Simulated readings of a city or a plant, for trials, tests and measurements.
//!
//! Every value is a function of the options and of the reading's ordinal alone. So the
//! same options give the same rows whatever the sizes of batches and the number of
//! threads, and whatever arrives late is computed again when it arrives instead of
//! being kept:
//!
//! ```text
//!  ordinal ─▶ lost? silent? delayed? copied? ─▶ ordinals in order of arrival ─▶ columns
//!             (arrivals, on one thread)          (bounded: 24 bytes for each      (readings,
//!                                                 reading under way)               on all)
//! ```
//!
//! What is wrong with a reading stands in its `label`, so that the accuracy of an
//! analysis can be computed.
//!
//! Only `source` reads a clock, and only when asked for `realtime`.

mod hash;

mod options;

mod arrivals;
mod readings;

mod source;

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use arrivals::Arrivals;
pub use options::{GeneratorOptions, Theme};
use readings::Readings;
pub use source::GeneratorSource;

use crate::error::Result;

/// The columns of generated rows:
///
/// | column | |
/// |---|---|
/// | `ts` | event time, microseconds |
/// | `sensor` | its name |
/// | `district`, `kind` | where and what it is |
/// | `value` | the main quantity: fine dust in µg/m³, or vibration in mm/s |
/// | `temp`, `humidity` | °C, % |
/// | `seq` | counts a sensor's readings from 0; a gap is a loss |
/// | `label` | `normal`, `spike`, `stuck`, `null`, or `duplicate` |
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let column = |name, data_type| Field::new(name, data_type, false);
        Arc::new(Schema::new(vec![
            column("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
            column("sensor", DataType::Utf8),
            column("district", DataType::Utf8),
            column("kind", DataType::Utf8),
            Field::new("value", DataType::Float64, true),
            column("temp", DataType::Float64),
            column("humidity", DataType::Float64),
            column("seq", DataType::Int64),
            column("label", DataType::Utf8),
        ]))
    });
    SCHEMA.clone()
}

/// Rows in order of arrival, batch by batch, on the thread that asks.
#[derive(Debug)]
pub struct Generator {
    arrivals: Arrivals,
    readings: Readings,
    batch_rows: usize,
}

impl Generator {
    /// # Errors
    /// Of kind [`crate::ErrorKind::Option`] if the options do not fit each other.
    pub fn new(options: &GeneratorOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            arrivals: Arrivals::new(options),
            readings: Readings::new(options),
            batch_rows: options.batch_rows,
        })
    }
}

impl Iterator for Generator {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        let mut arrived = Vec::with_capacity(self.batch_rows);
        while arrived.is_empty() && self.arrivals.due().is_some() {
            self.arrivals.take(self.batch_rows, u64::MAX, &mut arrived);
        }
        (!arrived.is_empty()).then(|| self.readings.rows(&arrived))
    }
}

#[cfg(test)]
mod tests;
