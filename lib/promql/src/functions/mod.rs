//! The functions of the language.
//!
//! A *range function* makes one sample of a window of samples. An *element function* makes one
//! sample of one sample. Both work on one series at a time, so that they can be applied while
//! series are read. The rest relates series to each other, or changes their labels.

pub(crate) mod classic;
pub(crate) mod date;
pub(crate) mod extended;
pub(crate) mod fast;
pub(crate) mod info;
pub(crate) mod labels;
mod math;
pub(crate) mod over_time;
pub(crate) mod quantile;
mod rate;
mod regression;
pub(crate) mod window;

pub(crate) use math::{clamp, element_function, round};
pub(crate) use rate::Growth;
use window::{Notes, Window};

use crate::{ast::Call, value::Sample};

/// Makes one sample of a window.
pub(crate) type Kernel = fn(&Window<'_>, &mut Notes<'_>) -> Option<Sample>;

/// A range function.
#[derive(Clone, Copy)]
pub(crate) struct RangeFunction {
    /// What it does.
    pub kernel: Kernel,
    /// Whether the metric keeps its name.
    pub keeps_name: bool,
    /// Set for `rate`, `increase` and `delta`, which have faster and extended forms.
    pub growth: Option<Growth>,
}

/// Whether a call works on one series at a time.
pub(crate) fn is_streamed(call: &Call) -> bool {
    let name = call.function.name;
    range_function(name).is_some() || element_function(name).is_some()
}

/// Finds a range function. `absent_over_time` is none: it relates series.
pub(crate) fn range_function(name: &str) -> Option<RangeFunction> {
    let growth = match name {
        "rate" => Some(Growth::Rate),
        "increase" => Some(Growth::Increase),
        "delta" => Some(Growth::Delta),
        _ => None,
    };
    let kernel: Kernel = match name {
        "rate" => |window, notes| rate::growth(window, Growth::Rate, notes),
        "increase" => |window, notes| rate::growth(window, Growth::Increase, notes),
        "delta" => |window, notes| rate::growth(window, Growth::Delta, notes),
        "irate" => |window, notes| rate::instant_growth(window, true, notes),
        "idelta" => |window, notes| rate::instant_growth(window, false, notes),
        "changes" => |window, _| over_time::changes(window),
        "resets" => |window, _| over_time::resets(window),
        "deriv" => regression::deriv,
        "predict_linear" => regression::predict_linear,
        "double_exponential_smoothing" => regression::double_smoothing,
        _ => over_time_function(name)?,
    };
    let keeps_name = matches!(name, "first_over_time" | "last_over_time");
    Some(RangeFunction { kernel, keeps_name, growth })
}

fn over_time_function(name: &str) -> Option<Kernel> {
    Some(match name {
        "avg_over_time" => over_time::avg,
        "sum_over_time" => over_time::sum,
        "min_over_time" => over_time::min,
        "max_over_time" => over_time::max,
        "stddev_over_time" => over_time::deviation,
        "stdvar_over_time" => over_time::variance,
        "quantile_over_time" => over_time::quantile,
        "mad_over_time" => over_time::median_deviation,
        "ts_of_min_over_time" => over_time::time_of_min,
        "ts_of_max_over_time" => over_time::time_of_max,
        "count_over_time" => |window, _| over_time::count(window),
        "present_over_time" => |window, _| over_time::present(window),
        "first_over_time" => |window, _| over_time::first(window),
        "last_over_time" => |window, _| over_time::last(window),
        "ts_of_first_over_time" => |window, _| over_time::time_of_first(window),
        "ts_of_last_over_time" => |window, _| over_time::time_of_last(window),
        _ => return None,
    })
}
