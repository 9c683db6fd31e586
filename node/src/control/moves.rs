//! What was decided about replicas and why, for people.

use std::collections::VecDeque;

use narthex_model::Timestamp;
use narthex_proto::internal::v1::{DecidedMove, MovesResponse};
use parking_lot::Mutex;

/// Decisions that are remembered.
const DECISIONS_MAX: usize = 200;

/// The decisions of a node while it leads the control group.
#[derive(Debug, Default)]
pub struct Moves {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: String,
    /// The newest first.
    decided: VecDeque<DecidedMove>,
}

impl Moves {
    /// Takes note of what is proposed. The same as last time is noted once.
    pub fn decided(&self, at: Timestamp, what: String, why: String) {
        let mut inner = self.inner.lock();
        inner.state.clear();
        if inner.decided.front().is_some_and(|last| last.what == what && last.why == why) {
            return;
        }
        inner.decided.push_front(DecidedMove { time_ms: at.millis(), what, why });
        inner.decided.truncate(DECISIONS_MAX);
    }

    /// Takes note of why nothing is decided. Gives whether that is news.
    pub fn rests(&self, why: &str) -> bool {
        let mut inner = self.inner.lock();
        let is_news = inner.state != why;
        if is_news {
            why.clone_into(&mut inner.state);
        }
        is_news
    }

    /// All of it.
    pub fn report(&self) -> MovesResponse {
        let inner = self.inner.lock();
        let moves = inner.decided.iter().cloned().collect();
        MovesResponse { state: inner.state.clone(), moves, leader_node_id: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_decisions_are_remembered_once_each() {
        let moves = Moves::default();
        for number in 0..300 {
            for _ in 0..2 {
                let at = Timestamp::from_millis(number);
                moves.decided(at, format!("move {number}"), "because".to_owned());
            }
        }
        assert!(moves.rests("all is even"));
        assert!(!moves.rests("all is even"));
        let report = moves.report();
        assert_eq!((report.state.as_str(), report.moves.len()), ("all is even", DECISIONS_MAX));
        assert_eq!(report.moves[0].what, "move 299");
    }
}
