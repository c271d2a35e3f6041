//! Who gets in, who is seen, and how one leaves.

use std::time::Duration;

use sluice_workers::WorkerState;

use crate::harness::{BUILD, Coordinator, WorkerNode};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_joins_and_leaves() {
    let coordinator = Coordinator::start(Some("hush"), true);
    let node = WorkerNode::start(&coordinator.url, "one", BUILD, Some("hush"));
    coordinator.wait_healthy(2).await;
    let workers = coordinator.membership.workers();
    assert_eq!(workers[1].id, "one");
    assert_eq!(workers[1].url, node.url);
    assert!(workers[0].embedded && !workers[1].embedded);
    assert!(workers[1].cores > 0 && workers[1].memory_limit_bytes > 0);

    // A joined worker comes before the gateway's own.
    let urls = coordinator.membership.resolver(Some(1)).urls().to_vec();
    assert_eq!(urls, vec![node.url.clone()]);

    node.shutdown.cancel();
    node.agent.await.unwrap().unwrap();
    let workers = coordinator
        .wait("the worker to be gone", |w| w[1].state == WorkerState::Left)
        .await;
    assert_eq!(workers[0].state, WorkerState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_build_is_refused() {
    let coordinator = Coordinator::start(None, false);
    let node = WorkerNode::start(&coordinator.url, "old", "other-build", None);
    let error = node.agent.await.unwrap().unwrap_err();
    assert_eq!(
        error.message,
        "worker \"old\" runs build other-build, the coordinator runs build test-build"
    );
    assert_eq!(coordinator.membership.healthy_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_is_refused() {
    let coordinator = Coordinator::start(Some("hush"), false);
    for secret in [None, Some("hus"), Some("hush!")] {
        let node = WorkerNode::start(&coordinator.url, "thief", BUILD, secret);
        let error = node.agent.await.unwrap().unwrap_err();
        assert_eq!(error.code.code(), "28000");
        assert!(error.message.contains("refused the rpc secret"), "{error}");
    }
    assert_eq!(coordinator.membership.healthy_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_agent_is_lost_and_may_come_again() {
    let coordinator = Coordinator::start(None, false);
    let node = WorkerNode::start(&coordinator.url, "one", BUILD, None);
    coordinator.wait_healthy(1).await;
    let urls = vec![node.url.clone()];
    let lost = coordinator.membership.lost(&urls);
    node.agent.abort();
    let lost = tokio::time::timeout(Duration::from_secs(1), lost)
        .await
        .expect("noticed within a second");
    assert_eq!(lost.url, node.url);
    assert_eq!(coordinator.membership.healthy_count(), 0);

    let _again = WorkerNode::start(&coordinator.url, "one", BUILD, None);
    coordinator.wait_healthy(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_is_found_again() {
    let first = Coordinator::start(None, false);
    let address = first.url.clone();
    let _node = WorkerNode::start(&address, "one", BUILD, None);
    first.wait_healthy(1).await;
    drop(first);

    // The port may be taken for a moment by connections that are closing.
    let second = loop {
        match std::net::TcpListener::bind(address.socket_addrs(|| None).unwrap()[0]) {
            Ok(listener) => break Coordinator::start_on(listener, None, false),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    second.wait_healthy(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_drains_a_worker() {
    let coordinator = Coordinator::start(None, false);
    let node = WorkerNode::start(&coordinator.url, "one", BUILD, None);
    coordinator.wait_healthy(1).await;
    let error = coordinator.membership.drain("onne").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("Perhaps you meant \"one\"."));
    coordinator.membership.drain("one").unwrap();
    assert_eq!(coordinator.membership.healthy_count(), 0);
    node.agent.await.unwrap().unwrap();
    coordinator
        .wait("the worker to be gone", |w| w[0].state == WorkerState::Left)
        .await;
}
