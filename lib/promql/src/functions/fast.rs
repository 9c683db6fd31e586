//! `rate`, `increase` and `delta` of plain floats: the form nearly all queries take.
//!
//! Resets are found once per series; a window adds up those inside it, in the order and with the
//! operations of the general form, so that both give the same bits. The tests compare them.

use super::rate::{Extent, Growth, extrapolation};

/// Fills `column` with the growth of `samples` over windows of `length` milliseconds. `end` tells
/// where the window of a step ends; it never decreases.
pub(crate) fn growth(
    (times, values): (&[i64], &[f64]),
    length: i64,
    end: impl Fn(usize) -> i64,
    kind: Growth,
    column: &mut [f64],
) {
    let resets = if kind.is_counter() { find_resets(values) } else { Vec::new() };
    let (mut from, mut to, mut next_reset) = (0, 0, 0);
    for (step, cell) in column.iter_mut().enumerate() {
        let end = end(step);
        let start = end.saturating_sub(length);
        while to < times.len() && times[to] <= end {
            to += 1;
        }
        while from < to && times[from] <= start {
            from += 1;
        }
        if to - from < 2 {
            continue;
        }
        // A reset at the window's first sample lies between it and one outside.
        while resets.get(next_reset).is_some_and(|at| *at <= from) {
            next_reset += 1;
        }
        let first = values[from];
        let mut grown = values[to - 1] - first;
        for at in resets[next_reset..].iter().take_while(|at| **at < to) {
            grown += values[at - 1];
        }
        let extent = Extent {
            first: times[from],
            first_sample: times[from],
            last: times[to - 1],
            gaps: to - from - 1,
        };
        let share = (kind.is_counter() && grown > 0.0 && first >= 0.0).then(|| first / grown);
        let mut factor = extrapolation((start, end), extent, share);
        if kind == Growth::Rate {
            factor /= length as f64 / 1000.0;
        }
        *cell = grown * factor;
    }
}

/// The samples that are lower than the one before them.
fn find_resets(values: &[f64]) -> Vec<usize> {
    let falls = values.windows(2).enumerate().filter(|(_, pair)| pair[1] < pair[0]);
    falls.map(|(at, _)| at + 1).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        annotations::Annotations,
        ast::ByteRange,
        functions::{
            rate,
            window::{Notes, Points, Window},
        },
        value::{ABSENT, Sample},
    };

    /// Each window on its own, by the general form.
    fn dumb(times: &[i64], values: &[f64], length: i64, ends: &[i64], kind: Growth) -> Vec<f64> {
        let mut annotations = Annotations::default();
        let mut of_window = |end: i64| {
            let start = end - length;
            let inside: Vec<usize> =
                (0..times.len()).filter(|at| times[*at] > start && times[*at] <= end).collect();
            let times: Vec<i64> = inside.iter().map(|at| times[*at]).collect();
            let values: Vec<f64> = inside.iter().map(|at| values[*at]).collect();
            let floats = Points { times: &times, values: &values, starts: &[] };
            let window = Window {
                floats,
                histograms: Points::default(),
                start,
                end,
                time: end,
                args: [0.0; 2],
            };
            let range = ByteRange::default();
            let mut notes = Notes { annotations: &mut annotations, metric: "", range };
            match rate::growth(&window, kind, &mut notes) {
                Some(Sample::Float(value)) => value,
                _ => ABSENT,
            }
        };
        ends.iter().map(|end| of_window(*end)).collect()
    }

    proptest! {
        #[test]
        fn sliding_equals_each_window_on_its_own(
            gaps in proptest::collection::vec(1i64..40_000, 0..60),
            values in proptest::collection::vec(prop_oneof![0.0..10.0f64, Just(f64::NAN), -5.0..5.0f64], 60),
            length in 1_000i64..300_000,
            step in 1i64..60_000,
        ) {
            let mut time = 0;
            let times: Vec<i64> = gaps.iter().map(|gap| { time += gap; time }).collect();
            let values = &values[..times.len()];
            let ends: Vec<i64> = (0..40).map(|at| at * step).collect();
            for kind in [Growth::Rate, Growth::Increase, Growth::Delta] {
                let mut column = vec![ABSENT; ends.len()];
                growth((&times, values), length, |step| ends[step], kind, &mut column);
                let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&column), bits(&dumb(&times, values, length, &ends, kind)));
            }
        }
    }
}
