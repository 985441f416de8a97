//! A session as sqllogictest sees a database, said to in the words of a mode.

use arrow::datatypes::DataType;
use sqllogictest::{DB, DBOutput, DefaultColumnType};
use windrow_sql::session::{Session, SessionConfig};
use windrow_tests::cell::texts;
use windrow_tests::random::Random;
use windrow_tests::rewrite::{Insert, declared_bound_us, is_declaration, with_time_unit};

use super::modes::{Mode, Pieces};

/// A session, and what must be said again to a new one before it is restored.
pub struct Database {
    mode: Mode,
    session: Session,
    declarations: Vec<String>,
    bounds_us: Vec<(String, i64)>,
    random: Random,
}

type Output = DBOutput<DefaultColumnType>;
type Result<T> = std::result::Result<T, windrow_sql::Error>;

impl Database {
    pub fn new(mode: Mode) -> Result<Self> {
        Ok(Self {
            mode,
            session: session(mode)?,
            declarations: Vec::new(),
            bounds_us: Vec::new(),
            random: Random::new(mode.seed),
        })
    }

    fn statement(&mut self, sql: &str) -> Result<Output> {
        let sql = match self.mode.time_digits {
            Some(digits) => with_time_unit(sql, digits),
            None => sql.to_owned(),
        };
        if let Some(insert) = Insert::parse(&sql) {
            self.insert(&insert)?;
            return Ok(Output::StatementComplete(0));
        }
        let answer = self.session.sql(&sql)?;
        let types: Vec<_> = (answer.schema().fields().iter())
            .map(|field| column_type(field.data_type()))
            .collect();
        let batches = answer.collect()?;
        self.bounds_us.extend(declared_bound_us(&sql));
        if is_declaration(&sql) {
            self.declarations.push(sql);
            return Ok(Output::StatementComplete(0));
        }
        if types.is_empty() {
            return Ok(Output::StatementComplete(0));
        }
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend(texts(batch).map_err(|error| {
                windrow_sql::Error::new(windrow_sql::ErrorKind::Data, error.to_string())
            })?);
        }
        Ok(Output::Rows { types, rows })
    }

    fn insert(&mut self, insert: &Insert) -> Result<()> {
        let mut rows = insert.rows.clone();
        if self.mode.is_shuffled {
            let stream = insert.stream();
            let bound = (self.bounds_us.iter())
                .find(|(name, _)| Some(name) == stream.as_ref())
                .map_or(0, |(_, bound)| *bound);
            if bound > 0 {
                rows = insert.shuffled(bound, &mut self.random);
            }
        }
        let pieces = match self.mode.pieces {
            Pieces::Whole => vec![rows.len()],
            Pieces::Rows => vec![1; rows.len()],
            Pieces::Random => self.random.pieces(rows.len(), 4),
        };
        let mut rest = rows.as_slice();
        for piece in pieces {
            let (now, later) = rest.split_at(piece);
            rest = later;
            if self.mode.is_restarted {
                self.restart()?;
            }
            self.session.sql(&insert.statement(now))?.collect()?;
        }
        Ok(())
    }

    /// Saves the session and goes on with a new one in which all has been declared
    /// again.
    fn restart(&mut self) -> Result<()> {
        let snapshot = self.session.snapshot()?;
        let fresh = session(self.mode)?;
        for declaration in &self.declarations {
            fresh.sql(declaration)?.collect()?;
        }
        fresh.restore(&snapshot)?;
        self.session = fresh;
        Ok(())
    }
}

fn session(mode: Mode) -> Result<Session> {
    Session::with_config(SessionConfig {
        workers: mode.workers,
        ..SessionConfig::default()
    })
}

impl DB for Database {
    type Error = windrow_sql::Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<Output> {
        // sqllogictest calls from inside an executor of its own, and a session starts
        // one too; they cannot be nested in one thread.
        std::thread::scope(|scope| {
            (scope.spawn(|| self.statement(sql)).join())
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn engine_name(&self) -> &str {
        "windrow"
    }
}

/// `I`: whole numbers, `R`: other numbers, `T`: everything else.
fn column_type(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        data_type if data_type.is_integer() => DefaultColumnType::Integer,
        data_type if data_type.is_numeric() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}
