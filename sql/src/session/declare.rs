//! From `CREATE STREAM` to a stream: columns, rules, event time, options.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast;
use windrow_core::pipeline::{EventTime, Expect, LiveRules, OnError};
use windrow_core::time;

use super::catalog::StreamEntry;
use super::stream_rules::Rules;
use crate::connector::registry::{Connector, Connectors, Pairs};
use crate::dialect::{ColumnDef, CreateStream, OptionValue, Options, Positions};
use crate::error::{Error, ErrorKind, Result, Script, nearest};
use crate::exec::{CheckRule, ColumnExpr, ComputedColumn};
use crate::format::encode::setting::Settings;
use crate::plan;

/// A live partition that is silent for so long is not waited for.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How far ahead of the clock a row of a live stream may be.
const MAX_FUTURE: Duration = Duration::from_secs(300);

/// What is at hand where a stream is declared.
pub(super) struct Declaration<'a> {
    pub(super) state: &'a SessionState,
    pub(super) connectors: &'a Connectors,
    pub(super) script: &'a Arc<Script>,
}

/// An expression of a declaration, as it is written.
struct Written<'a> {
    expr: &'a ast::Expr,
    noun: &'static str,
    positions: &'a Positions,
    span: Range<usize>,
}

impl Declaration<'_> {
    /// The stream that a `CREATE STREAM` declares.
    pub(super) fn stream(&self, create: &CreateStream) -> Result<StreamEntry> {
        let mut options = create.options.clone();
        let connector_name = options.remove("connector");
        let place = |error: Error, name: &str| match create.options.get(name) {
            Some(option) => error.at(option.span.clone()),
            None => error,
        };

        let own = pairs(&take(
            &mut options,
            &[
                "idle_timeout",
                "max_future",
                "on_error",
                "expect_every",
                "expect_by",
            ],
        ));
        let mut own = Settings::new(&own);
        let idle_timeout = own
            .duration("idle_timeout")
            .map_err(|e| place(e, "idle_timeout"))?;
        let max_future = own
            .duration("max_future")
            .map_err(|e| place(e, "max_future"))?;
        let on_error = own
            .parse("on_error", "'keep', 'skip' or 'fail'", |text| match text {
                "keep" => Some(OnError::Keep),
                "skip" => Some(OnError::Skip),
                "fail" => Some(OnError::Fail),
                _ => None,
            })
            .map_err(|e| place(e, "on_error"))?;

        let read: Vec<&ColumnDef> = create
            .columns
            .iter()
            .filter(|column| column.computed.is_none())
            .collect();
        let declared = (!read.is_empty()).then(|| {
            let fields = read.iter().map(|column| {
                let data_type = column.data_type.clone().unwrap_or(DataType::Utf8);
                Field::new(&column.name.value, data_type, true)
            });
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        });
        let connector = match &connector_name {
            Some(name) => {
                let kind = self
                    .connectors
                    .get(&name.value)
                    .map_err(|e| e.at(name.span.clone()))?;
                let (connector, unknown) = kind
                    .named_source(&create.name.value, &pairs(&options), declared.clone())
                    .map_err(|error| at_column(error, &read))
                    .map_err(|error| located(error, &options).at(name.span.clone()))?;
                refuse_unknown(&unknown, &options, &kind.option_names())?;
                Some(connector)
            }
            None => {
                let mut names: Vec<String> = options.keys().cloned().collect();
                // What is misspelt is named before what only a connector knows.
                names.sort_by_key(|name| nearest(name, ["connector"]).is_none());
                refuse_unknown(&names, &options, &["connector"])?;
                None
            }
        };
        let source = match (&connector, declared) {
            (Some(connector), _) => connector.schema(),
            (None, Some(declared)) => declared,
            (None, None) => {
                return Err(Error::new(
                    ErrorKind::Plan,
                    format!("stream {} has neither columns nor a connector", create.name.value),
                )
                .help("list its columns: CREATE STREAM readings (ts TIMESTAMP, sensor TEXT, value DOUBLE)")
                .at(create.name.span.clone()));
            }
        };
        let rules = self.rules(create, &source)?;
        let event_time = self.event_time(create, &rules.schema)?;
        let expect = expect(&mut own, event_time, &rules.schema)
            .map_err(|error| located(error, &create.options))?;
        let is_live = connector
            .as_ref()
            .is_none_or(|connector| connector.is_live());
        let nanos = |duration: Option<Duration>, default: Duration| {
            i64::try_from(duration.unwrap_or(default).as_nanos()).unwrap_or(i64::MAX)
        };
        Ok(StreamEntry {
            name: create.name.value.clone(),
            rules,
            event_time,
            watermark: create.watermark.as_ref().map(|watermark| {
                let seconds = watermark.bound.nanos as f64 / 1e9;
                format!("{} - {seconds} s", watermark.column.value)
            }),
            live: is_live.then(|| LiveRules {
                idle_timeout_ns: nanos(idle_timeout, IDLE_TIMEOUT),
                max_future_ns: nanos(max_future, MAX_FUTURE),
            }),
            on_error: on_error.unwrap_or_default(),
            expect,
            connector,
            connector_name: connector_name.map_or_else(|| "push".into(), |name| name.value),
            implicit: false,
            place: Some((place_of(create), self.script.clone())),
            readings: Default::default(),
        })
    }

    fn event_time(&self, create: &CreateStream, schema: &Schema) -> Result<Option<EventTime>> {
        let (name, bound) = match (&create.watermark, &create.event_time_field) {
            (Some(watermark), _) => (&watermark.column, watermark.bound.nanos),
            (None, Some(field)) => (field, 0),
            (None, None) => return Ok(None),
        };
        let Some((column, field)) = schema.column_with_name(&name.value) else {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let error = Error::new(
                ErrorKind::Plan,
                format!("there is no column {}", name.value),
            )
            .at(name.span.clone());
            return Err(match nearest(&name.value, names) {
                Some(meant) => error.help(format!("did you mean {meant}?")),
                None => error.help("WATERMARK FOR names a TIMESTAMP column of the stream"),
            });
        };
        let unit = time::time_unit(field.data_type()).map_err(|_| {
            Error::new(
                ErrorKind::Plan,
                format!(
                    "column {} is {}, an event time must be a TIMESTAMP",
                    name.value,
                    plan::sql_type(field.data_type())
                ),
            )
            .help("compute one: ts TIMESTAMP AS (to_timestamp_millis(epoch))")
            .at(name.span.clone())
        })?;
        let bound = time::bound_ticks(bound, unit)?;
        Ok(Some(EventTime { column, bound }))
    }

    fn rules(&self, create: &CreateStream, source: &SchemaRef) -> Result<Rules> {
        let mut working: Vec<Field> = source
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        if create.columns.is_empty() {
            let schema = Arc::new(Schema::new(working));
            let mut rules = Rules::none(schema.clone());
            rules.checks = self.checks(create, &schema)?;
            return Ok(rules);
        }
        let mut computed = Vec::new();
        let mut places = Vec::with_capacity(create.columns.len());
        let mut notes = Vec::with_capacity(create.columns.len());
        // All computed columns are computed over the source's columns and the computed
        // ones before them, wherever they stand in the list.
        let mut read = 0;
        for column in &create.columns {
            let mut note = Vec::new();
            match &column.computed {
                None => {
                    places.push(Some(read));
                    read += 1;
                }
                Some(expr) => {
                    let schema = Schema::new(working.clone());
                    let written = Written {
                        expr,
                        noun: "a computed column",
                        positions: &create.positions,
                        span: column.span.clone(),
                    };
                    let (expr, data_type) =
                        self.compile(&written, &schema, column.data_type.as_ref())?;
                    let name = column.name.value.clone();
                    places.push(Some(working.len()));
                    // A computed column takes the place of the source's of its name, which
                    // may stand in its own expression alone.
                    for field in working.iter_mut().filter(|field| *field.name() == name) {
                        *field = field.clone().with_name(format!("{name} of the source"));
                    }
                    working.push(Field::new(&name, data_type, true));
                    computed.push(ComputedColumn { name, expr });
                    note.push("computed".to_string());
                }
            }
            if column.not_null {
                note.push("NOT NULL".into());
            }
            for check in &column.checks {
                note.push(format!("CHECK ({})", check.text));
            }
            notes.push(note.join(" "));
        }
        if read == 0 {
            // No column of the source is listed: all of them are meant.
            let computed = |name: &str| create.columns.iter().any(|one| one.name.value == name);
            let inferred =
                (0..source.fields().len()).filter(|place| !computed(source.field(*place).name()));
            places.extend(inferred.map(Some));
            notes.resize(places.len(), String::new());
        }
        let places: Vec<usize> = places.into_iter().flatten().collect();
        let fields: Vec<Field> = places.iter().map(|place| working[*place].clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        let not_null = (create.columns.iter().enumerate())
            .filter(|(_, column)| column.not_null)
            .map(|(place, _)| place)
            .collect();
        let checks = self.checks(create, &schema)?;
        Ok(Rules {
            schema,
            working: Arc::new(Schema::new(working)),
            computed,
            places,
            not_null,
            checks,
            notes,
        })
    }

    fn checks(&self, create: &CreateStream, schema: &Schema) -> Result<Vec<CheckRule>> {
        let of_columns = create.columns.iter().flat_map(|column| &column.checks);
        (of_columns.chain(&create.table_checks))
            .map(|check| {
                let written = Written {
                    expr: &check.expr,
                    noun: "a CHECK",
                    positions: &create.positions,
                    span: check.span.clone(),
                };
                let (expr, _) = self.compile(&written, schema, Some(&DataType::Boolean))?;
                Ok(CheckRule {
                    name: check.name.clone().unwrap_or_else(|| check.text.clone()),
                    expr,
                })
            })
            .collect()
    }

    /// An expression over columns, of a type if one is asked for.
    fn compile(
        &self,
        written: &Written<'_>,
        schema: &Schema,
        data_type: Option<&DataType>,
    ) -> Result<(ColumnExpr, DataType)> {
        let functions = self.state.scalar_functions().keys().cloned();
        let context = plan::Context {
            positions: written.positions,
            span: written.span.clone(),
            tables: &[],
            functions: &functions.collect::<Vec<_>>(),
        };
        let told = |error| context.tell(error);
        let refused = |message: String| {
            Error::new(ErrorKind::Plan, message)
                .at(written.span.clone())
                .in_script(written.positions.script())
        };
        let noun = written.noun;
        let schema = DFSchema::try_from(schema.clone()).map_err(told)?;
        let aliased = ast::ExprWithAlias {
            expr: written.expr.clone(),
            alias: None,
        };
        let expr = (self
            .state
            .create_logical_expr_from_sql_expr(aliased, &schema))
        .map_err(told)?;
        if let Some(what) = plan::not_of_one_row(&expr) {
            return Err(
                refused(format!("{noun} sees one row, and {what} needs more"))
                    .help("compute it in a query: CREATE MATERIALIZED VIEW … AS SELECT …"),
            );
        }
        if let Some(function) = plan::clock_function(&expr) {
            return Err(refused(format!(
                "{function}() would be fixed at the moment when the stream is created"
            ))
            .help("use the event time, or a time column that the source fills in"));
        }
        let mut expr = plan::widened(expr, &schema).map_err(told)?.data;
        let given = expr.get_type(&schema).map_err(told)?;
        let wanted = data_type.cloned().unwrap_or_else(|| given.clone());
        if wanted == DataType::Boolean && given != DataType::Boolean {
            let given = plan::sql_type(&given);
            return Err(refused(format!("{noun} is a condition, not {given}"))
                .help("compare the value: CHECK (v > 0)"));
        }
        if given != wanted {
            expr = expr.cast_to(&wanted, &schema).map_err(told)?;
        }
        let expr = self.simplified(expr, &schema).map_err(told)?;
        let expr = self
            .state
            .create_physical_expr(expr, &schema)
            .map_err(told)?;
        Ok((expr, wanted))
    }

    fn simplified(&self, expr: Expr, schema: &DFSchema) -> datafusion::common::Result<Expr> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(self.state.config_options().clone())
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expr = simplifier.coerce(expr, schema)?;
        simplifier.simplify(expr)
    }
}

/// A stream over a source that a program brings.
pub(super) fn own_stream(
    name: &str,
    source: Arc<dyn Connector>,
    event_time: Option<(&str, Duration)>,
) -> Result<StreamEntry> {
    let schema = source.schema();
    let event_time = match event_time {
        None => None,
        Some((column, bound)) => {
            let (place, field) = schema.column_with_name(column).ok_or_else(|| {
                Error::new(ErrorKind::Plan, format!("there is no column {column}"))
            })?;
            let unit = time::time_unit(field.data_type())?;
            let nanos = i128::try_from(bound.as_nanos()).unwrap_or(i128::MAX);
            Some(EventTime {
                column: place,
                bound: time::bound_ticks(nanos, unit)?,
            })
        }
    };
    let fields = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(StreamEntry {
        name: name.into(),
        rules: Rules::none(schema),
        event_time,
        watermark: None,
        live: source.is_live().then(|| LiveRules {
            idle_timeout_ns: IDLE_TIMEOUT.as_nanos() as i64,
            max_future_ns: MAX_FUTURE.as_nanos() as i64,
        }),
        on_error: OnError::default(),
        expect: None,
        connector: Some(source),
        connector_name: "own".into(),
        implicit: false,
        place: None,
        readings: Default::default(),
    })
}

/// How many readings should come: `expect_every`, for each value of the columns of
/// `expect_by`.
fn expect(
    options: &mut Settings<'_>,
    event_time: Option<EventTime>,
    schema: &Schema,
) -> Result<Option<Expect>> {
    let every = options.duration("expect_every")?;
    let by = options.text("expect_by");
    let Some(every) = every else {
        return match by {
            None => Ok(None),
            Some(_) => {
                let message = "option expect_by says of what, but not how often";
                Err(Error::new(ErrorKind::Option, message)
                    .help("say it with expect_every = '10 seconds'"))
            }
        };
    };
    let Some(event_time) = event_time else {
        let message = "option expect_every counts intervals of event time, and there is none";
        return Err(Error::new(ErrorKind::Option, message)
            .help("declare it, for example: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND"));
    };
    let unit = time::time_unit(schema.field(event_time.column).data_type())?;
    let every = (i128::try_from(every.as_nanos()).ok())
        .and_then(|nanos| time::exact_ticks(nanos, unit).ok())
        .filter(|ticks| *ticks > 0);
    let Some(every) = every else {
        let message = format!(
            "option expect_every must be above zero and no finer than column {}",
            schema.field(event_time.column).name()
        );
        return Err(Error::new(ErrorKind::Option, message));
    };
    let key = |name: &str| {
        schema.index_of(name).map_err(|_| {
            let message = format!("option expect_by names \"{name}\", which is no column");
            let error = Error::new(ErrorKind::Option, message);
            match nearest(
                name,
                schema.fields().iter().map(|field| field.name().as_str()),
            ) {
                Some(meant) => error.help(format!("did you mean {meant}?")),
                None => error.help("name columns of the stream, with commas between them"),
            }
        })
    };
    let keys = by.into_iter().flat_map(|by| by.split(',')).map(str::trim);
    let keys = keys.map(key).collect::<Result<Vec<_>>>()?;
    Ok(Some(Expect { every, keys }))
}

/// The options of some names, taken out of the others.
fn take(options: &mut Options, names: &[&str]) -> Options {
    let taken = names.iter().filter_map(|name| options.remove_entry(*name));
    taken.collect()
}

/// Options as their values alone.
pub(super) fn pairs(options: &Options) -> Pairs {
    let values = options
        .iter()
        .map(|(name, option)| (name.clone(), option.value.clone()));
    values.collect()
}

/// Places an error that names an option at that option: one that is missing where a word
/// like it is written, and a value at itself.
pub(super) fn located(error: Error, options: &BTreeMap<String, OptionValue>) -> Error {
    let named = options.iter().find(|(name, _)| {
        (error
            .message()
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')))
        .any(|word| word == name.as_str())
    });
    let like = || {
        let (_, missing) = error.message().split_once("needs the option ")?;
        let written = nearest(missing, options.keys().map(String::as_str))?;
        Some(options.get(written)?.name_span.clone())
    };
    let valued = || {
        let mut options = options.values();
        let is_told = |value: &str| error.message().contains(&format!("'{value}'"));
        options.find_map(|option| is_told(&option.value).then(|| option.span.clone()))
    };
    let span: Option<Range<usize>> = named.map(|(_, option)| option.span.clone());
    match span.or_else(like).or_else(valued) {
        Some(span) => error.at(span),
        None => error,
    }
}

/// Where a stream says what it reads.
fn place_of(create: &CreateStream) -> Range<usize> {
    match create.options.get("address") {
        Some(address) => address.span.clone(),
        None => create.name.span.clone(),
    }
}

/// Places an error of a column that a source does not have at that column.
fn at_column(error: Error, columns: &[&ColumnDef]) -> Error {
    let column = (error.message().split_once("no column "))
        .and_then(|(_, name)| (columns.iter()).find(|column| column.name.value == name));
    match column {
        Some(column) => error.at(column.name.span.clone()),
        None => error,
    }
}

/// The options of streams that are not their connector's.
pub(super) const OWN_OPTIONS: [&str; 7] = [
    "connector",
    "idle_timeout",
    "max_future",
    "on_error",
    "event_time_field",
    "expect_every",
    "expect_by",
];

/// Refuses options that nobody knows, naming the nearest.
pub(super) fn refuse_unknown(unknown: &[String], options: &Options, known: &[&str]) -> Result<()> {
    let Some(name) = unknown.first() else {
        return Ok(());
    };
    let error = Error::new(ErrorKind::Option, format!("there is no option \"{name}\""));
    let error = match options.get(name) {
        Some(option) => error.at(option.name_span.clone()),
        None => error,
    };
    let mut known: Vec<&str> = known.iter().copied().chain(OWN_OPTIONS).collect();
    known.sort_unstable();
    known.dedup();
    Err(match nearest(name, known.iter().copied()) {
        Some(meant) => error.help(format!("did you mean {meant}?")),
        None => error.help(format!("the options are {}", known.join(", "))),
    })
}
