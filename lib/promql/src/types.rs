//! Value types and the signatures of all functions.

use std::fmt;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// One text.
    String,
    /// Per series one sample per step.
    Vector,
    /// Per series a range of samples per step.
    Matrix,
}

impl ValueType {
    /// The name in error messages.
    pub const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// The name in the HTTP API.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name())
    }
}

/// How many arguments beyond the fixed ones a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optional {
    /// None.
    Nothing,
    /// The last type of the signature, this many times at most. The signature's last argument is
    /// the first of these.
    UpTo(u8),
    /// The last type of the signature, as often as wanted, or not at all.
    Any,
}

/// What a function takes and returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionSignature {
    /// The name.
    pub name: &'static str,
    /// The types of the arguments.
    pub args: &'static [ValueType],
    /// Which of them may be left out or repeated.
    pub optional: Optional,
    /// The type of the result.
    pub returns: ValueType,
    /// Whether it must be enabled.
    pub is_experimental: bool,
}

impl FunctionSignature {
    /// The fewest arguments.
    pub fn args_min(&self) -> usize {
        match self.optional {
            Optional::Nothing => self.args.len(),
            Optional::UpTo(_) | Optional::Any => self.args.len() - 1,
        }
    }

    /// The most arguments; `None` is without bound.
    pub fn args_max(&self) -> Option<usize> {
        match self.optional {
            Optional::Nothing => Some(self.args.len()),
            Optional::UpTo(more) => Some(self.args.len() - 1 + usize::from(more)),
            Optional::Any => None,
        }
    }

    /// The type of argument `index`.
    pub fn arg_type(&self, index: usize) -> ValueType {
        self.args[index.min(self.args.len() - 1)]
    }
}

/// Finds a function by its name, which is case-sensitive.
pub fn find_function(name: &str) -> Option<&'static FunctionSignature> {
    let at = FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok()?;
    Some(&FUNCTIONS[at])
}

use ValueType::{Matrix as M, Scalar as S, String as T, Vector as V};

const fn vector(name: &'static str, args: &'static [ValueType]) -> FunctionSignature {
    let optional = Optional::Nothing;
    FunctionSignature { name, args, optional, returns: V, is_experimental: false }
}

const fn scalar(name: &'static str, args: &'static [ValueType]) -> FunctionSignature {
    FunctionSignature { returns: S, ..vector(name, args) }
}

/// A date function, whose vector may be left out for the evaluation time.
const fn date(name: &'static str) -> FunctionSignature {
    vector(name, &[V]).optional(Optional::UpTo(1))
}

impl FunctionSignature {
    const fn optional(mut self, optional: Optional) -> Self {
        self.optional = optional;
        self
    }

    const fn experimental(mut self) -> Self {
        self.is_experimental = true;
        self
    }
}

/// All functions, sorted by name.
pub static FUNCTIONS: [FunctionSignature; 90] = [
    vector("abs", &[V]),
    vector("absent", &[V]),
    vector("absent_over_time", &[M]),
    vector("acos", &[V]),
    vector("acosh", &[V]),
    vector("asin", &[V]),
    vector("asinh", &[V]),
    vector("atan", &[V]),
    vector("atanh", &[V]),
    vector("avg_over_time", &[M]),
    vector("ceil", &[V]),
    vector("changes", &[M]),
    vector("clamp", &[V, S, S]),
    vector("clamp_max", &[V, S]),
    vector("clamp_min", &[V, S]),
    vector("cos", &[V]),
    vector("cosh", &[V]),
    vector("count_over_time", &[M]),
    date("day_of_month"),
    date("day_of_week"),
    date("day_of_year"),
    date("days_in_month"),
    vector("deg", &[V]),
    vector("delta", &[M]),
    vector("deriv", &[M]),
    vector("double_exponential_smoothing", &[M, S, S]).experimental(),
    scalar("end", &[]).experimental(),
    vector("exp", &[V]),
    vector("first_over_time", &[M]),
    vector("floor", &[V]),
    vector("histogram_avg", &[V]),
    vector("histogram_count", &[V]),
    vector("histogram_fraction", &[S, S, V]),
    vector("histogram_quantile", &[S, V]),
    vector("histogram_quantiles", &[V, T, S, S]).optional(Optional::UpTo(9)).experimental(),
    vector("histogram_stddev", &[V]),
    vector("histogram_stdvar", &[V]),
    vector("histogram_sum", &[V]),
    date("hour"),
    vector("idelta", &[M]),
    vector("increase", &[M]),
    vector("info", &[V, V]).optional(Optional::UpTo(1)).experimental(),
    vector("irate", &[M]),
    vector("label_join", &[V, T, T, T]).optional(Optional::Any),
    vector("label_replace", &[V, T, T, T, T]),
    vector("last_over_time", &[M]),
    vector("ln", &[V]),
    vector("log10", &[V]),
    vector("log2", &[V]),
    vector("mad_over_time", &[M]).experimental(),
    scalar("max_of", &[S, S]).experimental(),
    vector("max_over_time", &[M]),
    scalar("min_of", &[S, S]).experimental(),
    vector("min_over_time", &[M]),
    date("minute"),
    date("month"),
    scalar("pi", &[]),
    vector("predict_linear", &[M, S]),
    vector("present_over_time", &[M]),
    vector("quantile_over_time", &[S, M]),
    vector("rad", &[V]),
    scalar("range", &[]).experimental(),
    vector("rate", &[M]),
    vector("resets", &[M]),
    vector("round", &[V, S]).optional(Optional::UpTo(1)),
    scalar("scalar", &[V]),
    vector("sgn", &[V]),
    vector("sin", &[V]),
    vector("sinh", &[V]),
    vector("sort", &[V]),
    vector("sort_by_label", &[V, T]).optional(Optional::Any).experimental(),
    vector("sort_by_label_desc", &[V, T]).optional(Optional::Any).experimental(),
    vector("sort_desc", &[V]),
    vector("sqrt", &[V]),
    scalar("start", &[]).experimental(),
    vector("start_timestamp", &[V]).experimental(),
    vector("stddev_over_time", &[M]),
    vector("stdvar_over_time", &[M]),
    scalar("step", &[]).experimental(),
    vector("sum_over_time", &[M]),
    vector("tan", &[V]),
    vector("tanh", &[V]),
    scalar("time", &[]),
    vector("timestamp", &[V]),
    vector("ts_of_first_over_time", &[M]).experimental(),
    vector("ts_of_last_over_time", &[M]).experimental(),
    vector("ts_of_max_over_time", &[M]).experimental(),
    vector("ts_of_min_over_time", &[M]).experimental(),
    vector("vector", &[S]),
    date("year"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_sorted_and_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FUNCTIONS.iter().all(|f| find_function(f.name) == Some(f)));
        assert_eq!(find_function("Rate"), None);
    }

    #[test]
    fn seventeen_functions_are_experimental() {
        assert_eq!(FUNCTIONS.iter().filter(|f| f.is_experimental).count(), 17);
    }

    #[test]
    fn argument_counts_follow_the_signature() {
        let counts = |name| find_function(name).map(|f| (f.args_min(), f.args_max()));
        assert_eq!(counts("round"), Some((1, Some(2))));
        assert_eq!(counts("hour"), Some((0, Some(1))));
        assert_eq!(counts("histogram_quantiles"), Some((3, Some(12))));
        assert_eq!(counts("label_join"), Some((3, None)));
        assert_eq!(counts("time"), Some((0, Some(0))));
    }
}
