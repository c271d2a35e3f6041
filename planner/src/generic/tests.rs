//! What is kept, what is not, and that no two runs share an operator.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use datafusion::physical_plan::collect;

use crate::physical::PhysicalStatement;
use crate::test_support::{planner, session, statement};
use crate::{BoundStatement, Planner, QueryPlan, StatementKind};

const FOREVER: Duration = Duration::MAX;

async fn bind(planner: &Planner, sql: &str) -> BoundStatement {
    let statement = statement(sql).unwrap();
    planner.bind(&session(), &statement, &[]).await.unwrap()
}

fn query(bound: &BoundStatement) -> &QueryPlan {
    match &bound.kind {
        StatementKind::Query(query) => query,
        _ => panic!("not a query"),
    }
}

async fn plan(planner: &Planner, bound: &BoundStatement) -> PhysicalStatement {
    let session = session();
    let planned = planner.plan(&session, bound, query(bound), Vec::new());
    planned.await.unwrap()
}

/// Two runs, after which a plan is there if one is kept at all.
async fn run_twice(planner: &Planner, bound: &BoundStatement) {
    for _ in 0..2 {
        value(plan(planner, bound).await).await;
    }
}

async fn again(planner: &Planner, bound: &BoundStatement) -> Option<PhysicalStatement> {
    let query_id = "q".into();
    let again = planner.plan_again(&query_id, query(bound), &[]);
    again.await.unwrap()
}

async fn value(statement: PhysicalStatement) -> String {
    let batches = collect(statement.plan, statement.context).await.unwrap();
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
    array_value_to_string(batch.column(0), 0).unwrap()
}

#[tokio::test]
async fn each_run_has_operators_of_its_own() {
    let planner = planner();
    let bound = bind(&planner, "SELECT 1 + 1, random()").await;
    plan(&planner, &bound).await;
    assert!(again(&planner, &bound).await.is_none(), "planned once only");
    plan(&planner, &bound).await;
    let one = again(&planner, &bound).await.unwrap();
    let two = again(&planner, &bound).await.unwrap();
    assert!(!Arc::ptr_eq(&one.plan, &two.plan));
    let types = |schema: &SchemaRef| -> Vec<_> {
        let fields = schema.fields().iter();
        fields
            .map(|f| (f.name().clone(), f.data_type().clone()))
            .collect()
    };
    assert_eq!(types(&one.schema), types(&bound.output.clone().unwrap()));
    assert_eq!([value(one).await, value(two).await], ["2", "2"]);
}

#[tokio::test]
async fn volatile_functions_are_asked_in_each_run() {
    let planner = planner();
    let bound = bind(&planner, "SELECT random()").await;
    run_twice(&planner, &bound).await;
    let one = value(again(&planner, &bound).await.unwrap()).await;
    let two = value(again(&planner, &bound).await.unwrap()).await;
    assert_ne!(one, two);
}

#[tokio::test]
async fn what_the_moment_decides_is_not_kept() {
    let planner = planner();
    for sql in [
        "SELECT now()",
        "SELECT 1 WHERE now() > timestamptz '2000-01-01'",
        "SELECT (SELECT current_date)",
    ] {
        let bound = bind(&planner, sql).await;
        run_twice(&planner, &bound).await;
        assert!(again(&planner, &bound).await.is_none(), "{sql}");
        assert!(!bound.must_be_bound_again(FOREVER), "{sql}");
    }
    // The argument is in the table since the statement was bound.
    let bound = bind(
        &planner,
        "SELECT count(*) FROM generate_series(1, CAST(extract(year FROM now()) AS bigint))",
    )
    .await;
    assert!(bound.must_be_bound_again(FOREVER) && !bound.is_shareable);
    let bound = bind(&planner, "SELECT count(*) FROM generate_series(1, 2 + 1)").await;
    assert!(!bound.must_be_bound_again(FOREVER) && bound.is_shareable);
}

#[tokio::test]
async fn operators_that_learn_are_not_kept() {
    let planner = planner();
    for sql in [
        "SELECT a FROM (VALUES (2), (1)) AS t(a) ORDER BY a LIMIT 1",
        "SELECT a FROM (VALUES (2)) AS t(a) JOIN (VALUES (2)) AS u(b) ON a = b",
    ] {
        let bound = bind(&planner, sql).await;
        run_twice(&planner, &bound).await;
        assert!(again(&planner, &bound).await.is_none(), "{sql}");
    }
}
