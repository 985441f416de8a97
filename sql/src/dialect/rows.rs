//! Rows of an INSERT that say one column in two ways: as a text and as a typed constant.
//!
//! ```text
//! VALUES (TIMESTAMP '2026-01-01', 1), ('2026-01-02', 2)
//!   ─▶ VALUES (CAST(TIMESTAMP '2026-01-01' AS TEXT), 1), ('2026-01-02', 2)
//! ```
//!
//! A column of VALUES has one type, and a text is one that every stream's column takes, as
//! strictly as if all rows had been written so: nothing is rounded on the way.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{CastKind, DataType, Expr, SetExpr, Value};

use super::statement::Query;

/// The query with each such column as texts; `None` if there is none.
pub fn rows_as_texts(query: &Query) -> Option<Query> {
    let SetExpr::Values(values) = query.ast.body.as_ref() else {
        return None;
    };
    let rows = || values.rows.iter().map(|row| row.iter().enumerate());
    let columns = |wanted: fn(&Expr) -> bool| -> BTreeSet<usize> {
        (rows().flatten())
            .filter(|(_, expr)| wanted(expr))
            .map(|(column, _)| column)
            .collect()
    };
    let texts = columns(is_text);
    let mixed: BTreeSet<usize> = (columns(is_typed).intersection(&texts).copied()).collect();
    if mixed.is_empty() {
        return None;
    }
    let mut query = query.clone();
    if let SetExpr::Values(values) = query.ast.body.as_mut() {
        let cells = values
            .rows
            .iter_mut()
            .flat_map(|row| row.iter_mut().enumerate());
        for (_, expr) in cells.filter(|(column, expr)| mixed.contains(column) && is_typed(expr)) {
            *expr = as_text(expr.clone());
        }
    }
    Some(query)
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

/// Whether an expression is neither a text nor NULL, which has any type.
fn is_typed(expr: &Expr) -> bool {
    !is_text(expr) && !matches!(expr, Expr::Value(value) if matches!(value.value, Value::Null))
}

fn as_text(expr: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: DataType::Text,
        array: false,
        format: None,
    }
}
