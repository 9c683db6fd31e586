//! What expressions are made of: names of the functions and operators of Prometheus 3.5, and of what
//! [`super::data`] makes.

/// Functions of one number, or of one native histogram, that take a vector.
pub const ELEMENT_FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "deg",
    "rad",
    "round",
    "sort",
    "sort_desc",
    "timestamp",
    "absent",
];

/// Functions of a native histogram.
pub const HISTOGRAM_FUNCTIONS: &[&str] =
    &["histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"];

/// Functions of a time, which may be left out.
pub const DATE_FUNCTIONS: &[&str] = &[
    "minute",
    "hour",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
];

/// Functions of a range of a counter.
pub const COUNTER_FUNCTIONS: &[&str] = &["rate", "increase", "irate", "resets"];

/// Functions of a range of anything.
pub const RANGE_FUNCTIONS: &[&str] = &[
    "delta",
    "idelta",
    "deriv",
    "changes",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "present_over_time",
    "last_over_time",
    "absent_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "mad_over_time",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
];

/// Functions with arguments of their own, each with a rule in the grammar.
pub const OTHER_FUNCTIONS: &[&str] = &[
    "clamp",
    "clamp_min",
    "clamp_max",
    "label_replace",
    "label_join",
    "histogram_quantile",
    "histogram_fraction",
    "quantile_over_time",
    "predict_linear",
    "double_exponential_smoothing",
    "info",
    "sort_by_label",
    "sort_by_label_desc",
    "vector",
    "scalar",
    "pi",
    "time",
];

/// Aggregations without a parameter.
pub const PLAIN_AGGREGATIONS: &[&str] =
    &["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];

/// Aggregations with one.
pub const OTHER_AGGREGATIONS: &[&str] =
    &["quantile", "count_values", "topk", "bottomk", "limitk", "limit_ratio"];

/// Operators that calculate.
pub const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];

/// Operators that compare.
pub const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];

/// Operators on sets of label sets.
pub const SET_OPERATORS: &[&str] = &["and", "or", "unless"];

/// Numbers as parameters and operands.
pub const NUMBERS: &[&str] = &[
    "0", "1", "2", "3", "10", "100", "1e3", "0x1F", "0.5", "0.1", "-1", "-0.5", "1.5", "NaN",
    "Inf", "-Inf", "1e-3", "5m", "1_000",
];

/// What a quantile is asked for.
pub const QUANTILES: &[&str] =
    &["0", "0.1", "0.5", "0.9", "0.99", "1", "-0.1", "1.1", "NaN", "-Inf", "Inf", "0.25"];

/// Lengths of ranges and subqueries.
pub const RANGES: &[&str] =
    &["30s", "1m", "90s", "2m", "5m", "5m1s", "10m", "37s", "1h", "20m", "6m", "2h", "1s"];

/// Steps of subqueries; none is the default.
pub const STEPS: &[&str] = &["", "30s", "1m", "37s", "2m", "5m", "15s"];

/// How far back, or ahead.
pub const OFFSETS: &[&str] = &["1m", "5m", "-1m", "10m", "1h", "37s", "-10m", "1s", "25m", "-37s"];

/// Counters with resets: each has a series of every target, or several.
pub const COUNTERS: &[&str] = &[
    "http_requests_total",
    "http_requests_total",
    "request_seconds_count",
    "request_seconds_sum",
    "orders_total",
    "ticks",
    "short_lived_total",
    "dup_a_total",
];

/// Numbers that go up and down: each has one series of a target.
pub const GAUGES: &[&str] = &["temperature", "temperature", "queue_length", "up", "load"];

/// Native histograms.
pub const NATIVES: &[&str] =
    &["latency", "latency_gauge", "size", "size", "latency_float", "latency_nan", "latency_gone"];

/// Whatever else there is.
pub const OTHERS: &[&str] = &[
    "mixed",
    "created_seconds",
    "build_info",
    "target_info",
    "request_seconds_bucket",
    "size_other",
    "job_only",
    "instance_only",
    "cafe_orders",
    "{\"http.latency\"}",
    "{\"http.latency\",\"service.name\"=\"shop\"}",
    "{__name__=~\"dup_.*\"}",
    "{__name__=~\"temp.+|queue_length\"}",
    "{__name__=~\".+_total\",job=\"api\"}",
    "{__name__!~\"http.*|request.*|latency.*|size.*\",job=\"web\"}",
    "{job=~\".+\",zone=\"north\"}",
    "nothing",
];

/// Labels to group, match and sort by.
pub const LABELS: &[&str] = &[
    "job",
    "job",
    "instance",
    "instance",
    "code",
    "method",
    "zone",
    "le",
    "version",
    "nosuch",
    "__name__",
    "\"service.name\"",
    "city",
];

/// Conditions on labels, among them those where RE2 is not like other languages of expressions.
pub const MATCHERS: &[&str] = &[
    "job=\"api\"",
    "job!=\"db\"",
    "job=~\"a.*|web\"",
    "job!~\"d.\"",
    "job=~\"api|\"",
    "job=~\"\"",
    "job=~\".*\"",
    "job=~\".+\"",
    "job!~\".+\"",
    "job=~\"^api$\"",
    "job=~\"(?i)API\"",
    "job=~\"(?s)a.i\"",
    "job=~\"[[:alpha:]]{2}\"",
    "job=~`\\pL+`",
    "job=~`\\w{3}`",
    "job=~`\\Qapi\\E`",
    "job=~\"(api|db)\"",
    "job=~\"ap[h-j]\"",
    "job=~\"a(?:p|x)i\"",
    "job=~\"a(?P<p>p)i\"",
    "job=~\"a(p\"",
    "job=~\"a(?=p)pi\"",
    "instance=\"host-1:9100\"",
    "instance=~\"host-[12].*\"",
    "instance!~\"host-(1|3):.*\"",
    "instance=~`host-\\d:9100`",
    "instance!=\"\"",
    "instance=\"\"",
    "zone=\"\"",
    "zone!=\"\"",
    "zone=~\"n?orth|\"",
    "code=\"500\"",
    "code=~\"5..\"",
    "code!~\"[25].*\"",
    "method=~\"(?i:get)\"",
    "nosuch=~\".*\"",
    "nosuch!=\"x\"",
    "le=\"+Inf\"",
    "le=~\"0.*\"",
    "city=~\"M.nchen\"",
    "city=~`\\p{Han}+`",
    "\"service.name\"!=\"\"",
];

/// Everything by name, as it stands in an expression, for a test of the generator.
pub fn all_names() -> Vec<String> {
    let functions = [
        ELEMENT_FUNCTIONS,
        HISTOGRAM_FUNCTIONS,
        DATE_FUNCTIONS,
        COUNTER_FUNCTIONS,
        RANGE_FUNCTIONS,
        OTHER_FUNCTIONS,
    ];
    let functions = functions.concat().into_iter().map(|name| format!("{name}("));
    let aggregations = [PLAIN_AGGREGATIONS, OTHER_AGGREGATIONS].concat();
    let aggregations = aggregations.into_iter().map(|name| format!("{name} by ("));
    let operators = [ARITHMETIC, COMPARISONS, SET_OPERATORS].concat();
    let operators = operators.into_iter().map(|operator| format!(" {operator} "));
    functions.chain(aggregations).chain(operators).collect()
}
