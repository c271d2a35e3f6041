//! The coordinator's view of its fleet: who is here, who is healthy, what runs where.
//!
//! Readers on a query's path (the resolver) take a snapshot and no lock that a heartbeat holds. Workers
//! come in through the RPC port (`rpc/fleet.rs`), each holding a [`Seat`]; the embedded one is put in
//! directly. Never calls a worker on its own; never decides about queries.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sluice_spi::{ConnectionBudgets, Error, Result, SqlState};
use tokio::sync::{Notify, broadcast, watch};
use url::Url;

use crate::WorkerService;
use crate::connections::{
    ConnectionDesk, ConnectionNeeds, ConnectionOrders, ConnectionReport, Identity,
};
use crate::failure::{display_url, worker_failed};
use crate::members::{Commands, Link, Member, Members, describe};
use crate::report::{TaskReport, WorkerInfo, WorkerState, now_micros};
use crate::rpc::{Heartbeat, Registration, ToWorker};

/// Losses that a waiting query may be behind; one that is further behind looks at the members instead.
const LOSSES_BUFFERED: usize = 64;

/// A worker that was lost, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLost {
    /// Where it was.
    pub url: Url,
    /// How it is known that it is gone.
    pub reason: String,
}

impl From<WorkerLost> for Error {
    fn from(lost: WorkerLost) -> Self {
        worker_failed(&lost.url, lost.reason)
    }
}

/// The workers of one coordinator.
pub struct Membership {
    build_id: String,
    members: Mutex<Members>,
    healthy: RwLock<Arc<[HealthyWorker]>>,
    losses: broadcast::Sender<WorkerLost>,
    /// Counts heartbeats and departures, for those who wait for one.
    pulse: watch::Sender<u64>,
    connections: Arc<ConnectionDesk>,
}

/// A worker that can be given tasks.
#[derive(Debug, Clone)]
pub(crate) struct HealthyWorker {
    pub(crate) url: Url,
    pub(crate) embedded: bool,
    pub(crate) running_tasks: u64,
}

impl Membership {
    /// A fleet without workers. Only workers of the same build may join: plans and hashes of another
    /// build can differ.
    pub fn new(build_id: impl Into<String>) -> Arc<Self> {
        Arc::new(Membership {
            build_id: build_id.into(),
            members: Mutex::default(),
            healthy: RwLock::new(Arc::new([])),
            losses: broadcast::Sender::new(LOSSES_BUFFERED),
            pulse: watch::Sender::new(0),
            connections: ConnectionDesk::new(),
        })
    }

    /// The connection budgets of the coordinator's own process, which the workers share.
    pub fn connections(&self) -> Arc<dyn ConnectionBudgets> {
        self.connections.clone()
    }

    /// Which process holds how many connections to which source, as last heard.
    pub fn connection_reports(&self) -> Vec<ConnectionReport> {
        self.connections.reports()
    }

    pub(crate) fn connection_desk(&self) -> &Arc<ConnectionDesk> {
        &self.connections
    }

    /// Puts the gateway's own worker in. `url` is where *other* workers reach it.
    pub fn register_embedded(&self, url: Url, worker: &Arc<WorkerService>) {
        let mut members = self.members.lock();
        let info = describe(worker.registration(url), true);
        members.add(info, Link::Embedded(Arc::clone(worker)));
        self.publish(&members);
    }

    /// Every worker, those that are gone last. What the embedded one uses is read now.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let members = self.members.lock();
        let live = members.live.iter().map(|member| match &member.link {
            Link::Embedded(worker) => {
                let memory = worker.memory_usage();
                WorkerInfo {
                    last_heartbeat_micros: now_micros(),
                    memory_used_bytes: memory.used_bytes,
                    memory_peak_bytes: memory.peak_bytes,
                    running_tasks: worker.running_tasks() as u64,
                    ..member.info.clone()
                }
            }
            _ => member.info.clone(),
        });
        live.chain(members.gone.iter().rev().map(|member| member.info.clone()))
            .collect()
    }

    /// How many workers can be given tasks.
    pub fn healthy_count(&self) -> usize {
        self.healthy.read().len()
    }

    /// Every task of every worker as last heard: those that run, and the last ones that ended. Call
    /// [`Membership::refresh_tasks`] before, to hear now.
    pub fn tasks(&self) -> Vec<TaskReport> {
        let members = self.members.lock();
        let mut reports = Vec::new();
        for member in members.gone.iter().chain(&members.live) {
            match &member.link {
                Link::Embedded(worker) => reports.extend(worker.tasks()),
                _ => {
                    reports.extend(member.tasks.ended.iter().cloned());
                    reports.extend(member.tasks.running.iter().cloned());
                }
            }
        }
        reports
    }

    /// Asks every worker for its tasks and waits for the answers, at most `patience`.
    pub async fn refresh_tasks(&self, patience: Duration) {
        let mut pulse = self.pulse.subscribe();
        let (question, asked) = {
            let mut members = self.members.lock();
            members.next_question += 1;
            let question = members.next_question;
            let mut asked = Vec::new();
            for member in &members.live {
                if let Link::Stream(commands) = &member.link
                    && commands.try_send(Ok(ToWorker::Report(question))).is_ok()
                {
                    asked.push(member.seat);
                }
            }
            (question, asked)
        };
        let all_answered = async {
            loop {
                let waiting = {
                    let members = self.members.lock();
                    members
                        .live
                        .iter()
                        .any(|m| asked.contains(&m.seat) && m.answered < question)
                };
                // The sender lives in `self`: waiting cannot fail.
                if !waiting || pulse.changed().await.is_err() {
                    return;
                }
            }
        };
        // A worker that does not answer in time is shown as last heard.
        let _ = tokio::time::timeout(patience, all_answered).await;
    }

    /// Waits until one of these workers is lost; at once if one is not here. Returning drops the wait.
    pub async fn lost(&self, urls: &[Url]) -> WorkerLost {
        let mut losses = self.losses.subscribe();
        loop {
            // Looked at after subscribing, so that no loss falls in between.
            if let Some(url) = self.missing(urls) {
                return WorkerLost {
                    url,
                    reason: "it is not a member of the fleet any more".to_owned(),
                };
            }
            loop {
                match losses.recv().await {
                    Ok(lost) if urls.contains(&lost.url) => return lost,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => break,
                    // The sender lives in `self`.
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }

    /// A connection to this worker failed: plan nothing onto it until it is heard again. Its next
    /// heartbeat puts it back, so a worker that is well is out for a second at most.
    pub fn suspect(&self, url: &Url, reason: &str) {
        let mut members = self.members.lock();
        let found = members
            .live
            .iter_mut()
            .find(|member| member.info.url == *url);
        let Some(member) = found else { return };
        if matches!(member.link, Link::Stream(_)) && member.info.state.is_live() {
            tracing::warn!(worker = %member.info.id, url = display_url(url), reason, "a worker's connection failed");
            member.info.state = WorkerState::Lost;
            self.publish(&members);
            drop(members);
            self.announce(url.clone(), reason);
        }
    }

    /// Tells a worker to take no new tasks, end those that run, and leave.
    pub fn drain(&self, worker_id: &str) -> Result<()> {
        let mut members = self.members.lock();
        let known: Vec<&str> = members
            .live
            .iter()
            .map(|member| member.info.id.as_str())
            .collect();
        let Some(at) = known.iter().position(|id| *id == worker_id) else {
            let error = Error::new(
                SqlState::UNDEFINED_OBJECT,
                format!("worker \"{worker_id}\" does not exist"),
            );
            return Err(match sluice_spi::nearest(worker_id, known) {
                Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
                None => error.with_hint("system.runtime.workers lists the workers."),
            });
        };
        let member = &mut members.live[at];
        match &member.link {
            Link::Stream(commands) => {
                commands.try_send(Ok(ToWorker::Drain)).map_err(|_| {
                    Error::new(
                        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                        format!("worker \"{worker_id}\" does not answer"),
                    )
                })?;
            }
            Link::Embedded(worker) => worker.start_draining(),
            Link::Closed => {}
        }
        member.info.state = WorkerState::Draining;
        self.publish(&members);
        Ok(())
    }

    pub(crate) fn healthy(&self) -> Arc<[HealthyWorker]> {
        Arc::clone(&self.healthy.read())
    }

    /// A worker comes in. One that is here under the same address or name is taken for its own past.
    pub(crate) fn register(
        self: &Arc<Self>,
        registration: Registration,
        commands: Commands,
    ) -> Result<Seat> {
        if registration.build_id != self.build_id {
            return Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "worker \"{}\" runs build {}, the coordinator runs build {}",
                    registration.worker_id, registration.build_id, self.build_id
                ),
            )
            .with_hint("All processes of a fleet must run the same build."));
        }
        let mut members = self.members.lock();
        let (url, id) = (registration.url.clone(), registration.worker_id.clone());
        let same = |member: &Member| member.info.url == url || member.info.id == id;
        if members
            .live
            .iter()
            .any(|member| same(member) && matches!(member.link, Link::Embedded(_)))
        {
            return Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "worker \"{id}\" at {} has the name or address of the coordinator's own",
                    display_url(&url)
                ),
            )
            .with_hint("Give each process its own rpc.listen and worker.id."));
        }
        let mut replaced = Vec::new();
        while let Some(past) = members.live.iter().position(same) {
            replaced.push(members.live[past].info.url.clone());
            self.connections.lose(members.live[past].seat);
            members.retire(past, WorkerState::Lost, "the worker started again");
        }
        tracing::info!(worker = %id, url = display_url(&url), "a worker joined");
        let identity = Identity {
            worker_id: id,
            started_micros: registration.started_micros,
        };
        let held = registration.connections.clone();
        let seat = members.add(describe(registration, false), Link::Stream(commands));
        let orders = self.connections.join(seat, identity, &held);
        self.publish(&members);
        drop(members);
        for url in replaced {
            self.announce(url, "it started again");
        }
        Ok(Seat {
            membership: Arc::clone(self),
            seat,
            orders,
        })
    }

    fn heard(&self, seat: u64, heartbeat: Heartbeat) -> bool {
        let mut members = self.members.lock();
        let Some(member) = members.live.iter_mut().find(|member| member.seat == seat) else {
            return false;
        };
        let before = (member.info.state, member.info.running_tasks);
        // A worker that was told to drain may not have read it yet.
        member.info.state = match (member.info.state, heartbeat.state) {
            (WorkerState::Draining, WorkerState::Active) => WorkerState::Draining,
            (_, said) => said,
        };
        member.info.last_heartbeat_micros = now_micros();
        member.info.memory_used_bytes = heartbeat.memory_used_bytes;
        member.info.memory_peak_bytes = heartbeat.memory_peak_bytes;
        member.answered = member.answered.max(heartbeat.answers);
        member.tasks.update(heartbeat.tasks);
        member.info.running_tasks = member.tasks.running.len() as u64;
        if before != (member.info.state, member.info.running_tasks) {
            self.publish(&members);
        }
        drop(members);
        self.pulse.send_modify(|count| *count += 1);
        true
    }

    fn remove(&self, seat: u64, state: WorkerState, reason: &str) {
        let mut members = self.members.lock();
        let Some(at) = members.live.iter().position(|member| member.seat == seat) else {
            return;
        };
        let url = members.live[at].info.url.clone();
        let worker = members.live[at].info.id.clone();
        members.retire(at, state, reason);
        self.publish(&members);
        drop(members);
        self.connections.lose(seat);
        if state == WorkerState::Lost {
            tracing::warn!(worker, url = display_url(&url), reason, "lost a worker");
            self.announce(url, reason);
        } else {
            tracing::info!(worker, url = display_url(&url), "a worker left");
        }
        self.pulse.send_modify(|count| *count += 1);
    }

    /// Tells the queries that wait; it is no error if none does.
    fn announce(&self, url: Url, reason: &str) {
        let _ = self.losses.send(WorkerLost {
            url,
            reason: reason.to_owned(),
        });
    }

    /// The first of these that is not here and well.
    fn missing(&self, urls: &[Url]) -> Option<Url> {
        let members = self.members.lock();
        let here = |url: &Url| {
            members
                .live
                .iter()
                .any(|m| m.info.url == *url && m.info.state.is_live())
        };
        urls.iter().find(|url| !here(url)).cloned()
    }

    fn publish(&self, members: &Members) {
        let active = members
            .live
            .iter()
            .filter(|member| member.info.state == WorkerState::Active);
        let healthy = active.map(|member| HealthyWorker {
            url: member.info.url.clone(),
            embedded: member.info.embedded,
            running_tasks: member.info.running_tasks,
        });
        *self.healthy.write() = healthy.collect();
    }
}

/// A worker's place in the membership, held by the task that listens to it.
pub(crate) struct Seat {
    membership: Arc<Membership>,
    seat: u64,
    /// Told when there are orders about connections.
    orders: Arc<Notify>,
}

impl Seat {
    /// Takes a heartbeat; false if the seat is gone, since the worker came again elsewhere.
    pub(crate) fn heard(&self, heartbeat: Heartbeat) -> bool {
        self.membership.heard(self.seat, heartbeat)
    }

    /// Takes what the worker wants and gives back of connections.
    pub(crate) fn hear_connections(&self, needs: Vec<ConnectionNeeds>) {
        self.membership.connections.hear(self.seat, needs);
    }

    /// Waits for orders about connections.
    pub(crate) async fn connection_orders(&self) -> Vec<ConnectionOrders> {
        loop {
            let orders = self.membership.connections.take_orders(self.seat);
            if !orders.is_empty() {
                return orders;
            }
            self.orders.notified().await;
        }
    }

    /// The worker ended its tasks and left.
    pub(crate) fn left(&self) {
        self.membership
            .remove(self.seat, WorkerState::Left, "it left");
    }

    /// The worker is gone.
    pub(crate) fn lost(&self, reason: &str) {
        self.membership.remove(self.seat, WorkerState::Lost, reason);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Nothing happens if it left or was lost before.
        self.membership.remove(
            self.seat,
            WorkerState::Lost,
            "the coordinator stopped listening",
        );
    }
}
