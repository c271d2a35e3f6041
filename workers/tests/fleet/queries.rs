//! Queries over several workers: same rows, tracked tasks, nothing left behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_distributed::{
    DistributedMetricsFormat, display_plan_ascii, rewrite_distributed_plan_with_metrics,
};
use futures::StreamExt;
use sluice_workers::{TaskReport, TaskState, WorkerState};

use crate::harness::{BUILD, Coordinator, Table, WorkerNode};

const GROUPS: &str = "SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k ORDER BY k";

async fn plan(ctx: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    ctx.sql(sql)
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap()
}

async fn rows(ctx: &SessionContext, sql: &str) -> String {
    let batches = collect(plan(ctx, sql).await, ctx.task_ctx()).await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

fn of_query<'a>(tasks: &'a [TaskReport], query_id: &str) -> Vec<&'a TaskReport> {
    tasks
        .iter()
        .filter(|task| task.query_id == query_id)
        .collect()
}

async fn tasks(coordinator: &Coordinator) -> Vec<TaskReport> {
    coordinator
        .membership
        .refresh_tasks(Duration::from_secs(2))
        .await;
    coordinator.membership.tasks()
}

/// What the coordinator knows of the tasks, once that is as wanted. A busy machine needs some seconds.
async fn wait_for_tasks(
    coordinator: &Coordinator,
    what: &str,
    wanted: impl Fn(&[TaskReport]) -> bool,
) -> Vec<TaskReport> {
    let started = Instant::now();
    loop {
        let all = tasks(coordinator).await;
        if wanted(&all) {
            return all;
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "waited for {what}: {all:#?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn wait_until_nothing_runs(coordinator: &Coordinator) {
    wait_for_tasks(coordinator, "the end of all tasks", |all| {
        all.iter().all(|task| task.state != TaskState::Running)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_a_query_and_report_their_tasks() {
    let table = Table::new(6, 10_000);
    let local = SessionContext::new();
    let path = table.path();
    local
        .register_parquet("t", path, ParquetReadOptions::default())
        .await
        .unwrap();
    let expected = rows(&local, GROUPS).await;

    let coordinator = Coordinator::start(Some("hush"), true);
    let _one = WorkerNode::start(&coordinator.url, "one", BUILD, Some("hush"));
    let _two = WorkerNode::start(&coordinator.url, "two", BUILD, Some("hush"));
    coordinator.wait_healthy(3).await;

    for (limit, workers) in [
        (None, vec!["gateway", "one", "two"]),
        (Some(2), vec!["one", "two"]),
        (Some(1), vec![]),
    ] {
        let query_id = format!("query-{limit:?}");
        let resolver = coordinator.membership.resolver(limit);
        let ctx = coordinator.session(resolver, &query_id, &table).await;
        assert_eq!(rows(&ctx, GROUPS).await, expected, "limit {limit:?}");

        let all = tasks(&coordinator).await;
        let mine = of_query(&all, &query_id);
        let names: BTreeSet<&str> = mine.iter().map(|task| task.worker_id.as_str()).collect();
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            workers,
            "limit {limit:?}: {mine:#?}"
        );
        for task in &mine {
            assert_eq!(task.state, TaskState::Finished, "{task:#?}");
            assert!(task.ended_micros.unwrap() >= task.started_micros);
        }
        if !workers.is_empty() {
            let read: u64 = mine.iter().map(|task| task.input_rows).sum();
            assert_eq!(read, 60_000, "{mine:#?}");
            assert!(
                mine.iter()
                    .any(|task| task.output_rows > 0 && task.output_bytes > 0 && task.splits > 0)
            );
        }
    }
    wait_until_nothing_runs(&coordinator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_come_back_past_the_probe() {
    let table = Table::new(4, 5_000);
    let coordinator = Coordinator::start(None, true);
    let _one = WorkerNode::start(&coordinator.url, "one", BUILD, None);
    coordinator.wait_healthy(2).await;
    let ctx = coordinator
        .session(coordinator.membership.resolver(None), "q", &table)
        .await;
    let plan = plan(&ctx, GROUPS).await;
    collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
    let with_metrics =
        rewrite_distributed_plan_with_metrics(plan, DistributedMetricsFormat::Aggregated);
    let plan = tokio::time::timeout(Duration::from_secs(5), with_metrics)
        .await
        .unwrap()
        .unwrap();
    let mut scanned = 0;
    plan.apply(|node| {
        if node.children().is_empty() {
            scanned += node
                .metrics()
                .unwrap_or_default()
                .output_rows()
                .unwrap_or(0);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    assert_eq!(
        scanned,
        20_000,
        "{}",
        display_plan_ascii(plan.as_ref(), true)
    );
}

/// Several queries at once on the same workers, the gateway's own among them: no two tasks may share
/// the nodes of a plan.
#[tokio::test(flavor = "multi_thread")]
async fn queries_run_side_by_side() {
    let table = Table::new(4, 5_000);
    let coordinator = Coordinator::start(None, true);
    let _one = WorkerNode::start(&coordinator.url, "one", BUILD, None);
    coordinator.wait_healthy(2).await;
    let ctx = coordinator
        .session(coordinator.membership.resolver(None), "q", &table)
        .await;
    let join = "SELECT a.k, count(*) FROM t a JOIN t b ON a.v = b.v + 1 GROUP BY a.k ORDER BY a.k";
    let expected = rows(&ctx, join).await;
    let all = futures::future::join_all((0..8).map(|_| rows(&ctx, join))).await;
    assert!(all.iter().all(|got| *got == expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_query_leaves_no_task() {
    let table = Table::new(4, 50_000);
    let coordinator = Coordinator::start(None, true);
    let _one = WorkerNode::start(&coordinator.url, "one", BUILD, None);
    coordinator.wait_healthy(2).await;
    let ctx = coordinator
        .session(coordinator.membership.resolver(None), "dropped", &table)
        .await;
    let plan = plan(&ctx, "SELECT v FROM t ORDER BY v").await;
    let mut stream = plan.execute(0, ctx.task_ctx()).unwrap();
    assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
    drop(stream);
    drop(plan);
    wait_until_nothing_runs(&coordinator).await;
    let gateway = coordinator.embedded.as_ref().unwrap();
    for _ in 0..100 {
        if gateway.memory_usage().used_bytes == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still reserved: {:?}", gateway.memory_usage());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_querys_own_error_stays_its_own() {
    let table = Table::new(4, 1_000);
    let coordinator = Coordinator::start(None, true);
    let _one = WorkerNode::start(&coordinator.url, "one", BUILD, None);
    coordinator.wait_healthy(2).await;
    let ctx = coordinator
        .session(coordinator.membership.resolver(None), "broken", &table)
        .await;
    let plan = plan(&ctx, "SELECT k, sum(1 / (v - 1500)) FROM t GROUP BY k").await;
    let error = collect(plan, ctx.task_ctx()).await.unwrap_err().to_string();
    assert!(
        error.contains("Divide by zero") || error.contains("divide by zero"),
        "{error}"
    );
    // Nobody was blamed: a worker that was lost would stay in the list.
    let workers = coordinator
        .wait("both workers", |workers| workers.len() == 2)
        .await;
    assert!(
        workers
            .iter()
            .all(|worker| worker.state == WorkerState::Active),
        "{workers:#?}"
    );
    wait_until_nothing_runs(&coordinator).await;
    wait_for_tasks(&coordinator, "the failed task", |all| {
        of_query(all, "broken").iter().any(|task| {
            task.state == TaskState::Failed
                && task.error.as_deref().unwrap_or_default().contains("zero")
        })
    })
    .await;
}
