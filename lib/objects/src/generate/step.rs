//! Steps of relabelling in Prometheus's spelling.

use serde::Serialize;

use crate::types::{LabelSelector, Relabeling};

/// An entry of `relabel_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Step {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    regex: String,
    #[serde(skip_serializing_if = "is_zero")]
    modulus: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    target_label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    action: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Step {
    /// The same with this between the sources.
    pub(super) fn joined_by(self, separator: &str) -> Self {
        Self { separator: Some(separator.to_owned()), ..self }
    }

    /// The same with this written into the target.
    pub(super) fn replaced_by(self, replacement: &str) -> Self {
        Self { replacement: Some(replacement.to_owned()), ..self }
    }
}

/// `source` becomes `target`.
pub(super) fn copy(source: &str, target: &str) -> Step {
    Step {
        source_labels: vec![source.to_owned()],
        target_label: target.to_owned(),
        ..Step::default()
    }
}

/// `source` becomes `target` where it is not empty.
pub(super) fn copy_given(source: &str, target: &str) -> Step {
    copy_matching(&[source], "(.+)", target)
}

/// What the first group of `regex` catches becomes `target`.
pub(super) fn copy_matching(sources: &[&str], regex: &str, target: &str) -> Step {
    Step {
        source_labels: sources.iter().map(|&source| source.to_owned()).collect(),
        regex: regex.to_owned(),
        target_label: target.to_owned(),
        replacement: Some("${1}".to_owned()),
        ..Step::default()
    }
}

/// `target` becomes a fixed text.
pub(super) fn set(target: &str, text: impl Into<String>) -> Step {
    Step { target_label: target.to_owned(), replacement: Some(text.into()), ..Step::default() }
}

/// Sources are joined and matched; what fills `replacement` becomes `target`.
pub(super) fn replace(sources: &[&str], regex: &str, target: &str, replacement: &str) -> Step {
    Step { replacement: Some(replacement.to_owned()), ..copy_matching(sources, regex, target) }
}

pub(super) fn keep(sources: &[&str], regex: impl Into<String>) -> Step {
    filter("keep", sources, regex)
}

pub(super) fn drop(sources: &[&str], regex: impl Into<String>) -> Step {
    filter("drop", sources, regex)
}

fn filter(action: &str, sources: &[&str], regex: impl Into<String>) -> Step {
    Step {
        source_labels: sources.iter().map(|&source| source.to_owned()).collect(),
        regex: regex.into(),
        action: action.to_owned(),
        ..Step::default()
    }
}

/// The name of the job before any step: the Operator keeps it for users' rules.
pub(super) fn keep_job_name() -> Step {
    copy("job", "__tmp_prometheus_job_name")
}

/// A selector of labels whose names in discovery begin with `prefix`, such as `service`. Values
/// are patterns there, as the Operator writes them.
pub(super) fn selected(prefix: &str, selector: &LabelSelector) -> Vec<Step> {
    let names = |label: &str| {
        let label = crate::targets::sanitized(label);
        let value = format!("__meta_kubernetes_{prefix}_label_{label}");
        (value, format!("__meta_kubernetes_{prefix}_labelpresent_{label}"))
    };
    let mut steps = Vec::new();
    for (label, wanted) in &selector.match_labels {
        let (value, present) = names(label);
        steps.push(keep(&[&value, &present], format!("({wanted});true")));
    }
    for expression in &selector.match_expressions {
        let (value, present) = names(&expression.key);
        let any = format!("({});true", expression.values.join("|"));
        match expression.operator.as_str() {
            "In" => steps.push(keep(&[&value, &present], any)),
            "NotIn" => steps.push(drop(&[&value, &present], any)),
            "Exists" => steps.push(keep(&[&present], "true")),
            "DoesNotExist" => steps.push(drop(&[&present], "true")),
            // Checked before it was stored.
            _ => {}
        }
    }
    steps
}

impl From<&Relabeling> for Step {
    fn from(rule: &Relabeling) -> Self {
        Self {
            source_labels: rule.source_labels.clone(),
            separator: rule.separator.clone(),
            regex: rule.regex.clone(),
            modulus: rule.modulus,
            target_label: rule.target_label.clone(),
            replacement: rule.replacement.clone(),
            action: rule.action.to_lowercase(),
        }
    }
}
