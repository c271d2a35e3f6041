//! The worker's end of membership: finds the coordinator, registers, says each second how it is, comes
//! back when the coordinator was away, and drains before it leaves.
//!
//! Runs on the RPC threads, so that a busy worker is never taken for a dead one.

use std::sync::Arc;
use std::time::Duration;

use sluice_spi::{Error, Result, Secret as SpiSecret, SqlState};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming};
use url::Url;

use crate::failure::display_url;
use crate::rpc::{FromWorker, RpcRuntime, Secret, ToWorker, attend, connect};
use crate::{RpcConfig, WorkerConnections, WorkerService};

/// A heartbeat this often at least; the coordinator gives up after four without.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Least time between two heartbeats that a task's begin or end caused: a burst of short tasks makes
/// one message.
const REPORT_SPACING: Duration = Duration::from_millis(5);

/// First and longest wait before the next try to reach the coordinator.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// After it said that it drains, a worker takes tasks of queries that were planned before for this long.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// How long the last messages may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Messages to the coordinator that may wait; it reads them as they come.
const MESSAGES_WAITING_MAX: usize = 4;

/// A worker's membership in one coordinator's fleet.
pub struct Agent {
    /// Where the coordinator's RPC port is.
    pub coordinator: Url,
    /// Where the coordinator and the other workers reach this one ([`crate::advertised_url`]).
    pub url: Url,
    /// The worker.
    pub worker: Arc<WorkerService>,
    /// Where the agent runs.
    pub rpc: Arc<RpcRuntime>,
    /// What the coordinator wants to be shown.
    pub secret: Option<SpiSecret<String>>,
    /// How long draining may take.
    pub drain_grace: Duration,
    /// The connection budgets of the process.
    pub connections: Arc<WorkerConnections>,
}

/// How one connection to the coordinator ended.
enum Ended {
    /// It should be tried again.
    Broken(String),
    /// It will never work.
    Refused(Error),
    /// The worker drained and left.
    Left,
}

impl Agent {
    /// An agent for a worker's configuration.
    pub fn new(
        coordinator: Url,
        url: Url,
        worker: &Arc<WorkerService>,
        rpc: &Arc<RpcRuntime>,
        config: &RpcConfig,
        drain_grace: Duration,
        connections: &Arc<WorkerConnections>,
    ) -> Self {
        Agent {
            coordinator,
            url,
            worker: Arc::clone(worker),
            rpc: Arc::clone(rpc),
            secret: config.secret.clone(),
            drain_grace,
            connections: Arc::clone(connections),
        }
    }

    /// Stays a member until `shutdown` is cancelled or the coordinator says to drain; then drains,
    /// leaves and returns. Fails only if the coordinator refuses the worker: another build, a wrong
    /// secret. `joined` is cancelled on the first registration, for whoever announces the process.
    pub async fn run(self, shutdown: CancellationToken, joined: CancellationToken) -> Result<()> {
        let handle = self.rpc.handle().clone();
        // Dropping this future ends the agent without draining.
        match AbortOnDropHandle::new(handle.spawn(self.attend_forever(shutdown, joined))).await {
            Ok(result) => result,
            Err(e) => Err(Error::internal(format!("the worker's agent ended: {e}"))),
        }
    }

    async fn attend_forever(
        self,
        shutdown: CancellationToken,
        joined: CancellationToken,
    ) -> Result<()> {
        let secret = self.secret.as_ref().map(Secret::new).transpose()?;
        let mut retry = RETRY_FIRST;
        let mut last_reason = String::new();
        loop {
            let since = Instant::now();
            match self.attend_once(secret.clone(), &shutdown, &joined).await {
                Ended::Left => return Ok(()),
                Ended::Refused(error) => return Err(error),
                Ended::Broken(reason) => {
                    // The same reason each two seconds says nothing new.
                    if reason != last_reason {
                        let coordinator = display_url(&self.coordinator);
                        tracing::warn!(
                            coordinator,
                            reason,
                            "no connection to the coordinator, trying again"
                        );
                        last_reason = reason;
                    }
                    if since.elapsed() > RETRY_MAX {
                        retry = RETRY_FIRST;
                    }
                }
            }
            tokio::select! {
                () = sleep(retry) => retry = (retry * 2).min(RETRY_MAX),
                () = shutdown.cancelled() => {
                    // Nobody to say goodbye to, but other members may still read from the tasks here.
                    self.worker.start_draining();
                    self.worker.refuse_tasks();
                    let _ = timeout(self.drain_grace, self.worker.idle()).await;
                    return Ok(());
                }
            }
        }
    }

    async fn attend_once(
        &self,
        secret: Option<Secret>,
        shutdown: &CancellationToken,
        joined: &CancellationToken,
    ) -> Ended {
        let connecting = async {
            let channel = connect(&self.rpc, &self.coordinator, secret)
                .await
                .map_err(Ended::Broken)?;
            let (says, saying) = mpsc::channel(MESSAGES_WAITING_MAX);
            let mut registration = self.worker.registration(self.url.clone());
            registration.connections = self.connections.register();
            // The receiver is right here, and the queue is empty.
            let _ = says.try_send(FromWorker::Register(registration));
            let mut hears = attend(channel, ReceiverStream::new(saying))
                .await
                .map_err(|status| self.explain(status))?;
            match hears.message().await {
                Ok(Some(ToWorker::Registered)) => Ok((says, hears)),
                Ok(Some(ToWorker::Refused(error))) => Err(Ended::Refused(error)),
                Ok(_) => Err(Ended::Broken(
                    "the coordinator did not answer the registration".to_owned(),
                )),
                Err(status) => Err(self.explain(status)),
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = shutdown.cancelled() => return Ended::Broken("the worker is stopping".to_owned()),
        };
        let (says, hears) = match connected {
            Ok(connected) => connected,
            Err(ended) => return ended,
        };
        tracing::info!(
            coordinator = display_url(&self.coordinator),
            "joined the fleet"
        );
        joined.cancel();
        let ended = self.be_a_member(says, hears, shutdown).await;
        self.connections.lose_coordinator();
        ended
    }

    async fn be_a_member(
        &self,
        says: mpsc::Sender<FromWorker>,
        mut hears: Streaming<ToWorker>,
        shutdown: &CancellationToken,
    ) -> Ended {
        let drain = shutdown.child_token();
        let drained = self.drain_when(&drain);
        tokio::pin!(drained);
        let mut ticks = interval(HEARTBEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ended_sequence, mut answers) = (0, 0);
        loop {
            let (mut finished, mut report, mut all) = (false, true, false);
            tokio::select! {
                () = &mut drained => finished = true,
                _ = ticks.tick() => all = true,
                () = self.connections.changed() => report = false,
                () = self.worker.tracker().changed() => sleep(REPORT_SPACING).await,
                heard = hears.message() => match heard {
                    Ok(Some(ToWorker::Report(question))) => answers = question,
                    Ok(Some(ToWorker::Connections(orders))) => {
                        orders.iter().for_each(|order| self.connections.obey(order));
                        report = false;
                    }
                    Ok(Some(ToWorker::Drain)) => drain.cancel(),
                    Ok(Some(ToWorker::Refused(error))) => return Ended::Refused(error),
                    Ok(Some(ToWorker::Registered)) => {}
                    Ok(None) => return Ended::Broken("the coordinator closed the connection".to_owned()),
                    Err(status) => return self.explain(status),
                },
            }
            if finished {
                // What is still open then ends with the process.
                let _ = timeout(LEAVE_TIMEOUT, self.connections.wind_up()).await;
            }
            let needs = self.connections.needs(all);
            let mut messages = Vec::with_capacity(2);
            if !needs.is_empty() {
                messages.push(FromWorker::Connections(needs));
            }
            if report {
                let (heartbeat, sequence) = self.worker.heartbeat(ended_sequence, answers);
                ended_sequence = sequence;
                messages.push(FromWorker::Heartbeat(heartbeat));
            }
            for message in messages {
                if says.send(message).await.is_err() {
                    return Ended::Broken("the connection to the coordinator broke".to_owned());
                }
            }
            if finished {
                // The coordinator closes its side when it has read this; waiting for that makes sure
                // that it did, and a coordinator that is gone does not matter any more.
                let _ = says.send(FromWorker::Leave).await;
                drop(says);
                let _ = timeout(LEAVE_TIMEOUT, async {
                    while let Ok(Some(_)) = hears.message().await {}
                })
                .await;
                return Ended::Left;
            }
        }
    }

    /// Completes when the worker was told to stop and has no task left, or no time.
    async fn drain_when(&self, drain: &CancellationToken) {
        drain.cancelled().await;
        tracing::info!(running = self.worker.running_tasks(), "draining");
        self.worker.start_draining();
        // Makes the loop send a heartbeat that says so.
        self.worker.tracker().touch();
        sleep(STRAGGLERS).await;
        self.worker.refuse_tasks();
        if timeout(self.drain_grace, self.worker.idle()).await.is_err() {
            tracing::warn!(
                running = self.worker.running_tasks(),
                "left tasks behind after the grace period"
            );
        }
    }

    fn explain(&self, status: Status) -> Ended {
        if status.code() == Code::Unauthenticated {
            let coordinator = display_url(&self.coordinator);
            return Ended::Refused(
                Error::new(
                    SqlState::INVALID_AUTHORIZATION,
                    format!("the coordinator at {coordinator} refused the rpc secret"),
                )
                .with_hint("Every process of a fleet needs the same rpc.secret."),
            );
        }
        Ended::Broken(status.message().to_owned())
    }
}
