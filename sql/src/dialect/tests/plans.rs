//! DataFusion plans the trees that leave this module.

use arrow::array::{Int64Array, RecordBatch};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::*;

/// The rows of a query over `r(k, x)` = (1, 10), (1, 20), (2, 5).
fn answer(text: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let column = |values: [i64; 3]| Arc::new(Int64Array::from_iter_values(values)) as _;
        let columns = [("k", column([1, 1, 2])), ("x", column([10, 20, 5]))];
        let context = SessionContext::new();
        (context.register_batch("r", RecordBatch::try_from_iter(columns).unwrap())).unwrap();
        let statement = Parsed::Statement(Box::new(Sql::Query(Box::new(query(text).ast))));
        let plan = context.state().statement_to_plan(statement).await.unwrap();
        let rows = (context.execute_logical_plan(plan).await.unwrap())
            .collect()
            .await
            .unwrap();
        let table = arrow::util::pretty::pretty_format_batches(&rows)
            .unwrap()
            .to_string();
        let cells = table.lines().skip(3).filter(|line| line.starts_with('|'));
        cells
            .map(|line| line.replace([' ', '|'], "") + ";")
            .collect()
    })
}

#[test]
fn refined_windows_give_what_the_standard_says() {
    let text = "SELECT x, sum(x) OVER (w ROWS UNBOUNDED PRECEDING) AS s FROM r
                WINDOW w AS (PARTITION BY k ORDER BY x) ORDER BY sum(x) OVER w, x DESC";
    assert_eq!(answer(text), "55;1010;2030;");
}

#[test]
fn from_may_come_first_and_alone() {
    assert_eq!(answer("FROM r SELECT x WHERE k = 2"), "5;");
    assert_eq!(answer("FROM r ORDER BY x LIMIT 1"), "25;");
}

#[test]
fn a_struct_of_the_window_is_reachable_outside() {
    let text = "SELECT window.start FROM
                (SELECT named_struct('start', k, 'end', x) AS window FROM r GROUP BY k, x)
                WHERE window.end = 5";
    assert_eq!(answer(text), "2;");
    let text = "SELECT a.window.start FROM
                (SELECT named_struct('start', k, 'end', x) AS window FROM r) AS a
                JOIN (SELECT named_struct('start', k, 'end', x) AS window FROM r) AS b
                ON a.window = b.window WHERE b.window.end = 5";
    assert_eq!(answer(text), "2;");
}
