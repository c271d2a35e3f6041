//! Pushdown on and off: the rows must be the same.

use arrow::record_batch::RecordBatch;

use super::predicates::{self, Compiler, Draw, Predicate};
use super::reading::handle_over_the_wire;
use super::rows::{self, RowSet};
use super::source::Options;
use super::{Behaviour, Report, Subject};
use crate::{Pushdown, Pushed};

/// Offers of several conjuncts at once, per table.
const CONJUNCTIONS: usize = 60;

/// Dynamic filters tried per table.
const DYNAMIC_FILTERS: usize = 40;

pub(super) async fn check(subject: &Subject<'_>, report: &mut Report) {
    let name = &subject.table.name;
    let Some(compiler) = report.expect(Behaviour::Predicates, name, Compiler::new(&subject.schema))
    else {
        return;
    };
    let mut draw = Draw(subject.fixture.seed);
    // What the engine cannot type or run by itself is no predicate.
    let predicates: Vec<Predicate> =
        predicates::all(&subject.rows, subject.fixture.predicates_max, &mut draw)
            .into_iter()
            .filter_map(|expr| compiler.compile(expr))
            .filter(|predicate| rows::filter(&subject.rows, predicate.physical.as_ref()).is_ok())
            .collect();
    report.check(Behaviour::Predicates, !predicates.is_empty(), || {
        format!("{name}: no predicates to try")
    });
    if predicates.is_empty() {
        return;
    }
    if subject.fixture.wants(Behaviour::DynamicFilters) {
        for _ in 0..DYNAMIC_FILTERS {
            let predicate = &predicates[draw.below(predicates.len())];
            let outcome = dynamic_filter(subject, predicate).await;
            report.expect(
                Behaviour::DynamicFilters,
                &format!("{name} where {}", predicate.expr),
                outcome,
            );
        }
    }
    if !subject.fixture.wants(Behaviour::Predicates) {
        return;
    }
    let Some(pushdown) = subject.source.connector.pushdown() else {
        report.note(format!("{name}: takes no filters"));
        return;
    };
    let mut tally = Tally::default();
    for predicate in &predicates {
        let outcome = offer(subject, pushdown, &[predicate], &mut tally).await;
        report.expect(
            Behaviour::Predicates,
            &format!("{name} where {}", predicate.expr),
            outcome,
        );
    }
    for _ in 0..CONJUNCTIONS {
        let some: Vec<&Predicate> = (0..2 + draw.below(2))
            .map(|_| &predicates[draw.below(predicates.len())])
            .collect();
        let text: Vec<String> = some
            .iter()
            .map(|predicate| format!("({})", predicate.expr))
            .collect();
        let outcome = offer(subject, pushdown, &some, &mut tally).await;
        report.expect(
            Behaviour::Predicates,
            &format!("{name} where {}", text.join(" and ")),
            outcome,
        );
    }
    report.note(format!(
        "{name}: {} predicates pushed exactly, {} as supersets, {} refused",
        tally.exactly, tally.superset, tally.refused
    ));
}

#[derive(Default)]
struct Tally {
    exactly: usize,
    superset: usize,
    refused: usize,
}

/// Offers conjuncts and compares what comes back with what the engine keeps.
async fn offer(
    subject: &Subject<'_>,
    pushdown: &dyn Pushdown,
    conjuncts: &[&Predicate],
    tally: &mut Tally,
) -> Result<(), String> {
    let table = subject.table;
    let exprs: Vec<_> = conjuncts
        .iter()
        .map(|predicate| predicate.expr.clone())
        .collect();
    let answer = pushdown.apply_filter(table, &table.handle, &exprs);
    if answer.outcome.len() != exprs.len() {
        return Err(format!(
            "{} answers to {} conjuncts",
            answer.outcome.len(),
            exprs.len()
        ));
    }
    let same = |other: &crate::FilterPushdown| {
        other.outcome == answer.outcome
            && format!("{:?}", other.handle) == format!("{:?}", answer.handle)
    };
    if !same(&pushdown.apply_filter(table, &table.handle, &exprs)) {
        return Err("another answer the second time".into());
    }
    // What the source takes over, and what of it the engine looks at again.
    let mut expected = subject.rows.clone();
    let mut checked_again = Vec::new();
    for (outcome, predicate) in answer.outcome.iter().zip(conjuncts) {
        match outcome {
            Pushed::Exactly => tally.exactly += 1,
            Pushed::Superset(reason) => {
                tally.superset += 1;
                checked_again.push(*predicate);
                if reason.0.is_empty() {
                    return Err("a superset without a reason".into());
                }
            }
            Pushed::No(reason) => {
                tally.refused += 1;
                if reason.0.is_empty() {
                    return Err("a refusal without a reason".into());
                }
                continue;
            }
        }
        expected = rows::filter(&expected, predicate.physical.as_ref())?;
    }
    if answer
        .outcome
        .iter()
        .all(|outcome| matches!(outcome, Pushed::No(_)))
    {
        return if answer.handle == table.handle {
            Ok(())
        } else {
            Err("refused, but the handle changed".into())
        };
    }
    let handle = handle_over_the_wire(&answer.handle)?;
    let mut found = subject
        .source
        .read(&handle, &subject.schema, Options::all(&subject.schema))
        .await?;
    for predicate in &checked_again {
        found = again(&found, predicate)?;
    }
    let expected = RowSet::of(&subject.schema, &[expected])?;
    if let Some(difference) = expected.difference(&RowSet::of(&subject.schema, &found)?) {
        return Err(format!("{difference} ({:?})", answer.outcome));
    }
    if checked_again.is_empty()
        && answer
            .outcome
            .iter()
            .all(|outcome| *outcome == Pushed::Exactly)
    {
        exact_counts(subject, &handle, expected.len()).await?;
    }
    Ok(())
}

/// Above an exact filter the engine counts and limits without looking at a row.
async fn exact_counts(
    subject: &Subject<'_>,
    handle: &crate::TableHandle,
    expected: usize,
) -> Result<(), String> {
    let count =
        |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let counted = count(
        subject
            .source
            .read(handle, &subject.schema, Options::columns(Vec::new()))
            .await?,
    );
    if counted != expected {
        return Err(format!(
            "{counted} rows without columns, {expected} with them"
        ));
    }
    let limit = (expected / 2).max(1);
    let options = Options {
        limit: Some(limit),
        ..Options::all(&subject.schema)
    };
    let limited = count(
        subject
            .source
            .read(handle, &subject.schema, options)
            .await?,
    );
    if limited < limit.min(expected) || limited > expected {
        return Err(format!(
            "{limited} of {expected} rows under a limit of {limit}"
        ));
    }
    Ok(())
}

fn again(batches: &[RecordBatch], predicate: &Predicate) -> Result<Vec<RecordBatch>, String> {
    batches
        .iter()
        .map(|batch| rows::filter(batch, predicate.physical.as_ref()))
        .collect()
}

async fn dynamic_filter(subject: &Subject<'_>, predicate: &Predicate) -> Result<(), String> {
    let options = Options {
        dynamic_filters: vec![predicate.physical.clone()],
        ..Options::all(&subject.schema)
    };
    let found = subject
        .source
        .read(&subject.table.handle, &subject.schema, options)
        .await?;
    let found = RowSet::of(&subject.schema, &again(&found, predicate)?)?;
    let expected = rows::filter(&subject.rows, predicate.physical.as_ref())?;
    match RowSet::of(&subject.schema, &[expected])?.difference(&found) {
        Some(difference) => Err(difference),
        None => Ok(()),
    }
}
