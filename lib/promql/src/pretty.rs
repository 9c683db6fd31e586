//! Syntax tree to text over several lines, as Prometheus's `format_query` and `promtool promql
//! format` lay it out: what is longer than a line is split at its operator or parentheses.
//!
//! What fits a line, and any part that cannot be split, looks as [`Expr`]'s `Display` writes it.

use std::fmt::{self, Display, Write as _};

use crate::{
    ast::{Aggregate, Binary, Call, Expr, ExprKind},
    printer::{Grouping, Operator, SubqueryTail},
};

/// Bytes of one line; longer expressions are split where they can be.
const LINE_BYTES_MAX: usize = 100;
/// A level's indentation.
const INDENT: &str = "  ";

/// The expression over as many lines as it needs. It parses to the same tree.
pub fn pretty(expr: &Expr) -> String {
    let mut lines = Lines(String::new());
    lines.expr(expr, 0);
    lines.0
}

struct Lines(String);

impl Lines {
    fn indent(&mut self, level: usize) -> &mut String {
        (0..level).for_each(|_| self.0.push_str(INDENT));
        &mut self.0
    }

    /// Writes what stands on one line.
    fn put(&mut self, text: impl Display) {
        write!(self.0, "{text}").expect("a string takes any text");
    }

    fn expr(&mut self, expr: &Expr, level: usize) {
        if fits_line(expr) {
            self.indent(level);
            return self.put(expr);
        }
        match &expr.kind {
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, level),
            ExprKind::Binary(binary) => self.binary(binary, level),
            ExprKind::Call(call) => self.call(call, level),
            ExprKind::Paren(inner) => {
                self.indent(level).push_str("(\n");
                self.expr(inner, level + 1);
                self.close(level);
            }
            ExprKind::Subquery(subquery) => {
                self.expr(&subquery.expr, level);
                self.put(SubqueryTail(subquery));
            }
            ExprKind::Unary(unary) => {
                self.indent(level).push_str(unary.op.text());
                let operand = pretty_at(&unary.expr, level);
                self.0.push_str(operand.trim_start());
            }
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Matrix(_) => {
                self.indent(level);
                self.put(expr);
            }
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate, level: usize) {
        self.indent(level).push_str(aggregate.op.text());
        self.put(Grouping(aggregate));
        self.0.push_str("(\n");
        if let Some(param) = &aggregate.param {
            self.expr(param, level + 1);
            self.0.push_str(",\n");
        }
        self.expr(&aggregate.expr, level + 1);
        self.close(level);
    }

    fn binary(&mut self, binary: &Binary, level: usize) {
        self.expr(&binary.lhs, level + 1);
        self.0.push('\n');
        self.indent(level);
        self.put(Operator(binary));
        self.0.push('\n');
        self.expr(&binary.rhs, level + 1);
    }

    fn call(&mut self, call: &Call, level: usize) {
        self.indent(level).push_str(call.function.name);
        self.0.push_str("(\n");
        for (number, arg) in call.args.iter().enumerate() {
            self.0.push_str(if number > 0 { ",\n" } else { "" });
            self.expr(arg, level + 1);
        }
        self.close(level);
    }

    fn close(&mut self, level: usize) {
        self.0.push('\n');
        self.indent(level).push(')');
    }
}

fn pretty_at(expr: &Expr, level: usize) -> String {
    let mut lines = Lines(String::new());
    lines.expr(expr, level);
    lines.0
}

fn fits_line(expr: &Expr) -> bool {
    write!(Line { left: LINE_BYTES_MAX }, "{expr}").is_ok()
}

/// Takes a line's text and refuses more, so that a long expression is not written out at every
/// level of its tree.
struct Line {
    left: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse};

    fn formatted(text: &str) -> String {
        pretty(&parse(text, &ParseOptions::default()).expect(text))
    }

    #[test]
    fn what_fits_a_line_stays_on_it() {
        assert_eq!(formatted("sum(rate(a [5m]))by( job )+1"), "sum by (job) (rate(a[5m])) + 1");
        assert_eq!(formatted("-1 ^ 2"), "-1 ^ 2");
    }

    #[test]
    fn what_is_longer_is_split_at_its_operators_and_parentheses() {
        let name = "a_metric_with_a_name_that_is_rather_long_but_fits";
        let text = format!(
            r#"histogram_quantile(0.9, sum by (le, job) (rate({name}_bucket{{job="x"}}[5m])))
               > bool on (job) group_left () topk(3, ({name} or {name}_and_something_else_behind_it))
               - -max_over_time((sum without () (rate({name}_as_well[1m])) / sum(rate({name}[1m])))[1h:1m] offset 5m)"#
        );
        let expected = format!(
            r#"  histogram_quantile(
    0.9,
    sum by (le, job) (rate({name}_bucket{{job="x"}}[5m]))
  )
> bool on (job) group_left ()
    topk(
      3,
      (
          {name}
        or
          {name}_and_something_else_behind_it
      )
    )
  -
    -max_over_time(
      (
          sum without () (rate({name}_as_well[1m]))
        /
          sum(rate({name}[1m]))
      )[1h:1m] offset 5m
    )"#
        );
        assert_eq!(formatted(&text), expected);
    }
}
