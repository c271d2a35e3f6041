//! Reads without pushdown: projections, splits, limits, batch sizes, the wire, early ends.

use super::rows::RowSet;
use super::source::Options;
use super::{Behaviour, Report, Subject};
use crate::{Split, TableHandle};

/// Rows per batch for the check of batch sizes.
const SMALL_BATCH_ROWS: usize = 100;

/// A batch may be so many times longer than asked, where a source hands out blocks.
const BATCH_SLACK: usize = 4;

/// Early drops in a row: more than a pool of connections holds.
const EARLY_DROPS: usize = 20;

pub(super) async fn check(subject: &Subject<'_>, report: &mut Report) {
    if subject.fixture.wants(Behaviour::Projections) {
        projections(subject, report).await;
    }
    if subject.fixture.wants(Behaviour::Keys) && !subject.table.primary_key.is_empty() {
        keys(subject, report);
    }
    if subject.fixture.wants(Behaviour::Splits) {
        splits(subject, report).await;
    }
    if subject.fixture.wants(Behaviour::Limits) {
        limits(subject, report).await;
    }
    if subject.fixture.wants(Behaviour::BatchSizes) {
        batch_sizes(subject, report).await;
    }
    if subject.fixture.wants(Behaviour::Serialization) {
        serialization(subject, report).await;
    }
    if subject.fixture.wants(Behaviour::EarlyDrop) {
        early_drop(subject, report).await;
    }
}

impl Subject<'_> {
    /// Reads with `options` and compares with the full read's columns.
    pub(super) async fn compare(
        &self,
        handle: &TableHandle,
        options: Options,
    ) -> Result<(), String> {
        let expected = self
            .rows
            .project(&options.projection)
            .map_err(|e| e.to_string())?;
        let schema = expected.schema();
        let batches = self.source.read(handle, &self.schema, options).await?;
        let expected = RowSet::of(&schema, &[expected])?;
        match expected.difference(&RowSet::of(&schema, &batches)?) {
            Some(difference) => Err(difference),
            None => Ok(()),
        }
    }
}

async fn projections(subject: &Subject<'_>, report: &mut Report) {
    let count = subject.schema.fields().len();
    let mut projections: Vec<Vec<usize>> = (0..count).map(|index| vec![index]).collect();
    projections.push((0..count).rev().collect());
    projections.push((0..count).step_by(2).collect());
    projections.push(Vec::new());
    for projection in projections {
        let what = format!("{} columns {projection:?}", subject.table.name);
        let outcome = subject
            .compare(&subject.table.handle, Options::columns(projection))
            .await;
        report.expect(Behaviour::Projections, &what, outcome);
    }
}

fn keys(subject: &Subject<'_>, report: &mut Report) {
    let name = &subject.table.name;
    let key = subject
        .table
        .primary_key
        .iter()
        .map(|column| subject.schema.index_of(column));
    let outcome = key
        .collect::<Result<Vec<_>, _>>()
        .and_then(|key| subject.rows.project(&key))
        .map_err(|e| e.to_string())
        .and_then(|keys| RowSet::of(&keys.schema(), &[keys]));
    if let Some(keys) = report.expect(Behaviour::Keys, name, outcome) {
        report.check(Behaviour::Keys, !keys.has_duplicates(), || {
            format!("{name}: two rows have one primary key")
        });
    }
}

async fn splits(subject: &Subject<'_>, report: &mut Report) {
    let name = &subject.table.name;
    for parallelism in [1, 2, 8] {
        let what = format!("{name} in {parallelism} splits");
        let options = Options {
            parallelism,
            ..Options::all(&subject.schema)
        };
        report.expect(
            Behaviour::Splits,
            &what,
            subject.compare(&subject.table.handle, options).await,
        );
        let split = subject
            .source
            .splits(&subject.table.handle, parallelism)
            .await;
        if let Some((_, splits)) = report.expect(Behaviour::Splits, &what, split) {
            report.check(
                Behaviour::Splits,
                splits.iter().all(|split| !split.label.is_empty()),
                || format!("{what}: a split without a label"),
            );
        }
    }
}

async fn limits(subject: &Subject<'_>, report: &mut Report) {
    let name = &subject.table.name;
    for parallelism in [1, 4] {
        let options = Options {
            parallelism,
            ..Options::all(&subject.schema)
        };
        let whole = subject
            .source
            .read_splits(&subject.table.handle, &subject.schema, options.clone())
            .await;
        let Some(whole) = report.expect(Behaviour::Limits, name, whole) else {
            continue;
        };
        for limit in [1, 10, SMALL_BATCH_ROWS + 1] {
            let what = format!("{name} limit {limit}");
            let options = Options {
                limit: Some(limit),
                ..options.clone()
            };
            let outcome = async {
                let limited = subject
                    .source
                    .read_splits(&subject.table.handle, &subject.schema, options)
                    .await?;
                if limited.len() != whole.len() {
                    return Err(format!(
                        "{} splits, {} without a limit",
                        limited.len(),
                        whole.len()
                    ));
                }
                for (part, all) in limited.iter().zip(&whole) {
                    let part = RowSet::of(&subject.schema, part)?;
                    let all = RowSet::of(&subject.schema, all)?;
                    if part.len() < limit.min(all.len()) {
                        return Err(format!(
                            "{} rows of a split that holds {}",
                            part.len(),
                            all.len()
                        ));
                    }
                    // A source without an order may choose other rows in each read, but real ones.
                    if parallelism == 1 && !part.is_within(&all) {
                        return Err("rows that the table does not hold".into());
                    }
                }
                Ok(())
            };
            report.expect(Behaviour::Limits, &what, outcome.await);
        }
    }
}

async fn batch_sizes(subject: &Subject<'_>, report: &mut Report) {
    let name = &subject.table.name;
    let options = Options {
        batch_rows: SMALL_BATCH_ROWS,
        ..Options::all(&subject.schema)
    };
    let batches = subject
        .source
        .read(&subject.table.handle, &subject.schema, options)
        .await;
    if let Some(batches) = report.expect(Behaviour::BatchSizes, name, batches) {
        let longest = batches
            .iter()
            .map(|batch| batch.num_rows())
            .max()
            .unwrap_or(0);
        report.check(
            Behaviour::BatchSizes,
            longest <= BATCH_SLACK * SMALL_BATCH_ROWS,
            || format!("{name}: a batch of {longest} rows where {SMALL_BATCH_ROWS} were asked for"),
        );
    }
}

async fn serialization(subject: &Subject<'_>, report: &mut Report) {
    let name = &subject.table.name;
    let handle = &subject.table.handle;
    if let Some(copy) = report.expect(Behaviour::Serialization, name, handle_over_the_wire(handle))
    {
        let outcome = subject.compare(&copy, Options::all(&subject.schema)).await;
        report.expect(Behaviour::Serialization, name, outcome);
    }
    let splits = subject.source.splits(handle, 4).await;
    let Some((_, splits)) = report.expect(Behaviour::Serialization, name, splits) else {
        return;
    };
    for split in &splits {
        let outcome = postcard::to_allocvec(split)
            .and_then(|bytes| postcard::from_bytes::<Split>(&bytes))
            .map_err(|e| e.to_string());
        if let Some(copy) = report.expect(Behaviour::Serialization, &split.label, outcome) {
            report.check(Behaviour::Serialization, copy == *split, || {
                format!("{}: changed on the wire", split.label)
            });
        }
    }
}

/// The handle as a worker gets it.
pub(super) fn handle_over_the_wire(handle: &TableHandle) -> Result<TableHandle, String> {
    let bytes = postcard::to_allocvec(handle).map_err(|e| e.to_string())?;
    let copy: TableHandle = postcard::from_bytes(&bytes).map_err(|e| e.to_string())?;
    // Compared as bytes: a literal may be NaN, which equals nothing.
    match postcard::to_allocvec(&copy) {
        Ok(again) if again == bytes => Ok(copy),
        _ => Err("changed on the wire".into()),
    }
}

async fn early_drop(subject: &Subject<'_>, report: &mut Report) {
    let name = &subject.table.name;
    let options = Options {
        batch_rows: 1,
        ..Options::all(&subject.schema)
    };
    for round in 0..EARLY_DROPS {
        let outcome =
            subject
                .source
                .read_and_drop(&subject.table.handle, &subject.schema, options.clone());
        report.expect(
            Behaviour::EarlyDrop,
            &format!("{name} dropped, round {round}"),
            outcome.await,
        );
    }
    let outcome = subject
        .compare(&subject.table.handle, Options::all(&subject.schema))
        .await;
    report.expect(
        Behaviour::EarlyDrop,
        &format!("{name} read after {EARLY_DROPS} drops"),
        outcome,
    );
}
