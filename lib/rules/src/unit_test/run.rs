//! One test: series are loaded, rules evaluated, answers compared.

use std::{collections::VecDeque, time::Duration};

use narthex_model::{Labels, Timestamp, duration, quote};
use narthex_promql::{
    CancelToken, EvalOptions, Expr, ParseOptions, Sample, Steps, Value, VectorElement,
    conformance::{ScriptError, Storage, read_series},
    evaluate, parse, resolve,
};

use super::{
    check::{check_alerts, check_samples},
    file::{ExprCase, Test, TestFile},
};
use crate::{Expansion, Queries, Rule, RuleGroup, RuleState};

/// How expressions are read and evaluated.
#[derive(Debug, Clone, Copy)]
pub struct TestOptions {
    /// What expressions may use.
    pub parse: ParseOptions,
    /// Names that operations drop go when the query ends, not at once.
    pub delayed_name_removal: bool,
}

/// Runs a test of a file on these groups and returns what failed, as it is to be printed.
pub fn run(
    test: &Test,
    file: &TestFile,
    groups: &[RuleGroup],
    options: &TestOptions,
) -> Vec<String> {
    let series = match InputSeries::read(test) {
        Ok(series) => series,
        Err(error) => return vec![format!("    {error}{}", test.place())],
    };
    let mut run = Run {
        test,
        file,
        groups: ordered(groups, &file.group_eval_order),
        series,
        database: Database {
            storage: Storage::default(),
            options: *options,
            interval: file.evaluation_interval,
        },
        failures: Vec::new(),
    };
    if run.evaluate_rules() {
        run.check_exprs();
    }
    run.failures
}

/// A group and what its rules remember.
struct GroupRun<'a> {
    group: &'a RuleGroup,
    states: Vec<RuleState>,
}

/// Groups that the order does not name count as the first of it.
fn ordered<'a>(groups: &'a [RuleGroup], order: &[String]) -> Vec<GroupRun<'a>> {
    let place =
        |group: &RuleGroup| order.iter().position(|name| *name == group.name).unwrap_or_default();
    let mut sorted: Vec<&RuleGroup> = groups.iter().collect();
    sorted.sort_by_key(|group| place(group));
    let start = |group: &'a RuleGroup| GroupRun {
        group,
        states: group.rules.iter().map(|_| RuleState::default()).collect(),
    };
    sorted.into_iter().map(start).collect()
}

struct Run<'a> {
    test: &'a Test,
    file: &'a TestFile,
    groups: Vec<GroupRun<'a>>,
    series: InputSeries,
    database: Database,
    failures: Vec<String>,
}

impl Run<'_> {
    /// Evaluates all rules at every interval and compares alerts. `false` if a rule failed, which
    /// ends a test.
    fn evaluate_rules(&mut self) -> bool {
        let interval = self.file.evaluation_interval;
        let mut elapsed = Duration::ZERO;
        while elapsed <= self.test.length() {
            let now = self.test.start + elapsed;
            self.series.load_until(now, &mut self.database.storage);
            if !self.evaluate_groups(now, elapsed) {
                return false;
            }
            let cases = self.test.alerts.iter();
            for case in cases.filter(|case| (elapsed..elapsed + interval).contains(&case.eval_time))
            {
                let rules =
                    self.groups.iter().flat_map(|run| run.group.rules.iter().zip(&run.states));
                let alerts = rules
                    .filter(|(rule, _)| rule.name == case.alert_name)
                    .flat_map(|(_, state)| state.active_alerts());
                if let Err(failure) = check_alerts(case, alerts) {
                    self.failures.push(format!("{}{failure}", heading(self.test)));
                }
            }
            elapsed += interval;
        }
        let end = self.test.start + self.test.length();
        self.series.load_until(end, &mut self.database.storage);
        true
    }

    fn evaluate_groups(&mut self, now: Timestamp, elapsed: Duration) -> bool {
        let mut failures = Vec::new();
        for run in &mut self.groups {
            for (rule, state) in run.group.rules.iter().zip(&mut run.states) {
                let step = RuleStep { test: self.test, group: run.group, rule, now };
                if let Err(error) = step.evaluate(state, &mut self.database) {
                    let (name, time) = (&rule.name, duration::format(elapsed));
                    failures.push(format!("    rule: {name}, time: {time}, err: {error}"));
                }
            }
        }
        let all_passed = failures.is_empty();
        self.failures.extend(failures);
        all_passed
    }

    fn check_exprs(&mut self) {
        for case in &self.test.exprs {
            if let Err(failure) = self.check_expr(case) {
                let (expr, time) = (quote(&case.expr), duration::format(case.eval_time));
                self.failures.push(format!("    expr: {expr}, time: {time},{failure}"));
            }
        }
    }

    fn check_expr(&self, case: &ExprCase) -> Result<(), String> {
        let time = self.test.start + case.eval_time;
        let answer =
            self.database.query(&case.expr, time).map_err(|error| format!(" err: {error}"))?;
        check_samples(case, answer, self.file.fuzzy_compare)
    }
}

/// The first line of an alert's failure in a test that has a name.
fn heading(test: &Test) -> String {
    match test.name.as_str() {
        "" => String::new(),
        name => format!("    name: {name},\n"),
    }
}

/// One rule at one time.
struct RuleStep<'a> {
    test: &'a Test,
    group: &'a RuleGroup,
    rule: &'a Rule,
    now: Timestamp,
}

impl RuleStep<'_> {
    /// Evaluates the rule and stores its samples.
    fn evaluate(&self, state: &mut RuleState, database: &mut Database) -> Result<(), String> {
        let time = self.now - self.group.query_offset.unwrap_or_default();
        let answer = database.evaluate(self.rule.expr.clone(), &self.rule.query, time)?;
        let expansion = Expansion {
            time: self.now,
            external_labels: &self.test.external_labels,
            external_url: &self.test.external_url,
            queries: &*database,
        };
        let samples = state
            .evaluate(self.group, self.rule, answer, &expansion)
            .map_err(|error| error.to_string())?;
        for (labels, sample) in samples {
            database.storage.append(&labels, time, sample);
        }
        Ok(())
    }
}

/// Series in memory, and how to ask for them.
struct Database {
    storage: Storage,
    options: TestOptions,
    /// The step of subqueries that have none.
    interval: Duration,
}

impl Database {
    fn evaluate(
        &self,
        expr: Expr,
        query: &str,
        time: Timestamp,
    ) -> Result<Vec<VectorElement>, String> {
        let steps = Steps { start: time, end: time, step_millis: 0 };
        let expr = resolve(expr, query, &steps).map_err(|error| error.to_string())?;
        let options = EvalOptions {
            subquery_step: self.interval,
            has_delayed_name_removal: self.options.delayed_name_removal,
            ..EvalOptions::new(steps)
        };
        let answer = evaluate(&expr, &options, &self.storage, &CancelToken::new());
        match answer.map_err(|error| error.to_string())?.value {
            Value::Vector(elements) => Ok(elements),
            Value::Scalar(point) => Ok(vec![VectorElement {
                labels: Labels::empty(),
                timestamp: point.timestamp,
                sample: Sample::Float(point.value),
            }]),
            Value::String(_) | Value::Matrix(_) => {
                Err("rule result is not a vector or scalar".to_owned())
            }
        }
    }
}

impl Queries for Database {
    fn query(&self, query: &str, time: Timestamp) -> Result<Vec<VectorElement>, String> {
        let expr = parse(query, &self.options.parse).map_err(|error| error.to_string())?;
        self.evaluate(expr, query, time)
    }
}

/// Samples that are not loaded yet: an evaluation must not see what comes later.
struct InputSeries(Vec<(Labels, VecDeque<(Timestamp, Sample)>)>);

impl InputSeries {
    fn read(test: &Test) -> Result<Self, ScriptError> {
        let mut all = Vec::with_capacity(test.input_series.len());
        for (series, values) in &test.input_series {
            let noted = read_series(series, values)?;
            let steps = (0..).map(|step| test.start + test.interval * step);
            let present = steps.zip(noted.values);
            let samples = present.filter_map(|(time, value)| Some((time, value?)));
            all.push((noted.labels, samples.collect()));
        }
        Ok(Self(all))
    }

    fn load_until(&mut self, now: Timestamp, storage: &mut Storage) {
        for (labels, samples) in &mut self.0 {
            while samples.front().is_some_and(|(time, _)| *time <= now) {
                let Some((time, sample)) = samples.pop_front() else { break };
                storage.append(labels, time, sample);
            }
        }
    }
}
