//! The wait for keys, without a source: what ends it, and what it leaves behind.

use std::collections::{BTreeMap, HashSet};

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use datafusion::physical_expr::expressions::{col, in_list, lit};
use sluice_spi::{
    FilterPushdown, JoinMethod, Literal, Metadata, Pushdown, Reader, Relation, ScalarExpr,
    ScanDescription, SplitSource, TableMetadata,
};

use super::*;

/// A source that takes every filter, joins so, and is never read.
pub(super) struct Takes(pub(super) JoinMethod);

impl Pushdown for Takes {
    fn apply_filter(
        &self,
        _table: &TableMetadata,
        handle: &TableHandle,
        conjuncts: &[Expr],
    ) -> FilterPushdown {
        let taken = conjuncts.iter().filter_map(ScalarExpr::from_expr).collect();
        FilterPushdown {
            handle: handle.with_relation(handle.relation.filtered(taken)),
            outcome: vec![Pushed::Exactly; conjuncts.len()],
        }
    }

    fn join_method(&self) -> JoinMethod {
        self.0
    }
}

#[async_trait]
impl Connector for Takes {
    fn metadata(&self) -> &dyn Metadata {
        unreachable!("keys need no metadata")
    }

    fn splits(&self) -> &dyn SplitSource {
        unreachable!("keys need no splits")
    }

    fn reader(&self) -> &dyn Reader {
        unreachable!("keys are not read")
    }

    fn describe(&self, _: &TableHandle, _: &[usize], _: Option<usize>) -> ScanDescription {
        ScanDescription::default()
    }

    fn pushdown(&self) -> Option<&dyn Pushdown> {
        Some(self)
    }

    async fn ping(&self) -> sluice_spi::Result<String> {
        Ok(String::new())
    }
}

struct Fixture {
    shared: SharedKeys,
    wish: KeyedScan,
    filter: Arc<DynamicFilterPhysicalExpr>,
}

/// A scan with one column and one filter that is awaited.
fn fixture(wait: Duration) -> Fixture {
    let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
    let key = col("k", &schema).unwrap();
    let filter = Arc::new(DynamicFilterPhysicalExpr::new(vec![key], lit(true)));
    let shared = SharedKeys::default();
    shared.set_awaited(HashSet::from([filter.expression_id().unwrap()]));
    let relation = Relation::Scan {
        schema: "s".into(),
        table: "t".into(),
        columns: Vec::new(),
    };
    let target = ScanTarget {
        query_id: "q".into(),
        schema_name: "s".into(),
        table_name: "t".into(),
        handle: TableHandle::new("c", relation, Vec::new()),
        schema,
        coordinator_only: false,
        key_limits: BTreeMap::from([(1, 2)]),
        notes: Vec::new(),
    };
    let wish = KeyedScan {
        connector: Arc::new(Takes(JoinMethod::Hash)),
        target: Arc::new(target),
        filters: vec![filter.clone()],
        limits: RunTimeKeys { max_keys: 3, wait },
        wait: None,
        metrics: ExecutionPlanMetricsSet::new(),
        partition: 0,
    };
    Fixture {
        shared,
        wish,
        filter,
    }
}

impl Fixture {
    fn learn(&self, keys: &[i64]) {
        let schema = &self.wish.target.schema;
        let list = keys.iter().map(|key| lit(*key)).collect();
        let filter = in_list(col("k", schema).unwrap(), list, &false, schema).unwrap();
        self.filter.update(filter).unwrap();
        self.filter.mark_complete();
    }

    /// The keys that the source is sent.
    async fn sent(&self) -> Option<Vec<ScalarExpr>> {
        match self.shared.resolve(&self.wish).await.unwrap() {
            Keyed::Handle(handle) => Some(handle.relation.predicates().to_vec()),
            Keyed::Nothing => None,
        }
    }

    fn metric(&self, name: &str) -> usize {
        let metrics = self.wish.metrics.clone_inner();
        metrics
            .sum_by_name(name)
            .map_or(0, |value| value.as_usize())
    }
}

#[tokio::test]
async fn a_scan_waits_until_the_keys_are_known() {
    let fixture = fixture(Duration::from_secs(60));
    let learn = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        fixture.learn(&[7, 9]);
    };
    let (sent, ()) = tokio::join!(fixture.sent(), learn);
    let ScalarExpr::InList { list, .. } = &sent.unwrap()[0] else {
        panic!("a list of keys");
    };
    assert_eq!(list, &[Literal::Int(7), Literal::Int(9)]);
    assert_eq!((fixture.metric(KEYS), fixture.metric(LATE_KEYS)), (2, 0));
    assert!(fixture.metric(KEYS_WAIT) >= 15_000_000);
}

#[tokio::test]
async fn a_wait_has_an_end_and_costs_only_rows() {
    let fixture = fixture(Duration::from_millis(20));
    assert_eq!(fixture.sent().await, Some(Vec::new()));
    assert_eq!(fixture.metric(LATE_KEYS), 1);
    // What was decided for one partition holds for all of them.
    fixture.learn(&[7]);
    assert_eq!(fixture.sent().await, Some(Vec::new()));
}

#[tokio::test]
async fn a_waiter_that_goes_away_leaves_the_wait_to_the_next() {
    let fixture = fixture(Duration::from_secs(60));
    let first = tokio::time::timeout(Duration::from_millis(10), fixture.sent());
    assert!(first.await.is_err(), "it waits");
    fixture.learn(&[7]);
    assert_eq!(fixture.sent().await.unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_filter_that_is_not_awaited() {
    let fixture = fixture(Duration::from_secs(60));
    fixture.shared.set_awaited(HashSet::new());
    assert_eq!(fixture.sent().await, Some(Vec::new()));
    assert_eq!(fixture.metric(KEYS_WAIT), 0);
}

#[tokio::test]
async fn too_many_keys_and_none() {
    let many = fixture(Duration::ZERO);
    many.learn(&[1, 2, 3, 4]);
    assert_eq!(many.sent().await, Some(Vec::new()), "no range is known");
    let none = fixture(Duration::ZERO);
    none.filter.update(lit(false)).unwrap();
    none.filter.mark_complete();
    assert_eq!(none.sent().await, None);
}
