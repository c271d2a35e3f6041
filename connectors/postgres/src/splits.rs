//! Cutting tables into splits that can be read at once.
//!
//! | what is read | splits |
//! | --- | --- |
//! | a heap table on server 14 or newer, a partitioned table or a parent of such | page ranges, about equal |
//! | a row by its unique key, a LIMIT | one |
//! | a predicate for which the server would use an index | one: the index reads less than all the ranges |
//! | small tables, views, foreign tables, other storage, row security, no grants on children | one |
//! | a catalog that shares no snapshots ([`Source::shares_snapshots`]) | one |
//!
//! Several splits are right under one snapshot only, so the coordinator opens one whenever there are.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluice_spi::{
    Error, Relation, Result, Split, SplitRequest, SplitSource, SqlState, TableHandle,
};
use tokio_postgres::SimpleQueryMessage;

use crate::facts::Facts;
use crate::layout::{Layout, Layouts, Member, Remembered};
use crate::metadata::ask;
use crate::pool::Source;
use crate::share::{PageRange, Share};
use crate::source_plan::{self, SourcePlan};

/// How long the server's choice of a plan is believed.
const PLAN_TTL: Duration = Duration::from_secs(60);

/// Relations behind one table after which it is read whole: each range names its relation and all of its
/// columns, and the statement would become longer than what it saves.
const MAX_MEMBERS: usize = 256;

/// Bytes of a row that is found by its key, as a guess.
const ROW_BYTES: u64 = 256;

/// The catalog's keys about splits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SplitLimits {
    /// Whether tables are cut at all.
    pub(crate) cut: bool,
    /// Bytes of a table below which a split is not worth a statement.
    pub(crate) split_bytes: u64,
}

/// Cuts a catalog's tables.
pub(crate) struct TableSplits {
    pub(crate) source: Arc<Source>,
    pub(crate) layouts: Arc<Layouts>,
    pub(crate) limits: SplitLimits,
    plans: Remembered<Arc<SourcePlan>>,
}

impl TableSplits {
    pub(crate) fn new(source: Arc<Source>, layouts: Arc<Layouts>, limits: SplitLimits) -> Self {
        TableSplits {
            source,
            layouts,
            limits,
            plans: Remembered::new(PLAN_TTL),
        }
    }

    pub(crate) fn forget(&self) {
        self.plans.clear();
        self.layouts.forget();
    }

    /// The server's plan of the whole read; `None` where it has none for us.
    async fn plan(&self, handle: &TableHandle, facts: &Facts) -> Option<Arc<SourcePlan>> {
        let question = source_plan::question(handle, facts)?;
        if let Some(known) = self.plans.get(&question) {
            return Some(known);
        }
        let plan = explain(&self.source, &question).await.ok().flatten()?;
        let plan = Arc::new(plan);
        self.plans.put(question, plan.clone());
        Some(plan)
    }
}

#[async_trait]
impl SplitSource for TableSplits {
    async fn splits(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>> {
        let Some((schema, table)) = stored_table(&handle.relation) else {
            return self.computed(handle, request).await;
        };
        let facts = Facts::of(handle)?;
        let label = format!("{schema}.{table}");
        // Nothing is asked for small answers: the question would cost as much as the answer.
        if facts.is_key_lookup(&handle.relation) {
            return Ok(vec![whole(label, Some(1), Some(ROW_BYTES))]);
        }
        if let Some(limit) = request.limit {
            let rows = limit as u64;
            return Ok(vec![whole(
                label,
                Some(rows),
                Some(rows.saturating_mul(ROW_BYTES)),
            )]);
        }
        if request.parallelism <= 1 {
            return Ok(vec![whole(label, None, None)]);
        }
        let Some(layout) = self.layouts.of(schema, table).await? else {
            let gone = Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{schema}.{table}\" does not exist"),
            );
            return Err(gone.with_source(self.source.catalog()).with_stale_plan());
        };
        let bytes = layout.can_be_cut.then(|| layout.bytes());
        let pieces = self.pieces(&layout, request.parallelism);
        let filtered = matches!(handle.relation, Relation::Filter { .. });
        if pieces <= 1 && bytes.is_some() {
            return Ok(vec![whole(label, None, bytes)]);
        }
        let members: Vec<&Member> = layout.members.iter().collect();
        if !filtered && pieces > 1 {
            return cut(
                &members,
                pieces,
                bytes.unwrap_or(0),
                layout.fingerprint,
                false,
            );
        }
        // What a filter leaves, or a view gives, only the server can guess.
        let Some(plan) = self.plan(handle, &facts).await else {
            return Ok(vec![whole(label, None, bytes)]);
        };
        let estimate = (Some(plan.rows as u64), Some(plan.bytes()));
        let named = |member: &&Member| {
            plan.relations
                .iter()
                .any(|(schema, name)| *schema == member.schema && *name == member.relation)
        };
        let survivors: Vec<&Member> = members.iter().copied().filter(named).collect();
        let understood = plan.relations.len() == survivors.len() && !survivors.is_empty();
        if pieces <= 1 || !plan.reads_all_pages || !understood {
            return Ok(vec![whole(label, estimate.0, estimate.1)]);
        }
        let pages: u64 = survivors.iter().map(|m| u64::from(m.pages)).sum();
        let left = self.pieces_of(
            survivors.iter().map(|member| member.bytes).sum(),
            request.parallelism,
        );
        if left <= 1 || pages == 0 {
            return Ok(vec![whole(label, estimate.0, estimate.1)]);
        }
        let pruned = survivors.len() < members.len();
        cut(&survivors, left, plan.bytes(), layout.fingerprint, pruned)
    }
}

impl TableSplits {
    /// A read that the server computes: one statement, of the size that it expects.
    async fn computed(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>> {
        let label = handle.relation.to_string();
        let plan = match request.parallelism {
            0 | 1 => None,
            _ => self.plan(handle, Facts::of(handle)?.as_ref()).await,
        };
        let rows = plan.as_ref().map(|plan| plan.rows as u64);
        let bytes = plan.map(|plan| plan.bytes());
        Ok(vec![whole(label, rows, bytes)])
    }

    fn pieces(&self, layout: &Layout, parallelism: usize) -> usize {
        let possible = self.limits.cut
            && layout.can_be_cut
            && layout.members.len() <= MAX_MEMBERS
            && layout.pages() > 1
            && self.source.shares_snapshots();
        if possible {
            self.pieces_of(layout.bytes(), parallelism)
        } else {
            1
        }
    }

    /// One per reader, but none smaller than a split is worth, and all of them at once on half of the
    /// connections that are free: the other half is for the snapshot and for other queries, which would
    /// otherwise wait for as long as this one reads.
    fn pieces_of(&self, bytes: u64, parallelism: usize) -> usize {
        let by_size = usize::try_from(bytes / self.limits.split_bytes.max(1)).unwrap_or(usize::MAX);
        parallelism
            .min(by_size)
            .min(self.source.free_connections().div_ceil(2))
            .max(1)
    }
}

/// Asks the server for its plan; `None` where the answer is not understood.
pub(crate) async fn explain(source: &Source, question: &str) -> Result<Option<SourcePlan>> {
    let messages = ask(source, |client| async move {
        client.simple_query(question).await
    })
    .await?;
    Ok(source_plan::answer(&text_of(&messages)))
}

/// The first columns of the rows, one after the other.
pub(crate) fn text_of(messages: &[SimpleQueryMessage]) -> String {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect()
}

/// Schema and name, where the relation is a table's rows, filtered at most.
pub(crate) fn stored_table(relation: &Relation) -> Option<(&str, &str)> {
    let mut base = relation;
    while let Relation::Filter { input, .. } = base {
        base = input;
    }
    match base {
        Relation::Scan { schema, table, .. } => Some((schema, table)),
        _ => None,
    }
}

fn whole(label: String, rows: Option<u64>, bytes: Option<u64>) -> Split {
    Split {
        payload: Vec::new(),
        rows,
        bytes,
        label,
    }
}

/// Cuts the members' pages, in order, into `pieces` of about the same size. `bytes` is what all of it
/// gives together.
fn cut(
    members: &[&Member],
    pieces: usize,
    bytes: u64,
    layout: u64,
    pruned: bool,
) -> Result<Vec<Split>> {
    // An empty relation counts for a page: it may have rows by now.
    let pages_of = |member: &Member| u64::from(member.pages.max(1));
    let total: u64 = members.iter().map(|member| pages_of(member)).sum();
    let size = total.div_ceil(pieces.max(1) as u64).max(1);
    let mut shares: Vec<(Vec<PageRange>, u64)> = Vec::with_capacity(pieces);
    let (mut ranges, mut filled) = (Vec::new(), 0);
    for member in members {
        let end = pages_of(member);
        let mut from = 0;
        while from < end {
            let to = end.min(from + (size - filled));
            filled += to - from;
            ranges.push(PageRange {
                schema: member.schema.clone(),
                relation: member.relation.clone(),
                from: u32::try_from(from).unwrap_or(u32::MAX),
                to: (to < end).then(|| u32::try_from(to).unwrap_or(u32::MAX)),
            });
            from = to;
            if filled >= size {
                shares.push((std::mem::take(&mut ranges), filled));
                filled = 0;
            }
        }
    }
    if !ranges.is_empty() {
        shares.push((ranges, filled));
    }
    shares
        .into_iter()
        .map(|(ranges, pages)| {
            let share = Share {
                ranges,
                layout,
                pruned,
            };
            Ok(Split {
                payload: share.to_payload()?,
                rows: None,
                bytes: Some((u128::from(bytes) * u128::from(pages) / u128::from(total)) as u64),
                label: share.label(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(relation: &str, pages: u32) -> Member {
        Member {
            schema: "s".into(),
            relation: relation.into(),
            pages,
            bytes: u64::from(pages) * 8192,
        }
    }

    #[test]
    fn each_page_is_in_one_split_and_every_relation_ends_open() {
        let members = [member("a", 10), member("b", 0), member("c", 25)];
        let members: Vec<&Member> = members.iter().collect();
        for pieces in 1..=40 {
            let splits = cut(&members, pieces, 1000, 7, false).unwrap();
            assert!(splits.len() <= pieces, "{pieces}: {}", splits.len());
            let ranges: Vec<PageRange> = splits
                .iter()
                .flat_map(|split| Share::of(split).unwrap().unwrap().ranges)
                .collect();
            for member in &members {
                let own: Vec<_> = ranges
                    .iter()
                    .filter(|range| range.relation == member.relation)
                    .collect();
                assert_eq!(own[0].from, 0);
                assert_eq!(own[own.len() - 1].to, None);
                assert!(own.windows(2).all(|pair| pair[0].to == Some(pair[1].from)));
            }
            let bytes: u64 = splits.iter().filter_map(|split| split.bytes).sum();
            assert!((960..=1000).contains(&bytes), "{bytes}");
        }
    }
}
