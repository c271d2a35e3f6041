//! Operations on and off: what the source computes is what the engine computes of a full read.
//!
//! Each column is grouped by, counted, added, sorted by and joined on, and predicates are used as values. A
//! connector may refuse any of it, with a reason; what it accepts must have the same rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Column, JoinType};
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn;
use datafusion::prelude::{SessionContext, lit, when};

use super::predicates::{self, Compiler, Draw};
use super::reading::handle_over_the_wire;
use super::rows::{self, RowSet};
use super::source::Options;
use super::{Behaviour, Report, Subject};
use crate::{
    AggregateCall, AggregateFunction, Aggregation, Expr, JoinKind, Operation, Output, Pushdown,
    Pushed, ScalarExpr, SortKey, TableHandle, ValueType,
};

/// Predicates tried as values, per table.
const CONDITIONS: usize = 60;

/// Pairs of a join beyond which a column is not joined on: the check would take minutes.
const JOIN_ROWS_MAX: usize = 200_000;

/// Prefix of the right side's columns in a join.
const RIGHT: &str = "r_";

pub(super) async fn check(subject: &Subject<'_>, report: &mut Report) {
    if !subject.fixture.wants(Behaviour::Operations) {
        return;
    }
    let Some(pushdown) = subject.source.connector.pushdown() else {
        return;
    };
    let mut kit = Kit {
        subject,
        pushdown,
        context: SessionContext::new(),
        accepted: 0,
        refused: 0,
    };
    let fields: Vec<FieldRef> = subject.schema.fields().iter().cloned().collect();
    for field in &fields {
        let offers = kit.offers_on(field, &fields);
        for (what, outcome) in offers.await {
            let what = format!("{}: {what}", subject.table.name);
            report.expect(Behaviour::Operations, &what, outcome);
        }
    }
    for (what, outcome) in kit.offers_on_rows(&fields).await {
        let what = format!("{}: {what}", subject.table.name);
        report.expect(Behaviour::Operations, &what, outcome);
    }
    report.note(format!(
        "{}: {} operations taken, {} refused",
        subject.table.name, kit.accepted, kit.refused
    ));
}

type Outcome = Result<(), String>;

struct Kit<'a> {
    subject: &'a Subject<'a>,
    pushdown: &'a dyn Pushdown,
    context: SessionContext,
    accepted: usize,
    refused: usize,
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn named(name: &str) -> ScalarExpr {
    ScalarExpr::Column(name.to_owned())
}

fn output(field: &FieldRef) -> Output {
    Output {
        expr: named(field.name()),
        field: Arc::clone(field),
    }
}

/// The engine's type of a sum, and the type in which its addends are added without loss.
fn sum_types(data_type: &DataType) -> Option<(DataType, DataType)> {
    Some(match data_type {
        DataType::Int16 | DataType::Int32 => (DataType::Int64, DataType::Int64),
        DataType::Int64 => (DataType::Decimal128(19, 0), DataType::Decimal128(38, 0)),
        DataType::Decimal128(p, s) if *p <= 28 => {
            (data_type.clone(), DataType::Decimal128(p + 10, *s))
        }
        DataType::Decimal128(_, s) => (DataType::Decimal256(66, *s), DataType::Decimal256(76, *s)),
        _ => return None,
    })
}

impl Kit<'_> {
    async fn offers_on(&mut self, field: &FieldRef, fields: &[FieldRef]) -> Vec<(String, Outcome)> {
        let name = field.name();
        let mut results = Vec::new();
        for function in [
            AggregateFunction::Count,
            AggregateFunction::Sum,
            AggregateFunction::Min,
            AggregateFunction::Max,
            AggregateFunction::BoolAnd,
            AggregateFunction::BoolOr,
        ] {
            for distinct in [false, true] {
                if distinct && function != AggregateFunction::Count {
                    continue;
                }
                let word = if distinct { "distinct " } else { "" };
                let outcome = self.aggregate(&[], field, function, distinct).await;
                results.push((format!("{function}({word}{name})"), outcome));
            }
        }
        // Each column's groups, with something to count in each of them.
        let other = &fields[fields.len() / 2];
        let groups = [Arc::clone(field)];
        for distinct in [false, true] {
            let outcome = self
                .aggregate(&groups, other, AggregateFunction::Count, distinct)
                .await;
            results.push((format!("count({}) by {name}", other.name()), outcome));
        }
        for descending in [false, true] {
            for nulls_first in [false, true] {
                let outcome = self.top(field, descending, nulls_first).await;
                let order = format!("descending {descending}, nulls first {nulls_first}");
                results.push((format!("top by {name}, {order}"), outcome));
            }
        }
        for kind in [
            JoinKind::Inner,
            JoinKind::Left,
            JoinKind::Semi,
            JoinKind::Anti,
        ] {
            results.push((format!("{kind} on {name}"), self.join(field, kind).await));
        }
        results
    }

    async fn offers_on_rows(&mut self, fields: &[FieldRef]) -> Vec<(String, Outcome)> {
        let mut results = vec![
            ("limit".to_owned(), self.limit().await),
            ("distinct".to_owned(), self.distinct(fields).await),
            ("union all".to_owned(), self.union().await),
        ];
        let mut draw = Draw(self.subject.fixture.seed);
        if let Ok(compiler) = Compiler::new(&self.subject.schema) {
            let all: Vec<Expr> = predicates::all(&self.subject.rows, 1_000, &mut draw)
                .into_iter()
                .filter_map(|expr| compiler.compile(expr))
                .filter(|p| rows::filter(&self.subject.rows, p.physical.as_ref()).is_ok())
                .map(|predicate| predicate.expr)
                .collect();
            for _ in 0..CONDITIONS.min(all.len()) {
                let condition = all[draw.below(all.len())].clone();
                let value = &fields[draw.below(fields.len())];
                let outcome = self.condition(&condition, value).await;
                results.push((format!("case when {condition}"), outcome));
            }
        }
        results
    }

    fn rows(&self) -> Result<DataFrame, String> {
        self.context
            .read_batch(self.subject.rows.clone())
            .map_err(|e| e.to_string())
    }

    /// The connector's answer; `None` where it refuses with a reason.
    fn offer(
        &mut self,
        input: &TableHandle,
        operation: &Operation<'_>,
    ) -> Result<Option<TableHandle>, String> {
        let answer = self.pushdown.apply(input, operation);
        if self.pushdown.apply(input, operation) != answer {
            return Err("another answer the second time".into());
        }
        match answer {
            Ok(handle) => {
                self.accepted += 1;
                handle_over_the_wire(&handle).map(Some)
            }
            Err(reason) if reason.0.is_empty() => Err("a refusal without a reason".into()),
            Err(_) => {
                self.refused += 1;
                Ok(None)
            }
        }
    }

    async fn found(&self, handle: &TableHandle, schema: &SchemaRef) -> Result<RowSet, String> {
        let names: Vec<&str> = handle
            .relation
            .columns()
            .iter()
            .map(|c| c.name.as_str())
            .collect();
        let wanted: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        if names != wanted {
            return Err(format!("its columns are {names:?} and not {wanted:?}"));
        }
        let batches = self
            .subject
            .source
            .read(handle, schema, Options::all(schema))
            .await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let counted: usize = self
            .subject
            .source
            .read(handle, schema, Options::columns(Vec::new()))
            .await?
            .iter()
            .map(RecordBatch::num_rows)
            .sum();
        if counted != rows {
            return Err(format!("{counted} rows without columns, {rows} with them"));
        }
        RowSet::of(schema, &batches)
    }

    async fn same(&self, handle: &TableHandle, schema: SchemaRef, rows: DataFrame) -> Outcome {
        let expected = collected(rows, &schema).await?;
        match expected.difference(&self.found(handle, &schema).await?) {
            Some(difference) => Err(difference),
            None => Ok(()),
        }
    }

    async fn aggregate(
        &mut self,
        groups: &[FieldRef],
        field: &FieldRef,
        function: AggregateFunction,
        distinct: bool,
    ) -> Outcome {
        let argument = column(field.name());
        let is_bool = field.data_type() == &DataType::Boolean;
        let (expr, data_type) = match function {
            AggregateFunction::Count if distinct => {
                (expr_fn::count_distinct(argument), DataType::Int64)
            }
            AggregateFunction::Count => (expr_fn::count(argument), DataType::Int64),
            AggregateFunction::Sum => match sum_types(field.data_type()) {
                Some((addend, result)) => (
                    expr_fn::sum(datafusion::prelude::cast(argument, addend)),
                    result,
                ),
                None => return Ok(()),
            },
            AggregateFunction::BoolAnd if is_bool => {
                (expr_fn::bool_and(argument), DataType::Boolean)
            }
            AggregateFunction::BoolOr if is_bool => (expr_fn::bool_or(argument), DataType::Boolean),
            AggregateFunction::BoolAnd | AggregateFunction::BoolOr => return Ok(()),
            // Nested and tagged types have no order here.
            _ if field.data_type().is_nested() => return Ok(()),
            AggregateFunction::Min => (expr_fn::min(argument), field.data_type().clone()),
            AggregateFunction::Max => (expr_fn::max(argument), field.data_type().clone()),
        };
        let result = match function {
            AggregateFunction::Min | AggregateFunction::Max => None,
            _ => ValueType::of(&data_type),
        };
        let made = Arc::new(Field::new("made", data_type, true));
        let keys: Vec<Output> = groups.iter().map(output).collect();
        let calls = [Aggregation {
            call: AggregateCall {
                function,
                argument: Some(named(field.name())),
                distinct,
                result,
            },
            field: Arc::clone(&made),
        }];
        let operation = Operation::Aggregate {
            groups: &keys,
            calls: &calls,
        };
        let handle = self.subject.table.handle.clone();
        let Some(handle) = self.offer(&handle, &operation)? else {
            return Ok(());
        };
        let schema = Arc::new(Schema::new(
            groups.iter().cloned().chain([made]).collect::<Vec<_>>(),
        ));
        let expected = self
            .rows()?
            .aggregate(
                groups.iter().map(|g| column(g.name())).collect(),
                vec![expr],
            )
            .map_err(|e| e.to_string())?;
        self.same(&handle, schema.clone(), expected).await?;
        self.having(&handle, &schema, groups).await
    }

    /// A filter on groups, above the aggregate.
    async fn having(
        &mut self,
        handle: &TableHandle,
        schema: &SchemaRef,
        groups: &[FieldRef],
    ) -> Outcome {
        if groups.is_empty() || schema.field(groups.len()).data_type() != &DataType::Int64 {
            return Ok(());
        }
        let condition = column("made").gt(lit(1_i64));
        let mut table = self.subject.table.clone();
        table.columns.clear();
        let answer = self
            .pushdown
            .apply_filter(&table, handle, std::slice::from_ref(&condition));
        if answer.outcome != [Pushed::Exactly] {
            return Ok(());
        }
        let batches = self
            .subject
            .source
            .read(handle, schema, Options::all(schema))
            .await?;
        let all = rows::concat(schema, &batches)?;
        let expected = self
            .context
            .read_batch(all)
            .and_then(|rows| rows.filter(condition))
            .map_err(|e| e.to_string())?;
        self.same(&answer.handle, schema.clone(), expected).await
    }

    async fn top(&mut self, field: &FieldRef, descending: bool, nulls_first: bool) -> Outcome {
        let fetch = (self.subject.rows.num_rows() / 2).max(1);
        let keys = [SortKey {
            expr: named(field.name()),
            descending,
            nulls_first,
        }];
        let operation = Operation::TopN {
            keys: &keys,
            skip: 1,
            fetch: fetch as u64,
        };
        let handle = self.subject.table.handle.clone();
        let Some(handle) = self.offer(&handle, &operation)? else {
            return Ok(());
        };
        // Which of several equal rows is anybody's choice; the keys are not.
        let schema = self.subject.schema.clone();
        let found = self.found(&handle, &schema).await?;
        let everything = RowSet::of(&schema, std::slice::from_ref(&self.subject.rows))?;
        if !found.is_within(&everything) {
            return Err("a row that is not in the table".into());
        }
        let key: SchemaRef = Arc::new(Schema::new(vec![Arc::clone(field)]));
        let outputs = [output(field)];
        let only_key = Operation::Project { outputs: &outputs };
        let Some(keys_handle) = self.offer(&handle, &only_key)? else {
            return Err("a column of a top-N is refused".into());
        };
        let expected = self
            .rows()?
            .sort(vec![column(field.name()).sort(!descending, nulls_first)])
            .and_then(|rows| rows.limit(1, Some(fetch)))
            .and_then(|rows| rows.select(vec![column(field.name())]))
            .map_err(|e| e.to_string())?;
        self.same(&keys_handle, key, expected).await
    }

    async fn limit(&mut self) -> Outcome {
        let schema = self.subject.schema.clone();
        let everything = RowSet::of(&schema, std::slice::from_ref(&self.subject.rows))?;
        let operation = Operation::Limit { skip: 1, fetch: 3 };
        let handle = self.subject.table.handle.clone();
        let Some(handle) = self.offer(&handle, &operation)? else {
            return Ok(());
        };
        let found = self.found(&handle, &schema).await?;
        let expected = everything.len().saturating_sub(1).min(3);
        if found.len() != expected || !found.is_within(&everything) {
            return Err(format!("{} rows, expected {expected}", found.len()));
        }
        Ok(())
    }

    async fn distinct(&mut self, fields: &[FieldRef]) -> Outcome {
        // Two columns that may each be told apart, found by asking.
        for pair in fields.windows(2) {
            let outputs: Vec<Output> = pair.iter().map(output).collect();
            let table = self.subject.table.handle.clone();
            let Some(input) = self.offer(&table, &Operation::Project { outputs: &outputs })? else {
                continue;
            };
            let Some(handle) = self.offer(&input, &Operation::Distinct)? else {
                continue;
            };
            let expected = self
                .rows()?
                .select(pair.iter().map(|f| column(f.name())).collect::<Vec<_>>())
                .and_then(DataFrame::distinct)
                .map_err(|e| e.to_string())?;
            let schema = Arc::new(Schema::new(pair.to_vec()));
            self.same(&handle, schema, expected)
                .await
                .map_err(|e| format!("{} and {}: {e}", pair[0].name(), pair[1].name()))?;
        }
        Ok(())
    }

    async fn union(&mut self) -> Outcome {
        let table = self.subject.table.handle.clone();
        let others = [table.clone()];
        let Some(handle) = self.offer(&table, &Operation::Union { others: &others })? else {
            return Ok(());
        };
        let expected = self
            .rows()?
            .union(self.rows()?)
            .map_err(|e| e.to_string())?;
        self.same(&handle, self.subject.schema.clone(), expected)
            .await
    }

    /// The table joined with itself on a column.
    async fn join(&mut self, field: &FieldRef, kind: JoinKind) -> Outcome {
        let table = self.subject.table.handle.clone();
        let left: Vec<Output> = [output(field)].to_vec();
        let mut right = left.clone();
        let name = format!("{RIGHT}{}", field.name());
        right[0].field = Arc::new(field.as_ref().clone().with_name(&name));
        let Some(first) = self.offer(&table, &Operation::Project { outputs: &left })? else {
            return Ok(());
        };
        let Some(second) = self.offer(&table, &Operation::Project { outputs: &right })? else {
            return Ok(());
        };
        let on = [ScalarExpr::Compare {
            op: crate::CompareOp::Eq,
            left: Box::new(named(field.name())),
            right: Box::new(named(&name)),
        }];
        let operation = Operation::Join {
            right: &second,
            kind,
            on: &on,
        };
        let Some(handle) = self.offer(&first, &operation)? else {
            return Ok(());
        };
        let join_type = match kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::Left => JoinType::Left,
            JoinKind::Semi => JoinType::LeftSemi,
            JoinKind::Anti => JoinType::LeftAnti,
        };
        let side = |alias: &str| -> Result<DataFrame, String> {
            self.rows()?
                .select(vec![column(field.name()).alias(alias)])
                .map_err(|e| e.to_string())
        };
        let expected = side(field.name())?
            .join_on(
                side(&name)?,
                join_type,
                [column(field.name()).eq(column(&name))],
            )
            .map_err(|e| e.to_string())?;
        let count = expected.clone().count().await.map_err(|e| e.to_string())?;
        if count > JOIN_ROWS_MAX {
            return Ok(());
        }
        let mut fields = vec![Arc::clone(field)];
        if matches!(kind, JoinKind::Inner | JoinKind::Left) {
            let nullable = field.is_nullable() || kind == JoinKind::Left;
            let right = right[0].field.as_ref().clone().with_nullable(nullable);
            fields.push(Arc::new(right));
        }
        self.same(&handle, Arc::new(Schema::new(fields)), expected)
            .await
    }

    /// A predicate as a value: true, false and NULL must each be right.
    async fn condition(&mut self, condition: &Expr, value: &FieldRef) -> Outcome {
        let expr = when(condition.clone(), column(value.name()))
            .end()
            .map_err(|e| e.to_string())?;
        let rows = self.rows()?;
        let Ok(scalar) = ScalarExpr::typed(&expr, rows.schema()) else {
            return Ok(());
        };
        let made = Arc::new(value.as_ref().clone().with_name("made").with_nullable(true));
        let outputs = [Output {
            expr: scalar,
            field: Arc::clone(&made),
        }];
        let table = self.subject.table.handle.clone();
        let Some(handle) = self.offer(&table, &Operation::Project { outputs: &outputs })? else {
            return Ok(());
        };
        let expected = rows.select(vec![expr]).map_err(|e| e.to_string())?;
        self.same(&handle, Arc::new(Schema::new(vec![made])), expected)
            .await
    }
}

/// The engine's rows, in the types that were asked of the connector.
async fn collected(rows: DataFrame, schema: &SchemaRef) -> Result<RowSet, String> {
    let batches = rows.collect().await.map_err(|e| e.to_string())?;
    let batches = batches
        .iter()
        .map(|batch| {
            let columns = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(|(column, field)| cast(column, field.data_type()))
                .collect::<Result<Vec<ArrayRef>, _>>()
                .map_err(|e| e.to_string())?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let nullable = Schema::new(
                schema
                    .fields()
                    .iter()
                    .map(|f| f.as_ref().clone().with_nullable(true))
                    .collect::<Vec<_>>(),
            );
            RecordBatch::try_new_with_options(Arc::new(nullable), columns, &options)
                .map_err(|e| e.to_string())
        })
        .collect::<Result<Vec<_>, String>>()?;
    RowSet::of(schema, &batches)
}
