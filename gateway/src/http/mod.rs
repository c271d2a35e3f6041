//! The HTTP port: health for orchestrators, metrics for Prometheus, JSON for tools, a page for people.
//!
//! Read only. It has no users of its own, so it listens on the loopback unless told otherwise.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use datafusion::execution::runtime_env::RuntimeEnv;
use serde_json::{Value, json};
use sluice_catalogs::Catalogs;
use sluice_workers::{Membership, memory_usage};
use tokio_util::sync::CancellationToken;

use crate::coordinator::{QueryRegistry, QueryState};
use crate::session::SessionRegistry;

/// The page; it reads `/api/v1/…`.
const PAGE: &str = include_str!("page.html");

/// What the port shows.
#[derive(Clone)]
pub(crate) struct Status {
    pub(crate) queries: Arc<QueryRegistry>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) catalogs: Arc<Catalogs>,
    pub(crate) sessions: Arc<SessionRegistry>,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) shutdown: CancellationToken,
}

/// Serves until it is aborted.
pub(crate) async fn serve(listener: tokio::net::TcpListener, status: Status) {
    let router = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/live", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/queries", get(queries))
        .route("/api/v1/workers", get(workers))
        .route("/api/v1/catalogs", get(catalogs))
        .with_state(status);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!("the HTTP port failed: {error}");
    }
}

/// Ready while new sessions are taken.
async fn ready(State(status): State<Status>) -> Response {
    if status.shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn queries(State(status): State<Status>) -> Json<Value> {
    let list: Vec<Value> = status
        .queries
        .list()
        .iter()
        .map(|query| {
            let error = match &query.state {
                QueryState::Failed(error) => {
                    json!({ "code": error.code.code(), "message": error.message })
                }
                _ => Value::Null,
            };
            json!({
                "id": query.entry.id.as_ref(),
                "state": query.state.name(),
                "query": query.entry.text,
                "user": query.entry.user.as_ref(),
                "database": query.entry.database.as_ref(),
                "elapsed_ms": query.elapsed.as_secs_f64() * 1e3,
                "rows": query.rows,
                "workers": query.workers,
                "error": error,
            })
        })
        .collect();
    Json(json!({ "queries": list }))
}

async fn workers(State(status): State<Status>) -> Json<Value> {
    let list: Vec<Value> = status
        .membership
        .workers()
        .iter()
        .map(|worker| {
            json!({
                "id": worker.id,
                "url": worker.url.as_str(),
                "state": worker.state.name(),
                "embedded": worker.embedded,
                "version": worker.build_id,
                "cores": worker.cores,
                "memory_used_bytes": worker.memory_used_bytes,
                "memory_limit_bytes": worker.memory_limit_bytes,
                "running_tasks": worker.running_tasks,
            })
        })
        .collect();
    Json(json!({ "workers": list }))
}

async fn catalogs(State(status): State<Status>) -> Json<Value> {
    let list: Vec<Value> = status
        .catalogs
        .iter()
        .map(|catalog| json!({ "name": catalog.name(), "connector": catalog.connector_name() }))
        .collect();
    Json(json!({ "catalogs": list }))
}

/// OpenMetrics text.
async fn metrics(State(status): State<Status>) -> Response {
    let (running, finished, failed) = status.queries.counts();
    let memory = memory_usage(&status.runtime);
    let gauges = [
        (
            "sluice_queries_running",
            "Queries that run.",
            running as u64,
        ),
        (
            "sluice_sessions",
            "Connected sessions.",
            status.sessions.len() as u64,
        ),
        (
            "sluice_workers",
            "Workers that can be given tasks.",
            status.membership.healthy_count() as u64,
        ),
        (
            "sluice_memory_used_bytes",
            "Memory that queries hold.",
            memory.used_bytes,
        ),
        (
            "sluice_memory_limit_bytes",
            "Memory that queries may hold.",
            memory.limit_bytes,
        ),
        (
            "sluice_spilled_bytes",
            "Bytes in spill files.",
            memory.spilled_bytes,
        ),
    ];
    let mut text = String::new();
    for (name, help, value) in gauges {
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
        );
    }
    let ended = "sluice_queries";
    let _ = writeln!(
        text,
        "# HELP {ended} Queries that ended.\n# TYPE {ended} counter"
    );
    let _ = writeln!(text, "{ended}_total{{outcome=\"finished\"}} {finished}");
    let _ = writeln!(text, "{ended}_total{{outcome=\"failed\"}} {failed}");
    text.push_str("# EOF\n");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
