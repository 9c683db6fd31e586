//! Whether a history of one register is linearizable: whether there is one order of its operations
//! that each client could have seen, in which every operation takes effect between its call and its
//! return.
//!
//! Wing and Gong's search with Lowe's memory of what was tried: operations are taken out of the
//! history in an order that fits, and a pair of (what is taken, value) is visited once. A write that
//! was not answered may take effect at any time after its call, or never; a failed read says
//! nothing and is left out. The search is exponential in the worst case, so [`check`] gives up with
//! [`Answer::Unknown`] after `STEPS_MAX`.

use std::collections::HashSet;

/// Pairs that are visited at the most: some seconds of work.
const STEPS_MAX: usize = 3_000_000;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answered with this value.
    Read(u64),
    /// Of this value.
    Write(u64),
    /// Write the second value if the first is there; it was, or it was not.
    Swap(u64, u64, bool),
}

/// One operation of a client, with times of one clock in any unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// What was asked, and what was answered.
    pub action: Action,
    /// When it was called.
    pub called: u64,
    /// When it was answered. `None`: it was not, and may take effect at any later time.
    pub returned: Option<u64>,
}

/// The verdict on a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There is an order.
    Linearizable,
    /// There is none; so many operations fit at the most.
    Not { fitted: usize },
    /// It was not found out in time.
    Unknown,
}

/// Judges the history of a register that began with this value.
pub fn check(initial: u64, operations: &[Operation]) -> Answer {
    let mut search = Search::new(operations);
    let mut stack = vec![(Taken::none(operations.len()), initial)];
    let mut fitted = 0;
    while let Some((taken, value)) = stack.pop() {
        if search.visited.len() > STEPS_MAX {
            return Answer::Unknown;
        }
        if search.is_done(&taken) {
            return Answer::Linearizable;
        }
        fitted = fitted.max(taken.count());
        search.next(&taken, value, &mut stack);
    }
    Answer::Not { fitted }
}

/// Which operations have taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn none(operations: usize) -> Self {
        Self(vec![0; operations.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn with(&self, at: usize) -> Self {
        let mut taken = self.clone();
        taken.0[at / 64] |= 1 << (at % 64);
        taken
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

struct Search {
    /// In the order of calls.
    operations: Vec<Operation>,
    visited: HashSet<(Taken, u64)>,
}

impl Search {
    fn new(operations: &[Operation]) -> Self {
        let mut operations = operations.to_vec();
        operations.sort_by_key(|operation| operation.called);
        Self { operations, visited: HashSet::new() }
    }

    /// Whether all that was answered has taken effect.
    fn is_done(&self, taken: &Taken) -> bool {
        let mut answered =
            self.operations.iter().enumerate().filter(|(_, it)| it.returned.is_some());
        answered.all(|(at, _)| taken.has(at))
    }

    /// Puts aside whatever can take effect next: nothing that was called after another one returned
    /// that has not taken effect yet.
    fn next(&mut self, taken: &Taken, value: u64, stack: &mut Vec<(Taken, u64)>) {
        let open = self.operations.iter().enumerate().filter(|(at, _)| !taken.has(*at));
        let first_return = open.clone().filter_map(|(_, it)| it.returned).min();
        let can_be_next = |it: &Operation| first_return.is_none_or(|first| it.called <= first);
        let next: Vec<_> = open
            .take_while(|(_, it)| can_be_next(it))
            .filter_map(|(at, it)| Some((taken.with(at), effect(it.action, value)?)))
            .collect();
        for state in next {
            if self.visited.insert(state.clone()) {
                stack.push(state);
            }
        }
    }
}

/// The value behind an operation, if it can have been answered like this where `value` was.
fn effect(action: Action, value: u64) -> Option<u64> {
    match action {
        Action::Read(read) => (read == value).then_some(value),
        Action::Write(written) => Some(written),
        Action::Swap(from, to, true) => (from == value).then_some(to),
        Action::Swap(from, _, false) => (from != value).then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(action: Action, called: u64, returned: u64) -> Operation {
        Operation { action, called, returned: Some(returned) }
    }

    fn open(action: Action, called: u64) -> Operation {
        Operation { action, called, returned: None }
    }

    use Action::{Read, Swap, Write};

    #[test]
    fn one_after_the_other() {
        let history = [done(Write(1), 0, 1), done(Read(1), 2, 3), done(Write(2), 4, 5)];
        assert_eq!(check(0, &history), Answer::Linearizable);
        let stale = [done(Write(1), 0, 1), done(Read(0), 2, 3)];
        assert_eq!(check(0, &stale), Answer::Not { fitted: 1 });
    }

    #[test]
    fn a_read_during_a_write_may_see_either() {
        for seen in [0, 1] {
            assert_eq!(
                check(0, &[done(Write(1), 0, 9), done(Read(seen), 2, 3)]),
                Answer::Linearizable
            );
        }
        // But not the new value and then the old one.
        let back = [done(Write(1), 0, 9), done(Read(1), 2, 3), done(Read(0), 4, 5)];
        assert!(matches!(check(0, &back), Answer::Not { .. }));
    }

    #[test]
    fn an_unanswered_write_may_take_effect_late_or_never() {
        let late = [open(Write(1), 0), done(Read(0), 2, 3), done(Read(1), 8, 9)];
        assert_eq!(check(0, &late), Answer::Linearizable);
        let never = [open(Write(1), 0), done(Read(0), 2, 3)];
        assert_eq!(check(0, &never), Answer::Linearizable);
        let twice =
            [open(Write(1), 0), done(Read(1), 2, 3), done(Write(2), 4, 5), done(Read(1), 6, 7)];
        assert!(matches!(check(0, &twice), Answer::Not { .. }), "it takes effect once");
    }

    #[test]
    fn one_of_two_swaps_wins() {
        let one = [done(Swap(0, 1, true), 0, 5), done(Swap(0, 2, false), 0, 5)];
        assert_eq!(check(0, &one), Answer::Linearizable);
        let both = [done(Swap(0, 1, true), 0, 5), done(Swap(0, 2, true), 0, 5)];
        assert!(matches!(check(0, &both), Answer::Not { .. }));
    }

    /// Against the definition, read literally: any permutation that keeps the order of time.
    #[test]
    fn small_histories_are_judged_as_by_trying_everything() {
        let mut numbers = fastrand::Rng::with_seed(4);
        let (mut held, mut broken) = (0, 0);
        for _ in 0..3_000 {
            let history: Vec<_> = (0..numbers.usize(1..=6))
                .map(|_| {
                    let called = numbers.u64(0..12);
                    let (a, b) = (numbers.u64(0..3), numbers.u64(0..3));
                    let swap = Swap(a, b, numbers.bool());
                    let action = *numbers.choice(&[Read(a), Write(b), swap]).expect("some");
                    match action {
                        Write(_) if numbers.u8(0..4) == 0 => open(action, called),
                        _ => done(action, called, called + numbers.u64(0..6)),
                    }
                })
                .collect();
            let expected = tried(0, &history, &mut Vec::new());
            let found = check(0, &history) == Answer::Linearizable;
            assert_eq!(found, expected, "{history:?}");
            if found { held += 1 } else { broken += 1 }
        }
        assert!(held > 300 && broken > 300, "{held} {broken}");
    }

    fn tried(value: u64, history: &[Operation], order: &mut Vec<usize>) -> bool {
        let left: Vec<_> = (0..history.len()).filter(|at| !order.contains(at)).collect();
        if left.iter().all(|at| history[*at].returned.is_none()) {
            return true;
        }
        left.iter().any(|&at| {
            let is_late = |&other: &usize| {
                history[other].returned.is_some_and(|end| end < history[at].called)
            };
            let Some(next) = effect(history[at].action, value) else { return false };
            if left.iter().any(is_late) {
                return false;
            }
            order.push(at);
            let fits = tried(next, history, order);
            order.pop();
            fits
        })
    }
}
