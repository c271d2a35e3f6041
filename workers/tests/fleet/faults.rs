//! Workers that die, hang, or never answer: an error in seconds that names them, and a fleet that goes
//! on.

use std::time::{Duration, Instant};

use datafusion::common::DataFusionError;
use datafusion::physical_plan::collect;
use datafusion_distributed::WorkerResolver;
use sluice_spi::Error;
use sluice_workers::{TaskState, failed_worker};
use url::Url;

use crate::harness::{Coordinator, Table, WorkerProcess};

/// Takes some seconds on two workers, and can be interrupted between two files.
const SLOW: &str = "SELECT sum(slow(v)) FROM t";
const SHORT: &str = "SELECT k, count(*) FROM t GROUP BY k";

/// The longest time from a fault to the client's error.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

async fn run(
    coordinator: &Coordinator,
    table: &Table,
    sql: &str,
) -> Result<usize, DataFusionError> {
    let ctx = coordinator
        .session(coordinator.membership.resolver(None), "q", table)
        .await;
    let plan = ctx.sql(sql).await?.create_physical_plan().await?;
    Ok(collect(plan, ctx.task_ctx())
        .await?
        .iter()
        .map(|batch| batch.num_rows())
        .sum())
}

/// Two worker processes, a slow query on both, and a fault in the first.
async fn fail_during_query(
    signal: &str,
) -> (Coordinator, [WorkerProcess; 2], Table, Duration, Error) {
    let table = Table::new(80, 100);
    let coordinator = Coordinator::start(None, false);
    let victim = WorkerProcess::start(&coordinator.url, "victim");
    let other = WorkerProcess::start(&coordinator.url, "other");
    coordinator.wait_healthy(2).await;
    assert_eq!(run(&coordinator, &table, SHORT).await.unwrap(), 10);

    let query = run(&coordinator, &table, SLOW);
    let fault = async {
        let runs = |id: &str| {
            let tasks = coordinator.membership.tasks();
            tasks
                .iter()
                .any(|task| task.worker_id == id && task.state == TaskState::Running)
        };
        let started = Instant::now();
        while !(runs("victim") && runs("other")) {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "the query never ran on both workers"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        victim.signal(signal);
        Instant::now()
    };
    let (result, hit) = tokio::join!(query, fault);
    let took = hit.elapsed();
    let text = result.unwrap_err().to_string();
    let error = Error::from_marked(&text).unwrap_or_else(|| panic!("not our error: {text}"));
    println!("{signal}: noticed after {took:?}: {error}");
    (coordinator, [victim, other], table, took, error)
}

fn blames(error: &Error, coordinator: &Coordinator, id: &str) -> bool {
    let workers = coordinator.membership.workers();
    let url = failed_worker(error).unwrap_or_else(|| panic!("{error:?}"));
    workers
        .iter()
        .any(|worker| worker.id == id && worker.url == url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_ends_the_query_and_not_the_next() {
    let (coordinator, _workers, table, took, error) = fail_during_query("-KILL").await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(blames(&error, &coordinator, "victim"), "{error}");
    assert_eq!(run(&coordinator, &table, SHORT).await.unwrap(), 10);
    nothing_runs(&coordinator).await;
}

/// Nobody waits for [`sluice_workers::Membership::lost`] here: the connections alone must notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_ends_the_query_and_comes_back() {
    let (coordinator, [victim, _other], table, took, error) = fail_during_query("-STOP").await;
    assert!(took < NOTICED_WITHIN, "{took:?}");
    assert!(blames(&error, &coordinator, "victim"), "{error}");
    coordinator.wait_healthy(1).await;
    assert_eq!(run(&coordinator, &table, SHORT).await.unwrap(), 10);
    nothing_runs(&coordinator).await;

    victim.signal("-CONT");
    coordinator.wait_healthy(2).await;
    assert_eq!(run(&coordinator, &table, SHORT).await.unwrap(), 10);
}

/// The dropped query's tasks on the workers that are left end too.
async fn nothing_runs(coordinator: &Coordinator) {
    let started = Instant::now();
    loop {
        coordinator
            .membership
            .refresh_tasks(Duration::from_secs(1))
            .await;
        let tasks = coordinator.membership.tasks();
        if tasks.iter().all(|task| task.state != TaskState::Running) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{tasks:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Only(Url);

impl WorkerResolver for Only {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        // Twice, since one worker alone would not make a distributed plan.
        Ok(vec![self.0.clone(), self.0.clone()])
    }
}

async fn run_on(url: Url) -> (Duration, Error) {
    let table = Table::new(4, 100);
    let coordinator = Coordinator::start(None, false);
    let ctx = coordinator.session(Only(url), "q", &table).await;
    let plan = ctx
        .sql(SHORT)
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap();
    let started = Instant::now();
    let text = collect(plan, ctx.task_ctx()).await.unwrap_err().to_string();
    let took = started.elapsed();
    let error = Error::from_marked(&text).unwrap_or_else(|| panic!("not our error: {text}"));
    println!("after {took:?}: {error}");
    (took, error)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_is_noticed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let hole = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    let (took, error) = run_on(url.clone()).await;
    hole.abort();
    assert!(took < NOTICED_WITHIN, "{took:?}");
    assert_eq!(failed_worker(&error), Some(url));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_there_is_noticed() {
    // Bound and dropped: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = Url::parse(&format!("http://{address}")).unwrap();
    let (took, error) = run_on(url.clone()).await;
    assert!(took < NOTICED_WITHIN, "{took:?}");
    assert_eq!(failed_worker(&error), Some(url));
}
