//! How many queries run at once, and whose is next.
//!
//! A turn that becomes free goes to the user with the fewest queries under way, and among those to
//! the query that waits longest: a dashboard of a hundred panels delays nobody else by more than
//! the queries that run already. One user's queries come in their order.
//!
//! Invariants
//! * nobody waits while a turn is free;
//! * a turn that was given to a query whose caller went away is given to the next one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{error::ApiError, metrics::QuerierMetrics};

/// Queries that may wait for each one that runs. More are told to come back.
const WAITING_PER_RUNNING: usize = 50;

/// Lets a number of queries run and others wait.
#[derive(Debug)]
pub struct QueryGate {
    turns: Arc<Turns>,
}

/// A query's right to run, until dropped.
#[derive(Debug)]
pub struct Running {
    turns: Arc<Turns>,
    user: Arc<str>,
}

#[derive(Debug)]
struct Turns {
    running_max: usize,
    state: Mutex<State>,
    metrics: QuerierMetrics,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    next_ticket: u64,
    users: HashMap<Arc<str>, User>,
}

/// Somebody with queries that run or wait.
#[derive(Debug, Default)]
struct User {
    running: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    turn: oneshot::Sender<()>,
}

impl QueryGate {
    /// A gate for `running_max` queries at once.
    pub fn new(running_max: usize, metrics: QuerierMetrics) -> Self {
        let running_max = running_max.max(1);
        Self { turns: Arc::new(Turns { running_max, state: Mutex::default(), metrics }) }
    }

    /// Waits for a turn of `user`, for at most `within`.
    pub async fn enter(&self, user: &Arc<str>, within: Duration) -> Result<Running, ApiError> {
        let late = || ApiError::timed_out("query queue");
        let waiting = match self.turns.ask(user).ok_or_else(late)? {
            Asked::Runs(running) => return Ok(running),
            Asked::Waits(waiting) => waiting,
        };
        tokio::time::timeout(within, waiting.turn()).await.map_err(|_| late())
    }
}

enum Asked {
    Runs(Running),
    Waits(Waiting),
}

impl Turns {
    /// A turn, or a place in the queue; `None` where that is full.
    fn ask(self: &Arc<Self>, user: &Arc<str>) -> Option<Asked> {
        let mut state = self.state.lock();
        if state.running < self.running_max {
            state.begin(user);
            self.show(&state);
            return Some(Asked::Runs(self.running(user)));
        }
        if state.waiting >= self.running_max * WAITING_PER_RUNNING {
            return None;
        }
        let (turn, given) = oneshot::channel();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting += 1;
        let queue = &mut state.users.entry(Arc::clone(user)).or_default().waiting;
        queue.push_back(Waiter { ticket, turn });
        self.show(&state);
        let (turns, user) = (Arc::clone(self), Arc::clone(user));
        Some(Asked::Waits(Waiting { turns, user, ticket, given: Some(given) }))
    }

    fn running(self: &Arc<Self>, user: &Arc<str>) -> Running {
        Running { turns: Arc::clone(self), user: Arc::clone(user) }
    }

    fn end(&self, user: &Arc<str>) {
        let mut state = self.state.lock();
        state.end(user);
        state.give_turns(self.running_max);
        self.show(&state);
    }

    fn show(&self, state: &State) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.running.set(number(state.running));
        self.metrics.waiting.set(number(state.waiting));
    }
}

impl State {
    fn begin(&mut self, user: &Arc<str>) {
        self.running += 1;
        self.users.entry(Arc::clone(user)).or_default().running += 1;
    }

    fn end(&mut self, user: &Arc<str>) {
        self.running -= 1;
        if let Some(found) = self.users.get_mut(user) {
            found.running -= 1;
        }
        self.forget(user);
    }

    fn forget(&mut self, user: &Arc<str>) {
        if self.users.get(user).is_some_and(|it| it.running == 0 && it.waiting.is_empty()) {
            self.users.remove(user);
        }
    }

    fn give_turns(&mut self, running_max: usize) {
        while self.running < running_max {
            let heads = self.users.iter().filter_map(|(name, user)| {
                let head = user.waiting.front()?;
                Some(((user.running, head.ticket), Arc::clone(name)))
            });
            let Some((_, name)) = heads.min_by_key(|(rank, _)| *rank) else { return };
            let head = self.users.get_mut(&name).and_then(|user| user.waiting.pop_front());
            let Some(head) = head else { return };
            self.waiting -= 1;
            self.begin(&name);
            if head.turn.send(()).is_err() {
                self.end(&name);
            }
        }
    }

    /// Takes a query out of the queue; false if it is no longer in it.
    fn leave(&mut self, user: &Arc<str>, ticket: u64) -> bool {
        let Some(queue) = self.users.get_mut(user).map(|user| &mut user.waiting) else {
            return false;
        };
        let Some(at) = queue.iter().position(|waiter| waiter.ticket == ticket) else {
            return false;
        };
        queue.remove(at);
        self.waiting -= 1;
        self.forget(user);
        true
    }
}

/// A place in the queue, until dropped.
struct Waiting {
    turns: Arc<Turns>,
    user: Arc<str>,
    ticket: u64,
    /// Taken once the turn was given.
    given: Option<oneshot::Receiver<()>>,
}

impl Waiting {
    async fn turn(mut self) -> Running {
        if let Some(given) = &mut self.given {
            // Its other end is dropped by nobody but `leave`, which nobody calls meanwhile.
            let _ = given.await;
        }
        self.given = None;
        self.turns.running(&self.user)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.given.is_none() {
            return;
        }
        let mut state = self.turns.state.lock();
        if !state.leave(&self.user, self.ticket) {
            // The turn came at the last moment.
            state.end(&self.user);
            state.give_turns(self.turns.running_max);
        }
        self.turns.show(&state);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.turns.end(&self.user);
    }
}

#[cfg(test)]
mod tests {
    use narthex_web::Clock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate(running_max: usize) -> QueryGate {
        QueryGate::new(running_max, QuerierMetrics::new(Clock::fixed(Default::default())))
    }

    fn user(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_waits_for_its_turn_or_times_out() {
        let gate = gate(1);
        let first = gate.enter(&user("a"), SECOND).await.expect("free");
        let error = gate.enter(&user("a"), SECOND).await.expect_err("taken");
        assert_eq!(error.message, "query timed out in query queue");
        let metrics = &gate.turns.metrics;
        assert_eq!((metrics.running.get(), metrics.waiting.get()), (1, 0));
        drop(first);
        assert!(gate.enter(&user("a"), SECOND).await.is_ok());
        assert_eq!((metrics.running.get(), metrics.waiting.get()), (0, 0));
        assert!(gate.turns.state.lock().users.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_of_many_queries_lets_others_in() {
        let gate = Arc::new(gate(2));
        let (grafana, ann) = (user("grafana"), user("ann"));
        let running = gate.enter(&grafana, SECOND).await.expect("free");
        let other = gate.enter(&grafana, SECOND).await.expect("free");
        let (order, mut told) = tokio::sync::mpsc::channel(8);
        let mut tasks = tokio::task::JoinSet::new();
        for name in [&grafana, &grafana, &ann] {
            let (gate, name, order) = (Arc::clone(&gate), Arc::clone(name), order.clone());
            let before = gate.turns.state.lock().waiting;
            let waits = Arc::clone(&gate);
            tasks.spawn(async move {
                let turn = gate.enter(&name, 100 * SECOND).await.expect("in time");
                order.send(name.to_string()).await.expect("read below");
                tokio::time::sleep(SECOND).await;
                drop(turn);
            });
            while waits.turns.state.lock().waiting == before {
                tokio::task::yield_now().await;
            }
        }
        drop(running);
        assert_eq!(told.recv().await.as_deref(), Some("ann"));
        drop(other);
        assert_eq!(told.recv().await.as_deref(), Some("grafana"));
        while tasks.join_next().await.is_some() {}
        assert_eq!(gate.turns.metrics.running.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_for_a_caller_who_left_is_the_next_one_s() {
        let gate = gate(1);
        let first = gate.enter(&user("a"), SECOND).await.expect("free");
        let Some(Asked::Waits(left)) = gate.turns.ask(&user("b")) else { panic!("it is taken") };
        drop(first);
        assert_eq!(gate.turns.metrics.running.get(), 1);
        drop(left);
        assert_eq!(gate.turns.metrics.running.get(), 0);
        assert!(gate.enter(&user("c"), SECOND).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_an_answer() {
        let gate = gate(1);
        let _first = gate.enter(&user("a"), SECOND).await.expect("free");
        let places: Vec<_> = (0..WAITING_PER_RUNNING)
            .map(|_| gate.turns.ask(&user("b")).expect("there is room"))
            .collect();
        assert!(gate.turns.ask(&user("c")).is_none());
        drop(places);
        assert_eq!(gate.turns.metrics.waiting.get(), 0);
    }
}
