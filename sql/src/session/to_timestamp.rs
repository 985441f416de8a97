//! `to_timestamp` and its kin: timestamps without a zone, read as UTC.
//!
//! DataFusion's own follow `execution.time_zone`, which a session sets for the sake of
//! TIMESTAMP WITH TIME ZONE: their type then promises the zone, but arrays made from a
//! column of text come without it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::SessionState;
use datafusion::functions::datetime;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// Replaces DataFusion's functions in a session.
pub(super) fn register(state: &mut SessionState) {
    let plain = ConfigOptions::default();
    for function in [
        datetime::to_timestamp(&plain),
        datetime::to_timestamp_seconds(&plain),
        datetime::to_timestamp_millis(&plain),
        datetime::to_timestamp_micros(&plain),
        datetime::to_timestamp_nanos(&plain),
    ] {
        let function = ScalarUDF::new_from_impl(WithoutZone(function));
        // The state's registry takes any function.
        let _ = state.register_udf(Arc::new(function));
    }
}

/// A function that stays as it is when the session's options change.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WithoutZone(Arc<ScalarUDF>);

impl ScalarUDFImpl for WithoutZone {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.0.inner().return_type(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.0.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}
