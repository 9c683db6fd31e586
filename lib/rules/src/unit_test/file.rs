//! The file of a unit test.

use std::{collections::BTreeMap, time::Duration};

use narthex_model::Timestamp;
use narthex_yaml::{Fields, Node, Problem, decode};

/// Pause between two evaluations, where a file gives none.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(60);

/// A file of tests.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// Patterns of rule files, from the test file's folder.
    pub rule_files: Vec<String>,
    /// Pause between two evaluations of all rules. Default 1m.
    pub evaluation_interval: Duration,
    /// Groups in the order in which they are evaluated, others among the first.
    pub group_eval_order: Vec<String>,
    /// Whether numbers may differ in their last bit.
    pub fuzzy_compare: bool,
    /// The tests.
    pub tests: Vec<Test>,
}

/// Series, and what follows from them.
#[derive(Debug, Clone)]
pub struct Test {
    /// What failures are reported under; may be empty.
    pub name: String,
    /// Pause between two values of a series. Default the evaluation interval.
    pub interval: Duration,
    /// The time of the first value and of the first evaluation. Default the epoch.
    pub start: Timestamp,
    /// Series and their values, in the notation of conformance scripts.
    pub input_series: Vec<(String, String)>,
    /// Alerts that fire.
    pub alerts: Vec<AlertCase>,
    /// Expressions and their answers.
    pub exprs: Vec<ExprCase>,
    /// For templates.
    pub external_labels: BTreeMap<String, String>,
    /// For templates.
    pub external_url: String,
}

/// Which alerts of one name fire at one time: these and no others.
#[derive(Debug, Clone)]
pub struct AlertCase {
    /// Behind the start.
    pub eval_time: Duration,
    /// The alerts' name.
    pub alert_name: String,
    /// The alerts.
    pub expected: Vec<ExpectedAlert>,
}

/// An alert that fires.
#[derive(Debug, Clone)]
pub struct ExpectedAlert {
    /// All labels but the alert's name.
    pub labels: BTreeMap<String, String>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What an expression answers at one time.
#[derive(Debug, Clone)]
pub struct ExprCase {
    /// The expression.
    pub expr: String,
    /// Behind the start.
    pub eval_time: Duration,
    /// The samples, in any order.
    pub expected: Vec<ExpectedSample>,
}

/// A sample of an answer.
#[derive(Debug, Clone)]
pub struct ExpectedSample {
    /// The series, as it is written.
    pub labels: String,
    /// Its value, where it is no histogram.
    pub value: f64,
    /// A histogram in the notation of conformance scripts; empty for a number.
    pub histogram: String,
}

impl TestFile {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let root = narthex_yaml::parse(text)?;
        let mut fields = Fields::open(&root, "main.unitTestFile")?;
        let evaluation_interval =
            period(&mut fields, "evaluation_interval")?.unwrap_or(EVALUATION_INTERVAL);
        let read_test = |node: &Node| test(node, evaluation_interval);
        let file = Self {
            rule_files: fields.read("rule_files", names)?.unwrap_or_default(),
            evaluation_interval,
            group_eval_order: fields.read("group_eval_order", names)?.unwrap_or_default(),
            fuzzy_compare: fields.read("fuzzy_compare", decode::truth)?.unwrap_or(false),
            tests: fields.read("tests", |node| decode::list(node, read_test))?.unwrap_or_default(),
        };
        fields.finish()?;
        let order = &file.group_eval_order;
        match order.iter().enumerate().find(|(at, name)| order[..*at].contains(name)) {
            None => Ok(file),
            Some((_, name)) => {
                Err(Problem::new(format!("group name repeated in evaluation order: {name}")))
            }
        }
    }
}

impl Test {
    /// Where the test is, for messages without another place.
    pub(super) fn place(&self) -> String {
        match self.name.as_str() {
            "" => String::new(),
            name => format!(" (in TestGroup {name})"),
        }
    }

    /// How long after the start the last case is.
    pub(super) fn length(&self) -> Duration {
        let alerts = self.alerts.iter().map(|case| case.eval_time);
        alerts.chain(self.exprs.iter().map(|case| case.eval_time)).max().unwrap_or_default()
    }
}

fn names(node: &Node) -> Result<Vec<String>, Problem> {
    decode::list(node, decode::text)
}

/// A duration other than zero.
fn period(fields: &mut Fields<'_>, key: &str) -> Result<Option<Duration>, Problem> {
    Ok(fields.read(key, decode::period)?.filter(|period| !period.is_zero()))
}

fn test(node: &Node, evaluation_interval: Duration) -> Result<Test, Problem> {
    let mut fields = Fields::open(node, "main.testGroup")?;
    let test = Test {
        name: fields.read("name", decode::text)?.unwrap_or_default(),
        interval: period(&mut fields, "interval")?.unwrap_or(evaluation_interval),
        start: fields.read("start_timestamp", start)?.unwrap_or_default(),
        input_series: fields
            .read("input_series", |node| decode::list(node, input_series))?
            .unwrap_or_default(),
        alerts: fields
            .read("alert_rule_test", |node| decode::list(node, alert_case))?
            .unwrap_or_default(),
        exprs: fields
            .read("promql_expr_test", |node| decode::list(node, expr_case))?
            .unwrap_or_default(),
        external_labels: texts(&mut fields, "external_labels")?,
        external_url: fields.read("external_url", decode::text)?.unwrap_or_default(),
    };
    let line = fields.line;
    fields.finish()?;
    if let Some(case) = test.alerts.iter().find(|case| case.alert_name.is_empty()) {
        let time = narthex_model::duration::format(case.eval_time);
        let message = "an item under alert_rule_test misses required attribute alertname";
        return Err(Problem::at(line, format!("{message} at eval_time {time}{}", test.place())));
    }
    Ok(test)
}

/// A time in RFC 3339, or seconds since the epoch.
fn start(node: &Node) -> Result<Timestamp, Problem> {
    let text = decode::text(node)?;
    let millis = match text.parse::<jiff::Timestamp>() {
        Ok(time) => Some(time.as_millisecond()),
        Err(_) => decode::float(node)
            .ok()
            .map(|seconds| (seconds * 1000.0).round())
            .filter(|millis| millis.abs() < 9.0e15)
            .map(|millis| millis as i64),
    };
    let message = || format!("start_timestamp: {text:?} is neither a time nor a number of seconds");
    millis.map(Timestamp::from_millis).ok_or_else(|| Problem::at(node.line, message()))
}

fn texts(fields: &mut Fields<'_>, key: &str) -> Result<BTreeMap<String, String>, Problem> {
    let pairs = fields.read(key, |node| decode::map(node, decode::text))?;
    Ok(pairs.unwrap_or_default().into_iter().collect())
}

fn input_series(node: &Node) -> Result<(String, String), Problem> {
    let mut fields = Fields::open(node, "main.series")?;
    let series = fields.read("series", decode::text)?.unwrap_or_default();
    let values = fields.read("values", decode::text)?.unwrap_or_default();
    fields.finish()?;
    Ok((series, values))
}

fn alert_case(node: &Node) -> Result<AlertCase, Problem> {
    let mut fields = Fields::open(node, "main.alertTestCase")?;
    let case = AlertCase {
        eval_time: fields.read("eval_time", decode::period)?.unwrap_or_default(),
        alert_name: fields.read("alertname", decode::text)?.unwrap_or_default(),
        expected: fields
            .read("exp_alerts", |node| decode::list(node, expected_alert))?
            .unwrap_or_default(),
    };
    fields.finish()?;
    Ok(case)
}

fn expected_alert(node: &Node) -> Result<ExpectedAlert, Problem> {
    let mut fields = Fields::open(node, "main.alert")?;
    let labels = texts(&mut fields, "exp_labels")?;
    let annotations = texts(&mut fields, "exp_annotations")?;
    fields.finish()?;
    Ok(ExpectedAlert { labels, annotations })
}

fn expr_case(node: &Node) -> Result<ExprCase, Problem> {
    let mut fields = Fields::open(node, "main.promqlTestCase")?;
    let case = ExprCase {
        expr: fields.read("expr", decode::text)?.unwrap_or_default(),
        eval_time: fields.read("eval_time", decode::period)?.unwrap_or_default(),
        expected: fields
            .read("exp_samples", |node| decode::list(node, expected_sample))?
            .unwrap_or_default(),
    };
    fields.finish()?;
    Ok(case)
}

fn expected_sample(node: &Node) -> Result<ExpectedSample, Problem> {
    let mut fields = Fields::open(node, "main.sample")?;
    let sample = ExpectedSample {
        labels: fields.read("labels", decode::text)?.unwrap_or_default(),
        value: fields.read("value", decode::float)?.unwrap_or(0.0),
        histogram: fields.read("histogram", decode::text)?.unwrap_or_default(),
    };
    fields.finish()?;
    Ok(sample)
}
