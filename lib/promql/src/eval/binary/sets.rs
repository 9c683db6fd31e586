//! Set operators: `and`, `or`, `unless`.

use std::collections::HashMap;

use narthex_model::Labels;

use super::matching::signature;
use crate::{
    ast::{BinaryOp, VectorMatching},
    eval::{EvalError, Grid, merge_same_labels},
    value::Series,
};

/// The operands.
pub(super) struct Sides {
    pub left: Vec<Series>,
    pub right: Vec<Series>,
}

/// At which steps a match group has any sample.
type Presence = HashMap<Labels, Vec<bool>>;

/// Combines the operands as sets of label sets, step by step.
pub(super) fn combine(
    op: BinaryOp,
    matching: &VectorMatching,
    sides: Sides,
    grid: Grid,
) -> Result<Vec<Series>, EvalError> {
    let Sides { mut left, mut right } = sides;
    let none = vec![false; grid.len];
    match op {
        BinaryOp::Or => {
            let present = presence(&left, matching, grid);
            for series in &mut right {
                let taken = present.get(&signature(&series.labels, matching)).unwrap_or(&none);
                series.column.retain_steps(|step| !taken[step]);
            }
            left.append(&mut right);
            left.retain(|series| series.column.has_samples());
            merge_same_labels(left)
        }
        _ => {
            let present = presence(&right, matching, grid);
            let wanted = op == BinaryOp::And;
            for series in &mut left {
                let found = present.get(&signature(&series.labels, matching)).unwrap_or(&none);
                series.column.retain_steps(|step| found[step] == wanted);
            }
            left.retain(|series| series.column.has_samples());
            Ok(left)
        }
    }
}

fn presence(side: &[Series], matching: &VectorMatching, grid: Grid) -> Presence {
    let mut presence = Presence::new();
    for series in side {
        let steps = presence
            .entry(signature(&series.labels, matching))
            .or_insert_with(|| vec![false; grid.len]);
        for (step, present) in steps.iter_mut().enumerate() {
            *present |= series.column.is_present(step);
        }
    }
    presence
}
