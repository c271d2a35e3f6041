//! The account of one catalog's connections: who holds how many, and who waits.
//!
//! Plain state without locks, messages or a clock of its own; `desk.rs` owns those.
//!
//! Leases go to whoever waits longest. Where none is free, idle connections elsewhere are recalled at
//! once. Where all are busy, a process that has more than the waiting one is asked, after a moment, to
//! give up the next connection that comes back: a process with a steady stream of statements must not
//! keep the others out for ever.
//!
//! A lost process's leases are kept until its connections are surely gone: see [`LOST_LEASES_KEPT`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A lost worker's connections are counted for this long. A worker that is alive notices within four
/// seconds that it lost its coordinator and closes its sockets; its sources notice a closed socket within
/// two (`client_connection_check_interval`), as they do when the worker's machine closes them for a
/// process that died.
pub(super) const LOST_LEASES_KEPT: Duration = Duration::from_secs(10);

/// How long a process waits before others have to give up busy connections: longer than a short
/// statement, which would have brought one back by itself.
pub(super) const YIELD_AFTER: Duration = Duration::from_millis(250);

/// A process of the fleet: a worker's seat, or the coordinator itself.
pub(super) type Process = u64;

/// The coordinator's own process.
pub(super) const HERE: Process = 0;

/// What a process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It may open one more connection.
    Grant(Process),
    /// It should close an idle connection, if it has one.
    CloseIdle(Process),
    /// It should close a connection, the next that comes back if none is idle.
    Yield(Process),
}

#[derive(Debug, Default)]
struct Holder {
    held: usize,
    /// As it last told.
    idle: usize,
    /// Connections that it was told to yield and has not.
    owed: usize,
}

#[derive(Debug)]
struct Waiting {
    process: Process,
    /// Idle connections elsewhere were recalled for it.
    recalled: bool,
    yield_at: Instant,
}

#[derive(Debug)]
struct Lost {
    process: Process,
    count: usize,
    until: Instant,
}

/// One catalog's account.
#[derive(Debug)]
pub(super) struct Account {
    limit: usize,
    holders: BTreeMap<Process, Holder>,
    waiting: VecDeque<Waiting>,
    lost: Vec<Lost>,
}

impl Account {
    pub(super) fn new(limit: usize) -> Self {
        Account {
            limit,
            holders: BTreeMap::new(),
            waiting: VecDeque::new(),
            lost: Vec::new(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// True where time alone may change something.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Processes that were lost, and the leases that are kept for them.
    pub(super) fn lost(&self) -> impl Iterator<Item = (Process, usize)> {
        self.lost.iter().map(|lost| (lost.process, lost.count))
    }

    /// `process` wants `count` connections more.
    pub(super) fn ask(&mut self, process: Process, count: usize, now: Instant) {
        for _ in 0..count {
            self.waiting.push_back(Waiting {
                process,
                recalled: false,
                yield_at: now + YIELD_AFTER,
            });
        }
    }

    /// `process` does not want `count` of them any more. What was granted meanwhile comes back.
    pub(super) fn withdraw(&mut self, process: Process, count: usize) {
        for _ in 0..count {
            let newest = self.waiting.iter().rposition(|w| w.process == process);
            let Some(at) = newest else { return };
            self.waiting.remove(at);
        }
    }

    /// `process` closed `count` connections.
    pub(super) fn give_back(&mut self, process: Process, count: usize) {
        if let Some(holder) = self.holders.get_mut(&process) {
            holder.held = holder.held.saturating_sub(count);
            holder.owed = holder.owed.saturating_sub(count).min(holder.held);
        }
    }

    /// `process` has this many connections that nobody uses.
    pub(super) fn tell_idle(&mut self, process: Process, idle: usize) {
        if let Some(holder) = self.holders.get_mut(&process) {
            holder.idle = idle;
        }
    }

    /// `process` joins with connections that it opened before. Where it was here as `before`, those are
    /// the ones that were kept for it.
    pub(super) fn adopt(&mut self, process: Process, before: Option<Process>, held: usize) {
        if let Some(before) = before {
            self.lost.retain(|lost| lost.process != before);
        }
        self.holders.entry(process).or_default().held += held;
    }

    /// `process` is gone.
    pub(super) fn lose(&mut self, process: Process, now: Instant) {
        self.waiting.retain(|w| w.process != process);
        if let Some(holder) = self.holders.remove(&process)
            && holder.held > 0
        {
            self.lost.push(Lost {
                process,
                count: holder.held,
                until: now + LOST_LEASES_KEPT,
            });
        }
    }

    /// What is to be done now.
    pub(super) fn steps(&mut self, now: Instant) -> Vec<Step> {
        self.lost.retain(|lost| lost.until > now);
        let held: usize = self.holders.values().map(|h| h.held).sum();
        let kept: usize = self.lost.iter().map(|lost| lost.count).sum();
        let mut free = self.limit.saturating_sub(held + kept);
        let mut steps = Vec::new();
        while free > 0
            && let Some(first) = self.waiting.pop_front()
        {
            free -= 1;
            self.holders.entry(first.process).or_default().held += 1;
            steps.push(Step::Grant(first.process));
        }
        for waiting in &mut self.waiting {
            let others = self
                .holders
                .iter_mut()
                .filter(|(process, holder)| **process != waiting.process && holder.held > 0);
            if !waiting.recalled {
                waiting.recalled = true;
                let mut others: Vec<_> = others.collect();
                match others.iter_mut().max_by_key(|(_, holder)| holder.idle) {
                    Some((process, holder)) if holder.idle > 0 => {
                        holder.idle -= 1;
                        steps.push(Step::CloseIdle(**process));
                    }
                    // What is known may be a second old: ask all.
                    _ => steps.extend(others.iter().map(|(process, _)| Step::CloseIdle(**process))),
                }
            } else if waiting.yield_at <= now {
                waiting.yield_at = now + YIELD_AFTER;
                let most = others
                    .map(|(process, holder)| (holder.held - holder.owed, *process))
                    .max();
                let own = self.holders.get(&waiting.process).map_or(0, |h| h.held);
                // A difference of one would only change sides, unless the one has nothing at all.
                let unfair = |has: usize| has > own + 1 || (own == 0 && has > 0);
                if let Some((has, process)) = most
                    && unfair(has)
                    && let Some(holder) = self.holders.get_mut(&process)
                {
                    holder.owed += 1;
                    steps.push(Step::Yield(process));
                }
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(steps: &[Step]) -> Vec<Process> {
        let grant = |step: &Step| match step {
            Step::Grant(process) => Some(*process),
            _ => None,
        };
        steps.iter().filter_map(grant).collect()
    }

    #[test]
    fn first_come_first_served_and_never_more_than_the_limit() {
        let now = Instant::now();
        let mut account = Account::new(3);
        account.ask(1, 2, now);
        account.ask(HERE, 2, now);
        assert_eq!(grants(&account.steps(now)), [1, 1, HERE]);
        account.ask(2, 1, now);
        assert!(grants(&account.steps(now)).is_empty());
        account.give_back(1, 1);
        assert_eq!(grants(&account.steps(now)), [HERE]);
        account.withdraw(2, 1);
        account.give_back(HERE, 2);
        assert!(grants(&account.steps(now)).is_empty());
        assert!(!account.is_waiting());
    }

    #[test]
    fn idle_ones_are_recalled_at_once_and_busy_ones_after_a_moment() {
        let now = Instant::now();
        let mut account = Account::new(4);
        account.ask(1, 3, now);
        account.ask(2, 1, now);
        account.steps(now);
        account.tell_idle(2, 1);
        account.ask(3, 1, now);
        assert_eq!(account.steps(now), [Step::CloseIdle(2)]);
        assert_eq!(account.steps(now), [], "asked once");
        let later = now + YIELD_AFTER;
        assert_eq!(account.steps(later), [Step::Yield(1)]);
        account.give_back(1, 1);
        assert_eq!(account.steps(later), [Step::Grant(3)]);
    }

    #[test]
    fn equals_do_not_take_from_each_other_but_nobody_has_nothing() {
        let now = Instant::now();
        let mut account = Account::new(2);
        account.ask(1, 1, now);
        account.ask(2, 1, now);
        account.steps(now);
        account.ask(2, 1, now);
        account.steps(now);
        assert_eq!(account.steps(now + YIELD_AFTER), []);
        account.ask(3, 1, now);
        account.steps(now);
        assert_eq!(account.steps(now + YIELD_AFTER), [Step::Yield(2)]);
    }

    #[test]
    fn a_lost_process_keeps_its_leases_until_they_are_surely_gone() {
        let now = Instant::now();
        let mut account = Account::new(2);
        account.ask(1, 2, now);
        account.steps(now);
        account.ask(2, 1, now);
        account.lose(1, now);
        assert!(grants(&account.steps(now)).is_empty());
        assert_eq!(grants(&account.steps(now + LOST_LEASES_KEPT)), [2]);
        // One that comes back tells what it still has.
        account.lose(2, now);
        account.adopt(3, Some(2), 1);
        account.ask(3, 2, now);
        assert_eq!(grants(&account.steps(now)), [3]);
    }
}
