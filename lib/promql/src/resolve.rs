//! What a running query knows put into its expression: durations are worked out from step and
//! range, `@ start()` and `@ end()` become times, `start()`, `end()`, `range()` and `step()`
//! numbers.
//!
//! A resolved expression means the same wherever it is evaluated, so that parts of it can be sent
//! away as text.

use narthex_model::Timestamp;

use crate::ast::{
    AtModifier, DurationExpr, DurationKind, DurationOp, Expr, ExprKind, NumberLiteral,
    RangeExtension, Selector,
};
use crate::parser::line_and_column;

/// The times of a query's steps: `start`, `start + step`, … up to and including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first step.
    pub start: Timestamp,
    /// No step is later; of an instant query equal to `start`.
    pub end: Timestamp,
    /// Milliseconds from step to step; 0 for an instant query.
    pub step_millis: i64,
}

/// Why an expression cannot be evaluated with these times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A calculated duration that is of no use where it stands.
    #[error("{line}:{column}: {message}")]
    Duration {
        /// The line of the duration, from 1.
        line: u32,
        /// Its place in the line in bytes, from 1.
        column: u32,
        /// What is wrong with it.
        message: &'static str,
    },
    /// `anchored` or `smoothed` where no function can make use of it.
    #[error("{modifier} modifier can only be used with: {functions} - not with {function}")]
    Extension {
        /// The modifier.
        modifier: &'static str,
        /// The functions that know it.
        functions: &'static str,
        /// The one that doesn't.
        function: &'static str,
    },
}

/// Resolves `expr`, whose text was `input`, for a query with these steps.
pub fn resolve(mut expr: Expr, input: &str, steps: &Steps) -> Result<Expr, ResolveError> {
    Resolver { input, steps }.resolve(&mut expr)?;
    Ok(expr)
}

struct Resolver<'a> {
    input: &'a str,
    steps: &'a Steps,
}

/// Milliseconds that a timestamp can be moved by without leaving its range.
const MILLIS_MAX: f64 = 9.0e15;

impl Resolver<'_> {
    fn resolve(&self, expr: &mut Expr) -> Result<(), ResolveError> {
        match &mut expr.kind {
            ExprKind::Selector(selector) => self.resolve_selector(selector)?,
            ExprKind::Matrix(matrix) => {
                self.resolve_window(&mut matrix.window)?;
                self.resolve_selector(&mut matrix.selector)?;
            }
            ExprKind::Subquery(subquery) => {
                self.resolve_window(&mut subquery.window)?;
                if let Some(step) = &mut subquery.step {
                    self.resolve_window(step)?;
                }
                self.resolve_times(&mut subquery.offset, &mut subquery.at)?;
            }
            ExprKind::Call(call) => {
                for arg in &call.args {
                    check_extension(arg, call.function.name)?;
                }
                if let Some(value) = self.query_time(call.function.name) {
                    expr.kind = ExprKind::Number(NumberLiteral { value, is_duration: false });
                }
            }
            _ => {}
        }
        expr.children_mut().into_iter().try_for_each(|child| self.resolve(child))
    }

    /// The value of a function that asks for the query's times, in seconds.
    fn query_time(&self, function: &str) -> Option<f64> {
        let steps = self.steps;
        match function {
            "start" => Some(steps.start.seconds()),
            "end" => Some(steps.end.seconds()),
            "range" => Some(steps.end.millis_since(steps.start) as f64 / 1000.0),
            "step" => Some(steps.step_millis as f64 / 1000.0),
            _ => None,
        }
    }

    fn resolve_selector(&self, selector: &mut Selector) -> Result<(), ResolveError> {
        self.resolve_times(&mut selector.offset, &mut selector.at)
    }

    fn resolve_times(
        &self,
        offset: &mut Option<DurationExpr>,
        at: &mut Option<AtModifier>,
    ) -> Result<(), ResolveError> {
        if let Some(offset) = offset {
            let seconds = self.seconds(offset)?;
            self.replace(offset, seconds)?;
        }
        match at {
            Some(AtModifier::Start) => *at = Some(AtModifier::Time(self.steps.start)),
            Some(AtModifier::End) => *at = Some(AtModifier::Time(self.steps.end)),
            Some(AtModifier::Time(_)) | None => {}
        }
        Ok(())
    }

    /// A duration that must be positive.
    fn resolve_window(&self, window: &mut DurationExpr) -> Result<(), ResolveError> {
        let seconds = self.seconds(window)?;
        // Less than half a millisecond rounds to nothing.
        if seconds < 0.0005 {
            return Err(self.error(window, "duration must be greater than 0"));
        }
        self.replace(window, seconds)
    }

    fn replace(&self, duration: &mut DurationExpr, seconds: f64) -> Result<(), ResolveError> {
        let millis = (seconds * 1000.0).round();
        if millis.abs() > MILLIS_MAX {
            return Err(self.error(duration, "duration is out of range"));
        }
        *duration = DurationExpr::from_millis(millis as i64, duration.range);
        Ok(())
    }

    fn seconds(&self, duration: &DurationExpr) -> Result<f64, ResolveError> {
        let seconds = match &duration.kind {
            DurationKind::Literal(literal) => literal.seconds,
            DurationKind::Step => self.steps.step_millis as f64 / 1000.0,
            DurationKind::Range => self.steps.end.millis_since(self.steps.start) as f64 / 1000.0,
            DurationKind::Negate(inner) => -self.seconds(inner)?,
            DurationKind::Paren(inner) => self.seconds(inner)?,
            DurationKind::Binary(op, lhs, rhs) => {
                let (lhs, divisor) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    DurationOp::Div if divisor == 0.0 => {
                        return Err(self.error(duration, "division by zero"));
                    }
                    DurationOp::Mod if divisor == 0.0 => {
                        return Err(self.error(duration, "modulo by zero"));
                    }
                    _ => calculate(*op, lhs, divisor),
                }
            }
        };
        if seconds.is_finite() {
            return Ok(seconds);
        }
        Err(self.error(duration, "duration is out of range"))
    }

    fn error(&self, duration: &DurationExpr, message: &'static str) -> ResolveError {
        let (line, column) = line_and_column(self.input, duration.range.start);
        ResolveError::Duration { line, column, message }
    }
}

fn calculate(op: DurationOp, lhs: f64, rhs: f64) -> f64 {
    match op {
        DurationOp::Add => lhs + rhs,
        DurationOp::Sub => lhs - rhs,
        DurationOp::Mul => lhs * rhs,
        DurationOp::Div => lhs / rhs,
        DurationOp::Mod => lhs % rhs,
        DurationOp::Pow => lhs.powf(rhs),
        DurationOp::MinOf => lhs.min(rhs),
        DurationOp::MaxOf => lhs.max(rhs),
    }
}

/// Refuses a range with an extension that `function` cannot use.
fn check_extension(arg: &Expr, function: &'static str) -> Result<(), ResolveError> {
    let ExprKind::Matrix(matrix) = &arg.unwrapped().kind else {
        return Ok(());
    };
    let (modifier, functions) = match matrix.selector.extension {
        Some(RangeExtension::Anchored) => ("anchored", "changes, delta, increase, rate, resets"),
        Some(RangeExtension::Smoothed) => ("smoothed", "delta, increase, rate"),
        None => return Ok(()),
    };
    if functions.split(", ").any(|name| name == function) {
        return Ok(());
    }
    Err(ResolveError::Extension { modifier, functions, function })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{ParseOptions, parse};

    fn resolved(input: &str) -> Result<String, String> {
        let steps = Steps {
            start: Timestamp::from_millis(50_000),
            end: Timestamp::from_millis(60_000),
            step_millis: 5000,
        };
        let expr = parse(input, &ParseOptions::everything()).expect("parses");
        match resolve(expr, input, &steps) {
            Ok(expr) => Ok(expr.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn durations_are_worked_out() {
        let cases = [
            ("rate(a[step() + 1])", "rate(a[6s])"),
            ("rate(a[max_of(min_of(step()+1,1h),1ms)])", "rate(a[6s])"),
            ("a offset -(step()*2)", "a offset -10s"),
            ("sum_over_time(a[range():2^2])", "sum_over_time(a[10s:4s])"),
            ("a @ start() + a @ end()", "a @ 50.000 + a @ 60.000"),
            ("a + start() - range() * step()", "a + 50 - 10 * 5"),
        ];
        for (input, text) in cases {
            assert_eq!(resolved(input), Ok(text.to_owned()));
        }
    }

    #[test]
    fn useless_durations_are_refused() {
        let cases = [
            ("rate(a[step() - 5])", "1:8: duration must be greater than 0"),
            ("a offset (1 / (step() - 5))", "1:11: division by zero"),
            ("a offset (10 ^ 300)", "1:10: duration is out of range"),
        ];
        for (input, message) in cases {
            assert_eq!(resolved(input), Err(message.to_owned()));
        }
    }

    #[test]
    fn extensions_need_a_function_that_knows_them() {
        let refused = resolved("deriv(a[1m] smoothed)").expect_err("refused");
        let message =
            "smoothed modifier can only be used with: delta, increase, rate - not with deriv";
        assert_eq!(refused, message);
        assert!(resolved("rate(a[1m] anchored)").is_ok());
    }
}
