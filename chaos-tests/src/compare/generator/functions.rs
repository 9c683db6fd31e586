//! Calls.

use super::Generator;
use crate::compare::{
    expression::{Expression, Kind, Piece},
    vocabulary::{
        COUNTER_FUNCTIONS, COUNTERS, DATE_FUNCTIONS, ELEMENT_FUNCTIONS, GAUGES,
        HISTOGRAM_FUNCTIONS, LABELS, NATIVES, NUMBERS, OTHERS, QUANTILES, RANGE_FUNCTIONS, RANGES,
    },
};

use Kind::{Scalar, Text, Vector};

impl Generator {
    /// A function of ranges alone.
    pub(super) fn range_function(&mut self, depth: u32) -> Expression {
        if self.one_in(3) {
            return self.counter_function(depth);
        }
        let name = self.pick(RANGE_FUNCTIONS);
        let range = self.matrix(depth);
        Expression::call(Vector, name, [range])
    }

    fn counter_function(&mut self, depth: u32) -> Expression {
        let name = self.pick(COUNTER_FUNCTIONS);
        let range = match self.numbers.u8(0..8) {
            0 => self.matrix(depth),
            1 | 2 => self.matrix_among(NATIVES),
            3 => self.matrix_among(OTHERS),
            _ => self.matrix_among(COUNTERS),
        };
        Expression::call(Vector, name, [range])
    }

    /// A function of the elements of a vector alone.
    pub(super) fn element_function(&mut self, depth: u32) -> Expression {
        match self.numbers.u8(0..6) {
            0 | 1 => {
                let name = self.pick(HISTOGRAM_FUNCTIONS);
                let of = self.histograms(depth);
                Expression::call(Vector, name, [of])
            }
            2 => self.date_function(depth),
            _ => {
                let name = self.pick(ELEMENT_FUNCTIONS);
                let of = self.vector(depth);
                Expression::call(Vector, name, [of])
            }
        }
    }

    fn date_function(&mut self, depth: u32) -> Expression {
        let name = self.pick(DATE_FUNCTIONS);
        let of = match self.numbers.u8(0..6) {
            0 | 1 => return Expression::call(Vector, name, []),
            2 => self.vector(depth),
            _ => self.selector_among(&["created_seconds"]),
        };
        Expression::call(Vector, name, [of])
    }

    /// Native histograms, mostly.
    fn histograms(&mut self, depth: u32) -> Expression {
        match self.numbers.u8(0..8) {
            0 => self.vector(depth),
            1 | 2 => {
                let rates = self.rates_of(NATIVES);
                self.summed(rates, "")
            }
            3 | 4 => self.rates_of(NATIVES),
            5 => {
                let of = self.selector_among(NATIVES);
                self.summed(of, "")
            }
            _ => self.selector_among(NATIVES),
        }
    }

    /// Classic histograms, mostly.
    fn buckets(&mut self, depth: u32) -> Expression {
        match self.numbers.u8(0..8) {
            0 => self.vector(depth),
            1 | 2 => {
                let rates = self.rates_of(&["request_seconds_bucket"]);
                self.summed(rates, ", le")
            }
            3 | 4 => self.rates_of(&["request_seconds_bucket"]),
            _ => self.selector_among(&["request_seconds_bucket"]),
        }
    }

    fn rates_of(&mut self, metrics: &[&str]) -> Expression {
        let name = self.pick(&["rate", "increase", "delta", "sum_over_time", "avg_over_time"]);
        let name = if self.one_in(2) { "rate" } else { name };
        let range = self.matrix_among(metrics);
        Expression::call(Vector, name, [range])
    }

    /// The sum for each job or zone, and by what follows it.
    fn summed(&mut self, of: Expression, more: &str) -> Expression {
        let name = self.pick(&["sum", "sum", "avg"]);
        let label = self.pick(&["job", "zone", "job, instance"]);
        let head = format!("{name} by ({label}{more}) (");
        Expression::new(Vector, [head.into(), of.into(), ")".into()])
    }

    /// A function with a rule of its own.
    pub(super) fn other_function(&mut self, depth: u32) -> Expression {
        match self.numbers.u8(0..22) {
            0..=2 => self.clamp(depth),
            3..=5 => self.label_function(depth),
            6..=9 => self.histogram_quantile(depth),
            10 | 11 => self.histogram_fraction(depth),
            12 => self.quantile_over_time(depth),
            13 | 14 => self.regression(depth),
            15..=17 => self.info(),
            18 => self.sort_by_label(depth),
            19 => {
                let of = self.scalar(depth);
                Expression::call(Vector, "vector", [of])
            }
            20 => {
                let to = self.parameter(&["0.1", "5", "0", "-2", "NaN", "1e3", "0.25"], depth);
                let of = self.vector(depth);
                Expression::call(Vector, "round", [of, to])
            }
            _ => {
                let of = self.plain_selector_among(&["nothing", "nothing", "up", "latency"]);
                Expression::call(Vector, "absent", [of])
            }
        }
    }

    fn clamp(&mut self, depth: u32) -> Expression {
        let bounds = ["0", "1", "10", "-5", "NaN", "Inf", "0.5", "20"];
        let of = self.vector(depth);
        let bound = self.parameter(&bounds, depth);
        match self.numbers.u8(0..3) {
            0 => Expression::call(Vector, "clamp_min", [of, bound]),
            1 => Expression::call(Vector, "clamp_max", [of, bound]),
            _ => {
                let upper = self.parameter(&bounds, depth);
                Expression::call(Vector, "clamp", [of, bound, upper])
            }
        }
    }

    fn text(&mut self, among: &[&str]) -> Expression {
        Expression::leaf(Text, format!("{:?}", self.pick(among)))
    }

    fn label_function(&mut self, depth: u32) -> Expression {
        let of = self.vector(depth);
        let targets = ["dst", "dst", "job", "instance", "__name__", "zone", "to.dst", ""];
        let target = self.text(&targets);
        let sources = ["job", "instance", "__name__", "nosuch", "code", "le", "city"];
        if self.one_in(2) {
            let mut arguments = vec![of, target, self.text(&["-", "", "::"])];
            for _ in 0..self.numbers.u8(0..4) {
                arguments.push(self.text(&sources));
            }
            return Expression::call(Vector, "label_join", arguments);
        }
        let replacement = self.text(&["$1", "x-$1", "${1}_$2", "$name", "", "fixed", "$$1", "$10"]);
        let regexes =
            ["(.*)", "host-(\\d+):(.*)", "(?P<name>.)(.*)", "", "a.i|web", "[", ".+", "(?i)(A)PI"];
        let source = self.text(&sources);
        let regex = self.text(&regexes);
        Expression::call(Vector, "label_replace", [of, target, replacement, source, regex])
    }

    fn histogram_quantile(&mut self, depth: u32) -> Expression {
        let quantile = self.parameter(QUANTILES, depth);
        let of = if self.one_in(2) { self.histograms(depth) } else { self.buckets(depth) };
        Expression::call(Vector, "histogram_quantile", [quantile, of])
    }

    fn histogram_fraction(&mut self, depth: u32) -> Expression {
        let bounds = ["0", "0.5", "1", "-Inf", "Inf", "2", "10", "NaN", "-1", "0.1", "0.0005"];
        let lower = self.parameter(&bounds, depth);
        let upper = self.parameter(&bounds, depth);
        let of = if self.one_in(3) { self.buckets(depth) } else { self.histograms(depth) };
        Expression::call(Vector, "histogram_fraction", [lower, upper, of])
    }

    fn quantile_over_time(&mut self, depth: u32) -> Expression {
        let quantile = self.parameter(QUANTILES, depth);
        let of = self.matrix(depth);
        Expression::call(Vector, "quantile_over_time", [quantile, of])
    }

    fn regression(&mut self, depth: u32) -> Expression {
        let of = if self.one_in(3) { self.matrix(depth) } else { self.matrix_among(GAUGES) };
        if self.one_in(2) {
            let ahead = self.parameter(&["60", "3600", "0", "-300", "1h", "NaN", "Inf"], depth);
            return Expression::call(Vector, "predict_linear", [of, ahead]);
        }
        let factors = ["0.5", "0.1", "0.9", "0.01", "1", "0", "NaN", "0.3"];
        let smoothing = self.parameter(&factors, depth);
        let trend = self.parameter(&factors, depth);
        Expression::call(Vector, "double_exponential_smoothing", [of, smoothing, trend])
    }

    /// Joins with series that tell about targets. Its first argument has no modifiers: to what they
    /// apply has changed since 3.5.
    fn info(&mut self) -> Expression {
        let of = match self.numbers.u8(0..3) {
            0 => self.plain_selector_among(GAUGES),
            1 => self.plain_selector_among(COUNTERS),
            _ => {
                let metric = self.pick(COUNTERS);
                let range = self.pick(RANGES);
                Expression::leaf(Vector, format!("rate({metric}[{range}])"))
            }
        };
        let matchers = [
            "",
            "",
            ", {cluster=\"east\"}",
            ", {os=~\".+\"}",
            ", {os!~\"win.*\"}",
            ", {__name__=\"build_info\"}",
            ", {__name__=~\".+_info\"}",
            ", {__name__=~\".+_info\", version=\"1.0\"}",
            ", {__name__!=\"target_info\"}",
            ", {nosuch=\"\"}",
            ", {nosuch=\"x\"}",
        ];
        let matchers = Piece::Optional(self.pick(&matchers).to_owned());
        Expression::new(Vector, ["info(".into(), of.into(), matchers, ")".into()])
    }

    fn sort_by_label(&mut self, depth: u32) -> Expression {
        let name = self.pick(&["sort_by_label", "sort_by_label_desc"]);
        let mut arguments = vec![self.vector(depth)];
        for _ in 0..self.numbers.u8(1..4) {
            let label = self.pick(LABELS).trim_matches('"').to_owned();
            arguments.push(Expression::leaf(Text, format!("{label:?}")));
        }
        Expression::call(Vector, name, arguments)
    }

    /// An operation on two numbers.
    pub(super) fn scalar_binary(&mut self, depth: u32) -> Expression {
        use crate::compare::vocabulary::{ARITHMETIC, COMPARISONS};
        let (left, right) = (self.parameter(NUMBERS, depth), self.parameter(NUMBERS, depth));
        let operator = match self.one_in(3) {
            true => format!(" {} bool ", self.pick(COMPARISONS)),
            false => format!(" {} ", self.pick(ARITHMETIC)),
        };
        let pieces = [left.bracketed().into(), operator.into(), right.bracketed().into()];
        Expression::new(Scalar, pieces)
    }
}
