//! A source, a sink and a function of one's own.
//!
//! ```sh
//! cargo run -p windrow-sql --example own_parts
//! ```

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit};
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use windrow_core::stream::{Sink, Source, SourceEvent};
use windrow_sql::connector::registry::Connector;
use windrow_sql::{Result, Session};

/// A thermometer that is read every 100 ms for a minute.
#[derive(Debug)]
struct Thermometer;

fn columns() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("at", time, true),
        Field::new("celsius", DataType::Float64, true),
    ]))
}

impl Connector for Thermometer {
    fn schema(&self) -> SchemaRef {
        columns()
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(Reading { next: 0 }))
    }
}

#[derive(Debug)]
struct Reading {
    next: i64,
}

impl Source for Reading {
    fn schema(&self) -> SchemaRef {
        columns()
    }

    fn poll(&mut self, _wait: Duration) -> windrow_core::Result<SourceEvent> {
        const BATCH: i64 = 50;
        if self.next >= 600 {
            return Ok(SourceEvent::End);
        }
        let ticks = self.next..self.next + BATCH;
        self.next += BATCH;
        let times = ticks.clone().map(|tick| tick * 100);
        let values = ticks.map(|tick| 20.0 + tick as f64 / 100.0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMillisecondArray::from_iter_values(times)),
            Arc::new(Float64Array::from_iter_values(values)),
        ];
        Ok(SourceEvent::Batch {
            partition: 0,
            records: RecordBatch::try_new(self.schema(), columns)?,
            rejected: Vec::new(),
            origin: None,
            bytes: 0,
        })
    }
}

/// Prints each window on a line of its own.
#[derive(Debug)]
struct Printer;

impl Sink for Printer {
    fn write(&mut self, records: &RecordBatch) -> windrow_core::Result<()> {
        let means = records.column(1).as_primitive::<Float64Type>();
        for mean in means.values() {
            println!("mean of ten seconds: {mean:.2} °F");
        }
        Ok(())
    }

    fn finish(&mut self) -> windrow_core::Result<()> {
        println!("done");
        Ok(())
    }
}

fn main() -> Result<()> {
    let session = Session::new()?;
    session.register_function(create_udf(
        "fahrenheit",
        vec![DataType::Float64],
        DataType::Float64,
        Volatility::Immutable,
        Arc::new(|args: &[ColumnarValue]| {
            let celsius = ColumnarValue::values_to_arrays(args)?;
            let celsius = celsius[0].as_primitive::<Float64Type>();
            let values: Float64Array = celsius.unary(|celsius| celsius * 1.8 + 32.0);
            Ok(ColumnarValue::Array(Arc::new(values)))
        }),
    ));
    session.add_stream(
        "thermometer",
        Arc::new(Thermometer),
        Some(("at", Duration::ZERO)),
    )?;
    session.sql(
        "CREATE MATERIALIZED VIEW means AS
         SELECT window_start, avg(fahrenheit(celsius)) AS mean
         FROM TUMBLE(thermometer, at, INTERVAL '10' SECOND) GROUP BY window_start",
    )?;
    session.add_sink("means", Box::new(Printer))?;
    session.run()
}
