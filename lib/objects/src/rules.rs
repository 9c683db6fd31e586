//! Rule groups out of `PrometheusRule` objects.

use std::collections::BTreeSet;

use narthex_cluster::{Object, ObjectKey, Objects};
use narthex_model::Matcher;
use narthex_promql::{Expr, ExprKind, ParseOptions, parse};
use narthex_rules::RuleFile;
use serde_json::{Value, json};

use crate::{
    Kind, Rejected,
    generate::{of_kind, spec},
    select::{Namespaces, is_selected},
    types::PrometheusSpec,
};

/// The rules of one object.
#[derive(Debug, Clone)]
pub struct NamedRuleFile {
    /// Such as `NAMESPACE/NAME`: what stands in the place of a file's path.
    pub name: String,
    /// What it was made of.
    pub object: ObjectKey,
    /// Its groups, as a rule file has them.
    pub text: String,
    /// The same, read.
    pub file: RuleFile,
}

/// The rule groups of all `PrometheusRule`s that a `Prometheus` selects, by namespace and name, and
/// the objects that cannot be used. An object that two of them select is there once, for the first.
pub fn rule_files(objects: &Objects) -> (Vec<NamedRuleFile>, Vec<Rejected>) {
    let namespaces = Namespaces::of(objects);
    let (mut files, mut rejected, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for prometheus in of_kind(objects, Kind::Prometheus) {
        // One that is not readable is told of where its jobs are made.
        let Ok(selecting) = spec::<PrometheusSpec>(prometheus) else { continue };
        let selectors =
            (selecting.rule_selector.as_ref(), selecting.rule_namespace_selector.as_ref());
        for object in of_kind(objects, Kind::PrometheusRule) {
            let own = &prometheus.key.namespace;
            if !is_selected(&namespaces, selectors, own, object) || !seen.insert(&object.key) {
                continue;
            }
            match rule_file(object, &selecting) {
                Ok(file) => files.push(file),
                Err(reason) => rejected.push(Rejected {
                    object: object.key.clone(),
                    by: prometheus.key.clone(),
                    reason,
                }),
            }
        }
    }
    files.sort_by(|a, b| a.object.cmp(&b.object));
    (files, rejected)
}

fn rule_file(object: &Object, selecting: &PrometheusSpec) -> Result<NamedRuleFile, String> {
    let mut spec: Value = spec(object)?;
    let groups = spec["groups"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let enforced = enforced_label(object, selecting);
    let groups: Result<Vec<Value>, String> =
        groups.into_iter().map(|group| written_group(group, enforced)).collect();
    let text = json!({ "groups": groups? }).to_string();
    let file = RuleFile::parse(&text, &ParseOptions::default()).map_err(|problems| {
        let texts: Vec<_> = problems.iter().map(|problem| problem.message()).collect();
        format!("spec: {}", texts.join("; "))
    })?;
    let name = format!("{}/{}", object.key.namespace, object.key.name);
    Ok(NamedRuleFile { name, object: object.key.clone(), text, file })
}

/// The label that rules of this object get and may look at, with its value.
fn enforced_label<'a>(
    object: &'a Object,
    selecting: &'a PrometheusSpec,
) -> Option<(&'a str, &'a str)> {
    let (label, key) = (selecting.enforced_namespace_label.as_str(), &object.key);
    let is_excluded = selecting.excluded_from_enforcement.iter().any(|it| {
        it.resource == "prometheusrules"
            && it.namespace == key.namespace
            && (it.name.is_empty() || it.name == key.name)
    }) || selecting
        .prometheus_rules_excluded_from_enforce
        .iter()
        .any(|it| it.rule_namespace == key.namespace && it.rule_name == key.name);
    (!label.is_empty() && !is_excluded).then_some((label, key.namespace.as_str()))
}

/// A group as a rule file has it.
fn written_group(mut group: Value, enforced: Option<(&str, &str)>) -> Result<Value, String> {
    let rules = group["rules"].as_array_mut().map(std::mem::take).unwrap_or_default();
    if let Some(fields) = group.as_object_mut() {
        // It is Thanos's.
        fields.remove("partial_response_strategy");
    }
    let mut written = Vec::with_capacity(rules.len());
    for rule in &rules {
        let mut rule = written_rule(rule);
        if let Some((label, namespace)) = enforced {
            enforce(&mut rule, label, namespace)?;
        }
        written.push(rule);
    }
    group["rules"] = written.into();
    Ok(group)
}

/// A rule as a rule file has it: its expression is a text, also where it is only a number.
pub(crate) fn written_rule(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(number) = rule["expr"].as_i64() {
        rule["expr"] = number.to_string().into();
    }
    rule
}

/// Lets a rule see and bring forth only series of its namespace.
fn enforce(rule: &mut Value, label: &str, namespace: &str) -> Result<(), String> {
    let text = rule["expr"].as_str().unwrap_or_default();
    let mut expr =
        parse(text, &ParseOptions::default()).map_err(|error| format!("spec: {error}"))?;
    narrow(&mut expr, &Matcher::equal(label, namespace));
    rule["expr"] = expr.to_string().into();
    if rule["labels"].is_null() {
        rule["labels"] = json!({});
    }
    rule["labels"][label] = namespace.into();
    Ok(())
}

/// Adds the matcher to every selector, in the place of others about its label.
fn narrow(expr: &mut Expr, matcher: &Matcher) {
    let selector = match &mut expr.kind {
        ExprKind::Selector(selector) => Some(selector),
        ExprKind::Matrix(matrix) => Some(&mut matrix.selector),
        _ => None,
    };
    if let Some(selector) = selector {
        selector.matchers.retain(|it| it.name() != matcher.name());
        // The last one is that of the metric's name, where one stands in front.
        selector.matchers.insert(0, matcher.clone());
    }
    for child in expr.children_mut() {
        narrow(child, matcher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enforced_label_narrows_every_selector_and_marks_the_rule() {
        let mut rule = json!({
            "record": "a",
            "expr": "sum(rate(x{namespace=\"other\", a!=\"b\"}[5m])) / on() y offset 5m",
        });
        enforce(&mut rule, "namespace", "web").expect("valid");
        let expr = rule["expr"].as_str().expect("a text");
        assert_eq!(
            expr,
            "sum(rate(x{a!=\"b\",namespace=\"web\"}[5m])) / on () y{namespace=\"web\"} offset 5m"
        );
        assert_eq!(rule["labels"], json!({ "namespace": "web" }));
        assert!(enforce(&mut json!({ "expr": "sum(" }), "namespace", "web").is_err());
    }
}
