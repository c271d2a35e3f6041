//! Relations and expressions to PostgreSQL's SQL: total over what it knows, and `None` for the rest.
//!
//! Whether an expression *may* be pushed is not decided here ([`crate::pushdown`]); whether it *can* be
//! written is. Constants go through [`crate::literal`] only.

use sluice_spi::{CompareOp, Literal, RelColumn, Relation, ScalarExpr};

use crate::facts::Facts;
use crate::literal::{Class, SqlValue, quote_identifier};
use crate::types::ColumnType;

/// How constants are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constants {
    /// Inside of the statement: for COPY, and for people.
    Inline,
    /// As parameters, so that the statement's text is the same for other constants.
    Parameters,
}

/// A statement and its parameters, as the types' input functions read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteSql {
    pub(crate) text: String,
    pub(crate) parameters: Vec<String>,
}

/// `SELECT projection FROM relation LIMIT limit`. With an empty projection, the number of those rows.
pub(crate) fn select(
    relation: &Relation,
    facts: &Facts,
    projection: &[usize],
    limit: Option<usize>,
    constants: Constants,
) -> Option<RemoteSql> {
    let mut renderer = Renderer::new(relation.columns(), &facts.columns, constants);
    let mut body = String::from("FROM ");
    renderer.relation(relation, &mut body)?;
    if let Some(limit) = limit {
        body.push_str(&format!(" LIMIT {limit}"));
    }
    let text = if projection.is_empty() {
        match limit {
            None => format!("SELECT count(*) {body}"),
            Some(_) => format!("SELECT count(*) FROM (SELECT {body}) AS \"q\""),
        }
    } else {
        let columns = projection
            .iter()
            .map(|index| {
                let column = relation.columns().get(*index)?;
                Some(
                    facts
                        .columns
                        .get(*index)?
                        .select(&quote_identifier(&column.name)?),
                )
            })
            .collect::<Option<Vec<_>>>()?;
        format!("SELECT {} {body}", columns.join(", "))
    };
    Some(RemoteSql {
        text,
        parameters: renderer.parameters,
    })
}

/// True where a predicate over those columns can be written.
pub(crate) fn can_render(
    predicate: &ScalarExpr,
    columns: &[RelColumn],
    types: &[ColumnType],
) -> bool {
    Renderer::new(columns, types, Constants::Inline)
        .predicate(predicate)
        .is_some()
}

struct Renderer<'a> {
    columns: &'a [RelColumn],
    types: &'a [ColumnType],
    constants: Constants,
    parameters: Vec<String>,
}

impl<'a> Renderer<'a> {
    fn new(columns: &'a [RelColumn], types: &'a [ColumnType], constants: Constants) -> Self {
        Renderer {
            columns,
            types,
            constants,
            parameters: Vec::new(),
        }
    }

    fn relation(&mut self, relation: &Relation, out: &mut String) -> Option<()> {
        let mut predicates = Vec::new();
        let mut base = relation;
        while let Relation::Filter {
            input,
            predicates: more,
        } = base
        {
            predicates.extend(more);
            base = input;
        }
        match base {
            Relation::Scan { schema, table, .. } => {
                out.push_str(&quote_identifier(schema)?);
                out.push('.');
                out.push_str(&quote_identifier(table)?);
            }
            Relation::Native { text, columns } => {
                // The line break ends a comment at the text's end. That the text is one statement, and
                // so cannot close the parenthesis, was checked by the server (`passthrough`).
                let names = columns
                    .iter()
                    .map(|c| quote_identifier(&c.name))
                    .collect::<Option<Vec<_>>>()?;
                out.push_str(&format!("(\n{text}\n) AS \"q\"({})", names.join(", ")));
            }
            Relation::Filter { .. } => return None,
        }
        for (index, predicate) in predicates.into_iter().enumerate() {
            out.push_str(if index == 0 { " WHERE " } else { " AND " });
            out.push_str(&self.predicate(predicate)?);
        }
        Some(())
    }

    /// A boolean expression that needs no parentheses around it below AND.
    fn predicate(&mut self, expr: &ScalarExpr) -> Option<String> {
        Some(match expr {
            ScalarExpr::Column(name) => {
                let (column, column_type) = self.column(name)?;
                (*column_type == ColumnType::Bool).then(|| quote_identifier(&column.name))??
            }
            ScalarExpr::Literal(Literal::Boolean(value)) => value.to_string(),
            ScalarExpr::Literal(_) => return None,
            ScalarExpr::And(all) => self.joined(all, " AND ")?,
            ScalarExpr::Or(any) => self.joined(any, " OR ")?,
            ScalarExpr::Not(inner) => format!("NOT ({})", self.predicate(inner)?),
            ScalarExpr::IsNull { expr, negated } => {
                let ScalarExpr::Column(name) = expr.as_ref() else {
                    return None;
                };
                let (column, column_type) = self.column(name)?;
                let quoted = quote_identifier(&column.name)?;
                let test = if *negated { "IS NOT NULL" } else { "IS NULL" };
                match column_type {
                    // A row of NULLs is NULL to IS NULL, but its text is not.
                    ColumnType::AsText => format!("{quoted}::text {test}"),
                    _ => format!("{quoted} {test}"),
                }
            }
            ScalarExpr::Compare { op, left, right } => self.compare(*op, left, right)?,
            ScalarExpr::InList {
                expr,
                list,
                negated,
            } => {
                let ScalarExpr::Column(name) = expr.as_ref() else {
                    return None;
                };
                let (column, column_type) = self.column(name)?;
                let class = Class::of(column_type)?;
                let operand = operand(column, column_type, false)?;
                let items = list
                    .iter()
                    .map(|literal| SqlValue::new(literal, class).map(|value| self.constant(value)))
                    .collect::<Option<Vec<_>>>()?;
                if items.is_empty() {
                    return None;
                }
                format!(
                    "{operand} {}IN ({})",
                    if *negated { "NOT " } else { "" },
                    items.join(", ")
                )
            }
            ScalarExpr::Like {
                expr,
                pattern,
                escape: Some('\\'),
                negated,
                case_insensitive: false,
            } => {
                let ScalarExpr::Column(name) = expr.as_ref() else {
                    return None;
                };
                let (column, column_type) = self.column(name)?;
                if !matches!(column_type, ColumnType::Text | ColumnType::Name) {
                    return None;
                }
                let operand = operand(column, column_type, false)?;
                let value = SqlValue::new(&Literal::Text(pattern.clone()), Class::Text)?;
                let not = if *negated { "NOT " } else { "" };
                format!(r"{operand} {not}LIKE {} ESCAPE '\'", self.constant(value))
            }
            ScalarExpr::Like { .. } => return None,
        })
    }

    fn joined(&mut self, parts: &[ScalarExpr], word: &str) -> Option<String> {
        if parts.is_empty() {
            return None;
        }
        let parts = parts
            .iter()
            .map(|part| self.predicate(part))
            .collect::<Option<Vec<_>>>()?;
        Some(format!("({})", parts.join(word)))
    }

    fn compare(&mut self, op: CompareOp, left: &ScalarExpr, right: &ScalarExpr) -> Option<String> {
        let is_range = !matches!(op, CompareOp::Eq | CompareOp::NotEq);
        let (left, right) = match (left, right) {
            (ScalarExpr::Column(name), ScalarExpr::Literal(literal)) => {
                let (column, column_type) = self.column(name)?;
                let value = SqlValue::new(literal, Class::of(column_type)?)?;
                (
                    operand(column, column_type, is_range)?,
                    self.constant(value),
                )
            }
            (ScalarExpr::Literal(literal), ScalarExpr::Column(name)) => {
                let (column, column_type) = self.column(name)?;
                let value = SqlValue::new(literal, Class::of(column_type)?)?;
                (
                    self.constant(value),
                    operand(column, column_type, is_range)?,
                )
            }
            (ScalarExpr::Column(left), ScalarExpr::Column(right)) => {
                let (left, left_type) = self.column(left)?;
                let (right, right_type) = self.column(right)?;
                if !Class::of(left_type)?.is_comparable(Class::of(right_type)?) {
                    return None;
                }
                let left_sql = plain_operand(left, left_type)?;
                // Two columns may disagree about their collation; an explicit one settles it.
                let collate = if Class::of(left_type)? == Class::Text {
                    BYTE_ORDER
                } else {
                    ""
                };
                (
                    format!("{left_sql}{collate}"),
                    plain_operand(right, right_type)?,
                )
            }
            _ => return None,
        };
        let op = match op {
            CompareOp::Eq => "=",
            CompareOp::NotEq => "<>",
            CompareOp::Lt => "<",
            CompareOp::LtEq => "<=",
            CompareOp::Gt => ">",
            CompareOp::GtEq => ">=",
        };
        Some(format!("{left} {op} {right}"))
    }

    fn constant(&mut self, value: SqlValue) -> String {
        match self.constants {
            Constants::Inline => value.inline(),
            Constants::Parameters => {
                let text = value.parameter(self.parameters.len() + 1);
                self.parameters.push(value.text);
                text
            }
        }
    }

    fn column(&self, name: &str) -> Option<(&'a RelColumn, &'a ColumnType)> {
        let index = self.columns.iter().position(|column| column.name == name)?;
        Some((&self.columns[index], self.types.get(index)?))
    }
}

const BYTE_ORDER: &str = " COLLATE \"C\"";

/// A column in the class that it is compared in. Text is compared byte by byte, as the engine does: said
/// explicitly where the column's own collation would do otherwise.
fn operand(column: &RelColumn, column_type: &ColumnType, is_range: bool) -> Option<String> {
    let plain = plain_operand(column, column_type)?;
    let by_bytes = column.collation.is_some()
        && Class::of(column_type) == Some(Class::Text)
        && (is_range || !column.deterministic);
    Some(if by_bytes {
        format!("{plain}{BYTE_ORDER}")
    } else {
        plain
    })
}

fn plain_operand(column: &RelColumn, column_type: &ColumnType) -> Option<String> {
    let quoted = quote_identifier(&column.name)?;
    Some(match column_type {
        // An unknown label is no error when it is compared as text.
        ColumnType::Enum | ColumnType::Name => format!("{quoted}::text"),
        ColumnType::Oid => format!("{quoted}::int8"),
        _ => quoted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, collation: Option<&str>) -> RelColumn {
        RelColumn {
            name: name.into(),
            native_type: String::new(),
            collation: collation.map(str::to_owned),
            deterministic: true,
            nullable: true,
        }
    }

    fn table() -> (Relation, Facts) {
        let columns = vec![
            column("id", None),
            column("na\"me", Some("en_US")),
            column("address", None),
        ];
        let facts = Facts {
            columns: vec![ColumnType::Int4, ColumnType::Text, ColumnType::AsOutput],
            unique: vec![vec!["id".into()]],
            utf8: true,
        };
        (
            Relation::Scan {
                schema: "public".into(),
                table: "t".into(),
                columns,
            },
            facts,
        )
    }

    fn compare(op: CompareOp, name: &str, literal: Literal) -> ScalarExpr {
        ScalarExpr::Compare {
            op,
            left: Box::new(ScalarExpr::Column(name.into())),
            right: Box::new(ScalarExpr::Literal(literal)),
        }
    }

    #[test]
    fn a_scan_with_filters_and_a_limit() {
        let (relation, facts) = table();
        let relation = relation.filtered(vec![
            compare(CompareOp::Eq, "id", Literal::Int(7)),
            compare(CompareOp::Lt, "na\"me", Literal::Text("O'Hara".into())),
        ]);
        assert!(facts.is_key_lookup(&relation));
        let sql = select(&relation, &facts, &[1, 2], Some(3), Constants::Inline).unwrap();
        assert_eq!(
            sql.text,
            "SELECT \"na\"\"me\", CASE WHEN \"address\" IS NULL THEN NULL ELSE format('%s', \"address\") END \
             FROM \"public\".\"t\" WHERE \"id\" = '7'::int4 AND \"na\"\"me\" COLLATE \"C\" < 'O''Hara'::text LIMIT 3"
        );
        let sql = select(&relation, &facts, &[0], None, Constants::Parameters).unwrap();
        assert_eq!(
            sql.text,
            "SELECT \"id\" FROM \"public\".\"t\" WHERE \"id\" = $1::int4 AND \"na\"\"me\" COLLATE \"C\" < $2::text"
        );
        assert_eq!(sql.parameters, ["7", "O'Hara"]);
    }

    #[test]
    fn rows_are_counted_at_the_source() {
        let (relation, facts) = table();
        let count = |limit| {
            select(&relation, &facts, &[], limit, Constants::Inline)
                .unwrap()
                .text
        };
        assert_eq!(count(None), "SELECT count(*) FROM \"public\".\"t\"");
        assert_eq!(
            count(Some(5)),
            "SELECT count(*) FROM (SELECT FROM \"public\".\"t\" LIMIT 5) AS \"q\""
        );
    }

    #[test]
    fn what_is_not_known_is_not_written() {
        let (relation, facts) = table();
        for predicate in [
            compare(CompareOp::Eq, "id", Literal::Text("7".into())),
            compare(CompareOp::Eq, "address", Literal::Text("::1".into())),
            compare(CompareOp::Eq, "gone", Literal::Int(1)),
            ScalarExpr::Column("id".into()),
            ScalarExpr::Or(vec![]),
        ] {
            assert!(
                !can_render(&predicate, relation.columns(), &facts.columns),
                "{predicate:?}"
            );
        }
    }
}
