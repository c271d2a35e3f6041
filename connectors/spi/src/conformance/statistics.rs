//! Statistics: what is called exact must be.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{SortOptions, sort_to_indices};

use super::{Behaviour, Report, Subject};
use crate::{Estimate, ScalarValue};

pub(super) async fn check(subject: &Subject<'_>, report: &mut Report) {
    let kind = Behaviour::Statistics;
    if !subject.fixture.wants(kind) {
        return;
    }
    let name = &subject.table.name;
    let statistics = subject
        .source
        .connector
        .metadata()
        .statistics(subject.table)
        .await;
    let Some(statistics) = report.expect(kind, name, statistics.map_err(|e| e.to_string())) else {
        return;
    };
    let rows = subject.rows.num_rows() as u64;
    if let Estimate::Exact(claimed) = statistics.rows {
        report.check(kind, claimed == rows, || {
            format!("{name}: exactly {claimed} rows, read {rows}")
        });
    }
    let width = subject.schema.fields().len();
    report.check(
        kind,
        statistics.columns.is_empty() || statistics.columns.len() == width,
        || {
            format!(
                "{name}: statistics of {} columns, the table has {width}",
                statistics.columns.len()
            )
        },
    );
    for ((claimed, array), field) in statistics
        .columns
        .iter()
        .zip(subject.rows.columns())
        .zip(subject.schema.fields())
    {
        let what = format!("{name}.{}", field.name());
        if let Estimate::Exact(nulls) = claimed.nulls {
            let found = array.logical_null_count() as u64;
            report.check(kind, nulls == found, || {
                format!("{what}: exactly {nulls} NULLs, read {found}")
            });
        }
        if let Estimate::Exact(distinct) = claimed.distinct {
            let found = distinct_values(array);
            report.check(kind, found == Ok(distinct), || {
                format!("{what}: exactly {distinct} distinct values, read {found:?}")
            });
        }
        for (bound, descending) in [(&claimed.min, false), (&claimed.max, true)] {
            if let Estimate::Exact(value) | Estimate::About(value) = bound {
                report.check(kind, value.data_type() == *field.data_type(), || {
                    format!(
                        "{what}: a bound of type {} for {}",
                        value.data_type(),
                        field.data_type()
                    )
                });
            }
            if let Estimate::Exact(value) = bound {
                let found = extreme(array, descending);
                report.check(kind, found.as_ref() == Some(value), || {
                    format!("{what}: exactly {value} as a bound, read {found:?}")
                });
            }
        }
    }
}

/// The first value in order, NULLs aside.
fn extreme(array: &ArrayRef, descending: bool) -> Option<ScalarValue> {
    if array.logical_null_count() == array.len() {
        return None;
    }
    let options = SortOptions {
        descending,
        nulls_first: false,
    };
    let first = sort_to_indices(array, Some(options), Some(1)).ok()?;
    ScalarValue::try_from_array(array, *first.values().first()? as usize).ok()
}

fn distinct_values(array: &ArrayRef) -> Result<u64, String> {
    let values: HashSet<ScalarValue> = (0..array.len())
        .filter(|&row| array.is_valid(row))
        .map(|row| ScalarValue::try_from_array(array, row))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    Ok(values.len() as u64)
}
