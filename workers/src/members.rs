//! The records behind [`crate::Membership`]: one per worker that is here or was, with its tasks.
//!
//! Plain state without locks or messages; `membership.rs` owns both.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::Status;

use crate::WorkerService;
use crate::report::{TaskId, TaskReport, TaskState, WorkerInfo, WorkerState, now_micros};
use crate::rpc::{Registration, ToWorker};
use crate::tasks::ENDED_TASKS_KEPT;

/// Workers that left or were lost and are still shown: enough to see what happened in the last hours.
const GONE_WORKERS_KEPT: usize = 32;

/// The messages to one worker.
pub(crate) type Commands = mpsc::Sender<std::result::Result<ToWorker, Status>>;

#[derive(Default)]
pub(crate) struct Members {
    /// Those that are here, in the order of their registration.
    pub(crate) live: Vec<Member>,
    /// Those that were.
    pub(crate) gone: VecDeque<Member>,
    pub(crate) next_seat: u64,
    pub(crate) next_question: u64,
}

pub(crate) struct Member {
    pub(crate) seat: u64,
    pub(crate) info: WorkerInfo,
    pub(crate) tasks: MemberTasks,
    /// The last question that it answered.
    pub(crate) answered: u64,
    pub(crate) link: Link,
}

pub(crate) enum Link {
    /// Another process.
    Stream(Commands),
    /// This process.
    Embedded(Arc<WorkerService>),
    /// Gone.
    Closed,
}

#[derive(Default)]
pub(crate) struct MemberTasks {
    pub(crate) running: Vec<TaskReport>,
    pub(crate) ended: VecDeque<TaskReport>,
}

impl Members {
    pub(crate) fn add(&mut self, info: WorkerInfo, link: Link) -> u64 {
        self.next_seat += 1;
        let seat = self.next_seat;
        self.live.push(Member {
            seat,
            info,
            tasks: MemberTasks::default(),
            answered: 0,
            link,
        });
        seat
    }

    pub(crate) fn retire(&mut self, at: usize, state: WorkerState, reason: &str) {
        let mut member = self.live.remove(at);
        member.info.state = state;
        member.info.running_tasks = 0;
        member.link = Link::Closed;
        member.tasks.fail_running(reason);
        if self.gone.len() == GONE_WORKERS_KEPT {
            self.gone.pop_front();
        }
        self.gone.push_back(member);
    }
}

impl MemberTasks {
    /// A heartbeat tells all running tasks, and those that ended since the one before.
    pub(crate) fn update(&mut self, reports: Vec<TaskReport>) {
        let (running, ended): (Vec<_>, Vec<_>) = reports
            .into_iter()
            .partition(|report| report.state == TaskState::Running);
        self.running = running;
        // After a reconnection a worker tells again what it kept.
        let known: HashSet<TaskId> = if ended.is_empty() {
            HashSet::new()
        } else {
            self.ended.iter().map(TaskId::of).collect()
        };
        for report in ended {
            if !known.contains(&TaskId::of(&report)) {
                self.push_ended(report);
            }
        }
    }

    fn fail_running(&mut self, reason: &str) {
        for mut report in std::mem::take(&mut self.running) {
            report.state = TaskState::Failed;
            report.ended_micros = Some(now_micros());
            report.error = Some(format!("the worker was lost: {reason}"));
            self.push_ended(report);
        }
    }

    fn push_ended(&mut self, report: TaskReport) {
        if self.ended.len() == ENDED_TASKS_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(report);
    }
}

/// What is known of a worker when it registers.
pub(crate) fn describe(registration: Registration, embedded: bool) -> WorkerInfo {
    WorkerInfo {
        id: registration.worker_id,
        url: registration.url,
        build_id: registration.build_id,
        embedded,
        state: WorkerState::Active,
        started_micros: registration.started_micros,
        last_heartbeat_micros: now_micros(),
        cores: registration.cores,
        memory_limit_bytes: registration.memory_limit_bytes,
        memory_used_bytes: 0,
        memory_peak_bytes: 0,
        running_tasks: 0,
    }
}
