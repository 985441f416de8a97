//! Names for the columns of a query that are given none: the expression as it is written.
//!
//! ```text
//! SELECT k, count(*),  v  + 1 FROM r    ─▶   SELECT k, count(*) AS "count(*)", v + 1 AS "v + 1" FROM r
//! ```
//!
//! `TUMBLE_START(…)` and its like are named as they are written, too; `tumble(…)` is called
//! `window`, as in Arroyo. A field of a struct, `a.b.c`, looks like a column of a table here:
//! the plan tells them apart (`plan::fields`).
//!
//! Only the outermost list is seen by a reader; the planner's own names serve within.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Select, SelectItem,
    SetExpr,
};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::positions::Positions;
use super::window_call::WindowKind;

/// The words that end a select list.
const AFTER_LIST: [&str; 14] = [
    "FROM",
    "INTO",
    "WHERE",
    "GROUP",
    "HAVING",
    "QUALIFY",
    "WINDOW",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "UNION",
    "EXCEPT",
    "INTERSECT",
];

/// Names the outermost columns of a query that stands in the tokens `within`.
pub(super) fn name_columns(query: &mut Query, positions: &Positions, within: &Range<usize>) {
    let Some(select) = first_select(&mut query.body) else {
        return;
    };
    let Some(items) = select_items(positions, within) else {
        return;
    };
    if items.len() != select.projection.len() {
        return;
    }
    for (item, tokens) in select.projection.iter_mut().zip(items) {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        if has_own_name(expr) {
            continue;
        }
        *item = SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias: Ident::with_quote('"', text(positions, tokens)),
        };
    }
}

/// The SELECT that gives a query's columns their names, if it stands outside parentheses.
fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// Columns have names; unnest may give several columns, which it names itself, and so do
/// the windows of GROUP BY.
fn has_own_name(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        Expr::Nested(inner) => has_own_name(inner),
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            let args = match &function.args {
                FunctionArguments::List(list) => list.args.as_slice(),
                _ => &[],
            };
            name == "unnest"
                || WindowKind::of(&name).is_some()
                || args.iter().any(|arg| {
                    matches!(
                        arg,
                        FunctionArg::Unnamed(
                            FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_)
                        )
                    ) && name != "count"
                })
        }
        _ => false,
    }
}

/// The tokens of each item of the first select list outside parentheses.
fn select_items(positions: &Positions, within: &Range<usize>) -> Option<Vec<Range<usize>>> {
    let tokens = positions.tokens();
    let word = |index: usize| match &tokens[index].token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
        _ => String::new(),
    };
    let mut depth = 0usize;
    let mut start = None;
    let mut items = Vec::new();
    for index in within.clone() {
        match tokens[index].token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth > 0 {
            continue;
        }
        match start {
            None if word(index) == "SELECT" => {
                let mut first = index + 1;
                while first < within.end && matches!(word(first).as_str(), "ALL" | "DISTINCT") {
                    // The list behind ON is not that of the columns.
                    if first + 1 < within.end && word(first + 1) == "ON" {
                        return None;
                    }
                    first += 1;
                }
                start = Some(first);
            }
            None => {}
            Some(first) if tokens[index].token == Token::Comma => {
                items.push(first..index);
                start = Some(index + 1);
            }
            // IS [NOT] DISTINCT FROM and WITHIN GROUP go on.
            Some(first)
                if AFTER_LIST.contains(&word(index).as_str())
                    && !(word(index) == "FROM" && word(index - 1) == "DISTINCT")
                    && !(word(index) == "GROUP" && word(index - 1) == "WITHIN") =>
            {
                items.push(first..index);
                return Some(items);
            }
            Some(_) => {}
        }
    }
    items.push(start?..within.end);
    Some(items)
}

/// Tokens as they are written, with one space where there is any.
fn text(positions: &Positions, tokens: Range<usize>) -> String {
    let mut text = String::new();
    let mut end = None;
    for index in tokens {
        let bytes = positions.token_bytes(index);
        if end.is_some_and(|end| end < bytes.start) {
            text.push(' ');
        }
        end = Some(bytes.end);
        text.push_str(positions.text(&bytes));
    }
    text
}
