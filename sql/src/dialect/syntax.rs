//! The dialect that sqlparser reads our expressions and queries in: its Generic
//! dialect, and what window functions take besides.
//!
//! - `TABLE t` as an argument: `TUMBLE(TABLE readings, …)`, read as the call `TABLE(t)`.
//! - `src PARTITION BY k` as an argument: `SESSION(readings PARTITION BY sensor, …)`,
//!   read as the operator [`PARTITION_BY`].
//!
//! Neither means anything elsewhere: where they stand outside a window function,
//! planning fails on an unknown function or operator.
//!
//! - `(VALUES …)` and `(VALUES …) AS t(ts, v)` are subqueries wherever an expression may
//!   stand; sqlparser would take VALUES for a function.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TableFactor,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::window_call::select_all;

/// The name of the operator between a window's source and its keys.
pub(super) const PARTITION_BY: &str = "PARTITION BY";

/// Binds tighter than every operator of the Generic dialect.
const PARTITION_BY_PRECEDENCE: u8 = 200;

/// sqlparser's Generic dialect with the arguments that window functions take.
#[derive(Debug, Default, Clone, Copy)]
pub struct WindrowDialect;

/// Answers as the Generic dialect does.
macro_rules! as_generic {
    ($($method:ident)*) => {
        $(fn $method(&self) -> bool {
            GenericDialect.$method()
        })*
    };
}

impl Dialect for WindrowDialect {
    // sqlparser asks for this type wherever it treats Generic as special.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let [open, values, row] = parser.peek_tokens_ref::<3>();
        if open.token == Token::LParen
            && is_keyword(&values.token, Keyword::VALUES)
            && row.token == Token::LParen
        {
            return Some(rows(parser));
        }
        let starts_argument = matches!(
            parser.get_current_token().token,
            Token::LParen | Token::Comma | Token::RArrow
        );
        let [table, name] = parser.peek_tokens_ref::<2>();
        let names_table = match &name.token {
            Token::Word(word) => !matches!(word.keyword, Keyword::SELECT | Keyword::WITH),
            Token::SingleQuotedString(_) => true,
            _ => false,
        };
        if !(starts_argument && is_keyword(&table.token, Keyword::TABLE) && names_table) {
            return None;
        }
        let span = parser.next_token().span;
        Some(parser.parse_object_name(true).map(|name| {
            let parts = (name.0.into_iter())
                .filter_map(|part| part.as_ident().cloned())
                .collect::<Vec<_>>();
            let source = match <[Ident; 1]>::try_from(parts) {
                Ok([name]) => Expr::Identifier(name),
                Err(parts) => Expr::CompoundIdentifier(parts),
            };
            call(Ident::with_span(span, "TABLE"), source)
        }))
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        let [partition, by] = parser.peek_tokens_ref::<2>();
        (is_keyword(&partition.token, Keyword::PARTITION) && is_keyword(&by.token, Keyword::BY))
            .then_some(Ok(PARTITION_BY_PRECEDENCE))
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        source: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if !parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
            return None;
        }
        Some(
            parser
                .parse_subexpr(PARTITION_BY_PRECEDENCE)
                .map(|keys| Expr::BinaryOp {
                    left: Box::new(source.clone()),
                    op: BinaryOperator::Custom(PARTITION_BY.into()),
                    right: Box::new(keys),
                }),
        )
    }

    as_generic! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_from_first_select
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword && word.quote_style.is_none())
}

/// `(VALUES …)`, and `[AS] t(a, b)` behind it: a name without columns would be the alias
/// of an expression.
fn rows(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    let named = {
        let [first, second, third] = parser.peek_tokens_ref::<3>();
        let (name, columns) = match is_keyword(&first.token, Keyword::AS) {
            true => (&second.token, &third.token),
            false => (&first.token, &second.token),
        };
        matches!(name, Token::Word(word) if word.keyword == Keyword::NoKeyword)
            && *columns == Token::LParen
    };
    if !named {
        return Ok(Expr::Subquery(query));
    }
    let alias = parser.maybe_parse_table_alias()?;
    let rows = TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias,
        sample: None,
    };
    Ok(Expr::Subquery(Box::new(select_all(rows, None))))
}

/// `name(argument)`.
fn call(name: Ident, argument: Expr) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
