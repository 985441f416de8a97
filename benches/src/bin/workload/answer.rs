//! What is compared between engines: a few numbers that a wrong row would change.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use serde_json::{Map, Value, json};

use crate::Result;

/// Sums over result rows, by column: `n`, `low` and `high`, and every other float as it is.
#[derive(Debug, Default)]
pub struct Answer {
    rows: u64,
    counts: Option<i64>,
    low: Option<f64>,
    high: Option<f64>,
    /// Sums of float columns, in the order of the columns.
    sums: Vec<(String, f64)>,
}

impl Answer {
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            match (field.name().as_str(), column.data_type()) {
                ("n", DataType::Int64) => {
                    let sum = compute::sum(column.as_primitive::<Int64Type>());
                    *self.counts.get_or_insert(0) += sum.unwrap_or(0);
                }
                (name, DataType::Float64) => self.add_floats(name, column.as_ref()),
                ("sensor" | "window_start" | "window_end", _) => {}
                (name, kind) => return Err(format!("column {name} is {kind}").into()),
            }
        }
        Ok(())
    }

    fn add_floats(&mut self, name: &str, column: &dyn Array) {
        let values = column.as_primitive::<Float64Type>();
        match name {
            "low" => self.low = least(self.low, compute::min(values)),
            "high" => self.high = greatest(self.high, compute::max(values)),
            _ => {}
        }
        let sum = compute::sum(values).unwrap_or(0.0);
        match self.sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => *all += sum,
            None => self.sums.push((name.into(), sum)),
        }
    }

    /// `low` and `high` are the least and the greatest, `lows` and `highs` their sums.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("rows".into(), json!(self.rows));
        let exact = [
            ("n", self.counts.map(|it| json!(it))),
            ("low", self.low.map(|it| json!(it))),
            ("high", self.high.map(|it| json!(it))),
        ];
        for (name, value) in exact {
            value.map(|value| fields.insert(name.into(), value));
        }
        for (name, sum) in &self.sums {
            let name = match name.as_str() {
                "low" => "lows",
                "high" => "highs",
                other => other,
            };
            fields.insert(name.into(), json!(sum));
        }
        Value::Object(fields)
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::min)
}

fn greatest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}
