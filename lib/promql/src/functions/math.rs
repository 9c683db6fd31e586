//! Functions of one sample.

use narthex_model::is_stale;

use crate::value::{ABSENT, Column};

/// Makes a float of a sample, or drops it.
#[derive(Clone, Copy)]
pub(crate) enum ElementFunction {
    /// Of floats; histograms are dropped.
    Float(fn(f64) -> f64),
    /// Of histograms; floats are dropped.
    Histogram(fn(&narthex_model::FloatHistogram) -> f64),
}

impl ElementFunction {
    /// Changes all samples of a column.
    pub fn apply(self, column: &mut Column) {
        match self {
            Self::Float(function) => column.map_floats(function),
            Self::Histogram(function) => {
                for step in 0..column.len() {
                    let value = column.histogram(step).map_or(ABSENT, |h| function(h));
                    column.floats_mut()[step] = value;
                }
                column.remove_histograms();
            }
        }
    }
}

/// Finds a function that takes one instant vector and nothing else, and looks at samples alone.
pub(crate) fn element_function(name: &str) -> Option<ElementFunction> {
    use ElementFunction::{Float, Histogram};
    Some(match name {
        "abs" => Float(f64::abs),
        "ceil" => Float(f64::ceil),
        "floor" => Float(f64::floor),
        "exp" => Float(f64::exp),
        "ln" => Float(f64::ln),
        "log2" => Float(f64::log2),
        "log10" => Float(f64::log10),
        "sqrt" => Float(f64::sqrt),
        "sgn" => Float(|value| {
            if value > 0.0 {
                1.0
            } else if value < 0.0 {
                -1.0
            } else {
                value
            }
        }),
        "sin" => Float(f64::sin),
        "cos" => Float(f64::cos),
        "tan" => Float(f64::tan),
        "asin" => Float(f64::asin),
        "acos" => Float(f64::acos),
        "atan" => Float(f64::atan),
        "sinh" => Float(f64::sinh),
        "cosh" => Float(f64::cosh),
        "tanh" => Float(f64::tanh),
        "asinh" => Float(f64::asinh),
        "acosh" => Float(f64::acosh),
        "atanh" => Float(f64::atanh),
        "deg" => Float(|value| value * 180.0 / std::f64::consts::PI),
        "rad" => Float(|value| value * std::f64::consts::PI / 180.0),
        "histogram_count" => Histogram(|histogram| histogram.count),
        "histogram_sum" => Histogram(|histogram| histogram.sum),
        "histogram_avg" => Histogram(|histogram| histogram.sum / histogram.count),
        "histogram_stdvar" => Histogram(narthex_model::FloatHistogram::variance),
        "histogram_stddev" => Histogram(|histogram| histogram.variance().sqrt()),
        _ => return None,
    })
}

/// `clamp`: keeps floats between bounds given per step, and drops all where they cross.
pub(crate) fn clamp(column: &mut Column, min: &[f64], max: &[f64]) {
    column.remove_histograms();
    for (step, value) in column.floats_mut().iter_mut().enumerate() {
        if is_stale(*value) {
            continue;
        }
        let (min, max) = (min[step], max[step]);
        *value = if max < min { ABSENT } else { larger(min, smaller(max, *value)) };
    }
}

/// The larger of two numbers. NaN is larger than all but infinity.
fn larger(a: f64, b: f64) -> f64 {
    let is_infinite = a == f64::INFINITY || b == f64::INFINITY;
    if is_infinite || !(a.is_nan() || b.is_nan()) { a.max(b) } else { f64::NAN }
}

/// The smaller of two numbers. NaN is smaller than all but minus infinity.
fn smaller(a: f64, b: f64) -> f64 {
    let is_infinite = a == f64::NEG_INFINITY || b == f64::NEG_INFINITY;
    if is_infinite || !(a.is_nan() || b.is_nan()) { a.min(b) } else { f64::NAN }
}

/// `round`: to the nearest multiple of a number given per step, ties up.
pub(crate) fn round(column: &mut Column, to: &[f64]) {
    column.remove_histograms();
    for (step, value) in column.floats_mut().iter_mut().enumerate() {
        if !is_stale(*value) {
            // Multiplying by the inverse is exact for powers of ten, unlike dividing by 0.1.
            let inverse = 1.0 / to[step];
            *value = (*value * inverse + 0.5).floor() / inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clamped(value: f64, min: f64, max: f64) -> Option<f64> {
        let mut column = Column::from_floats(vec![value]);
        clamp(&mut column, &[min], &[max]);
        column.float(0)
    }

    #[test]
    fn infinity_outdoes_nan_in_clamps() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(clamped(3.0, 1.0, 2.0), Some(2.0));
        assert_eq!(clamped(3.0, 2.0, 1.0), None);
        assert_eq!(clamped(nan, inf, inf), Some(inf));
        assert_eq!(clamped(-inf, -inf, nan), Some(-inf));
        assert_eq!(clamped(inf, nan, inf), Some(inf));
        for (value, min, max) in [(nan, 0.0, 1.0), (1.0, nan, inf), (1.0, -inf, nan)] {
            assert!(clamped(value, min, max).is_some_and(f64::is_nan), "{value} {min} {max}");
        }
    }
}
