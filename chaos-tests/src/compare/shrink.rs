//! Makes a question small that is answered differently.

use super::generator::Question;

/// Smaller questions that are tried for one difference: a bound for the time that a failure takes.
const TRIES_MAX: usize = 300;

/// The smallest question that is found by taking away from `question` while `differs`.
pub fn smallest(question: Question, mut differs: impl FnMut(&Question) -> bool) -> Question {
    let mut found = question;
    let mut tries = 0;
    loop {
        let mut smaller = found.smaller().into_iter();
        let next = smaller.find(|it| {
            tries += 1;
            tries <= TRIES_MAX && differs(it)
        });
        match next {
            Some(next) => found = next,
            None => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{
        expression::{Expression, Kind},
        generator::When,
    };

    #[test]
    fn what_does_not_matter_is_taken_away() {
        let rate = Expression::leaf(Kind::Vector, "rate(a[5m])");
        let mut whole = Expression::call(Kind::Vector, "abs", [rate]);
        for name in ["sum", "ceil", "exp"] {
            whole = Expression::call(Kind::Vector, name, [whole]);
        }
        let when = When::Range { start: 0, end: 600_000, step: 15_000 };
        let question = Question { expression: whole, when };
        let needed = |it: &Question| {
            let text = it.expression.to_string();
            text.contains("ceil") && text.contains("rate")
        };
        let found = smallest(question, needed);
        assert_eq!(found.expression.to_string(), "ceil(rate(a[5m]))");
        assert_eq!(found.when, When::Instant(0));
    }
}
