//! Vector matching for operators that are not set operators.
//!
//! Series are matched once per query: those whose matching labels agree form a match group, and
//! each pair of partners yields one column. Only which of them are there differs from step to
//! step, and with it whether a group has too many.

use std::collections::HashMap;

use narthex_model::{Labels, METRIC_NAME};

use super::Operation;
use crate::{
    annotations::Annotations,
    ast::{Cardinality, VectorMatching},
    eval::{EvalError, Grid, collect::NAME_LABELS},
    value::{Column, Series},
};

/// An operator between vectors.
pub(super) struct Join<'j> {
    pub operation: Operation,
    pub matching: &'j VectorMatching,
    pub grid: Grid,
    pub is_delayed: bool,
    /// See [`EvalOptions::sees_part`](crate::EvalOptions::sees_part).
    pub sees_part: bool,
}

/// The part of the labels that must agree.
pub(super) fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    if matching.on {
        labels.filtered(|name| matching.labels.iter().any(|label| label == name))
    } else {
        labels.filtered(|name| {
            name != METRIC_NAME && !matching.labels.iter().any(|label| label == name)
        })
    }
}

/// Series whose matching labels agree.
#[derive(Default)]
struct MatchGroup<'v> {
    /// The "many" side; the left one of one-to-one.
    many: Vec<&'v Series>,
    /// The "one" side.
    one: Vec<&'v Series>,
}

/// Result series while pairs are joined.
#[derive(Default)]
struct Results {
    series: Vec<Series>,
    places: HashMap<(Labels, bool), usize>,
}

impl Join<'_> {
    /// Joins the two vectors.
    pub fn run(
        &self,
        left: &[Series],
        right: &[Series],
        annotations: &mut Annotations,
    ) -> Result<Vec<Series>, EvalError> {
        let (many, one) = if self.is_swapped() { (right, left) } else { (left, right) };
        let mut groups: Vec<(Labels, MatchGroup<'_>)> = Vec::new();
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for (side, is_one) in [(many, false), (one, true)] {
            for series in side {
                let signature = signature(&series.labels, self.matching);
                let at = *places.entry(signature).or_insert_with_key(|signature| {
                    groups.push((signature.clone(), MatchGroup::default()));
                    groups.len() - 1
                });
                let group = &mut groups[at].1;
                if is_one { group.one.push(series) } else { group.many.push(series) }
            }
        }
        let mut results = Results::default();
        for (signature, group) in &groups {
            self.check_one_side(signature, group, many)?;
            self.join_group(signature, group, &mut results, annotations)?;
        }
        results.series.retain(|series| series.column.has_samples());
        if self.is_delayed {
            return Ok(results.series);
        }
        crate::eval::collect::finish_names(results.series)
    }

    /// Whether the right side is the "many" side.
    fn is_swapped(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToMany
    }

    /// Fails if two series of the "one" side share a group at a step at which the other side is
    /// not empty.
    fn check_one_side(
        &self,
        signature: &Labels,
        group: &MatchGroup<'_>,
        many: &[Series],
    ) -> Result<(), EvalError> {
        if group.one.len() < 2 {
            return Ok(());
        }
        for step in 0..self.grid.len {
            let mut present = group.one.iter().filter(|series| series.column.is_present(step));
            let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
            if !many.iter().any(|series| series.column.is_present(step)) {
                match self.sees_part {
                    true => return Err(EvalError::Undecided),
                    false => continue,
                }
            }
            let side = if self.is_swapped() { "left" } else { "right" };
            let mut names = [&first.labels, &second.labels];
            names.sort();
            return Err(EvalError::Match(format!(
                "found duplicate series for the match group {signature} on the {side} hand-side \
                 of the operation: [{}, {}];many-to-many matching not allowed: matching labels \
                 must be unique on one side",
                names[0], names[1]
            )));
        }
        Ok(())
    }

    fn join_group(
        &self,
        signature: &Labels,
        group: &MatchGroup<'_>,
        results: &mut Results,
        annotations: &mut Annotations,
    ) -> Result<(), EvalError> {
        let mut met = Met::new(self, group.many.len());
        for many in &group.many {
            for one in &group.one {
                let column = self.columns(&many.column, &one.column, annotations);
                let drop_name = self.drops_name(many);
                let labels = self.result_labels(many, Some(one));
                met.mark((&labels, drop_name), &many.column, |step| one.column.is_present(step))?;
                results.put(labels, drop_name, column)?;
            }
        }
        self.fill((signature, group), &mut met, results, annotations)
    }

    /// The operator between the "many" and the "one" side's columns.
    fn columns(&self, many: &Column, one: &Column, annotations: &mut Annotations) -> Column {
        let (left, right) = if self.is_swapped() { (one, many) } else { (many, one) };
        self.operation.columns(left, right, false, annotations)
    }

    fn drops_name(&self, many: &Series) -> bool {
        many.drop_name || (self.operation.drops_name() && !self.takes_name())
    }

    /// Whether the name is the one of the "one" side, which is taken over after that of the "many"
    /// side was dropped.
    fn takes_name(&self) -> bool {
        let includes_name = self.matching.include.iter().any(|label| label == METRIC_NAME);
        includes_name && !self.operation.return_bool
    }

    /// Fills in missing partners.
    fn fill(
        &self,
        (signature, group): (&Labels, &MatchGroup<'_>),
        met: &mut Met,
        results: &mut Results,
        annotations: &mut Annotations,
    ) -> Result<(), EvalError> {
        // As in Prometheus, the left fill is that of the "many" side, also with `group_right`.
        let (fill_many, fill_one) = (self.matching.fill_left, self.matching.fill_right);
        let is_absent = |side: &[&Series], step: usize| {
            !side.iter().any(|series| series.column.is_present(step))
        };
        let constant = |value: f64, other: &[&Series]| {
            let mut column = Column::from_floats(vec![value; self.grid.len]);
            column.retain_steps(|step| is_absent(other, step));
            column
        };
        if let Some(fill) = fill_one {
            let filled = constant(fill.0, &group.one);
            for many in &group.many {
                let column = self.columns(&many.column, &filled, annotations);
                let drop_name = self.drops_name(many);
                let labels = self.result_labels(many, None);
                met.mark((&labels, drop_name), &many.column, |step| filled.is_present(step))?;
                results.put(labels, drop_name, column)?;
            }
        }
        if let Some(fill) = fill_many {
            let filled = constant(fill.0, &group.many);
            for one in &group.one {
                let column = self.columns(&filled, &one.column, annotations);
                results.put(signature.clone(), self.operation.drops_name(), column)?;
            }
        }
        Ok(())
    }

    /// The labels of a pair's result. The name stays for now where it is only flagged.
    fn result_labels(&self, many: &Series, one: Option<&Series>) -> Labels {
        let matching = self.matching;
        let is_listed = |name: &str| matching.labels.iter().any(|label| label == name);
        if matching.cardinality == Cardinality::OneToOne {
            // With `on`, only what was matched is left, the name too unless it was matched.
            return many.labels.filtered(|name| is_listed(name) == matching.on);
        }
        let Some(one) = one.filter(|_| !matching.include.is_empty()) else {
            return many.labels.clone();
        };
        let mut builder = many.labels.to_builder();
        for name in &matching.include {
            builder.set(name, one.labels.value(name));
        }
        builder.build()
    }
}

/// The steps at which pairs of a match group have met. What comes of a pair makes no difference: a
/// filter may drop it.
struct Met {
    is_one_to_one: bool,
    /// By the labels of the result; of one-to-one groups, under no labels, all there may be. `None`
    /// where there is no need to look.
    steps: Option<HashMap<Labels, Vec<bool>>>,
}

impl Met {
    fn new(join: &Join<'_>, many: usize) -> Self {
        let is_one_to_one = join.matching.cardinality == Cardinality::OneToOne;
        // Where all pairs that meet have a result, results tell.
        let is_told = !is_one_to_one && !join.operation.is_filter();
        Self { is_one_to_one, steps: (many > 1 && !is_told).then(HashMap::new) }
    }

    /// Marks the steps at which both are there. Fails where one is marked.
    fn mark(
        &mut self,
        (labels, drop_name): (&Labels, bool),
        many: &Column,
        is_there: impl Fn(usize) -> bool,
    ) -> Result<(), EvalError> {
        let Some(steps) = &mut self.steps else { return Ok(()) };
        let key = if self.is_one_to_one { Labels::empty() } else { key(labels, drop_name) };
        let marked = steps.entry(key).or_insert_with(|| vec![false; many.len()]);
        for (step, marked) in marked.iter_mut().enumerate() {
            if !many.is_present(step) || !is_there(step) {
                continue;
            }
            if *marked {
                return Err(match self.is_one_to_one {
                    true => {
                        too_many("many-to-one matching must be explicit (group_left/group_right)")
                    }
                    false => too_many("grouping labels must ensure unique matches"),
                });
            }
            *marked = true;
        }
        Ok(())
    }
}

fn too_many(what: &str) -> EvalError {
    EvalError::Match(format!("multiple matches for labels: {what}"))
}

/// What tells results apart: names that will be dropped make no difference.
fn key(labels: &Labels, drop_name: bool) -> Labels {
    match drop_name {
        true => labels.filtered(|name| !NAME_LABELS.contains(&name)),
        false => labels.clone(),
    }
}

impl Results {
    /// Adds a column to the series of these labels. Fails where both have a sample.
    fn put(&mut self, labels: Labels, drop_name: bool, column: Column) -> Result<(), EvalError> {
        let key = key(&labels, drop_name);
        match self.places.get(&(key.clone(), drop_name)) {
            None => {
                self.places.insert((key, drop_name), self.series.len());
                self.series.push(Series { labels, drop_name, column });
                Ok(())
            }
            Some(&at) => {
                let known = &mut self.series[at].column;
                for step in 0..column.len() {
                    let Some(sample) = column.get(step) else { continue };
                    if known.is_present(step) {
                        return Err(too_many("grouping labels must ensure unique matches"));
                    }
                    known.set(step, sample.to_owned());
                }
                Ok(())
            }
        }
    }
}
