//! What `info` knows of labels: which series enrich, which are enriched, and with what.

use narthex_model::{INSTANCE, InvalidRegex, JOB, Labels, METRIC_NAME, MatchOp, Matcher};

use crate::{
    ast::{Expr, ExprKind},
    eval::EvalError,
};

/// The info metric without a second argument.
const DEFAULT_INFO_METRIC: &str = "target_info";
/// The labels that say which target a series is from.
const IDENTIFYING: [&str; 2] = [INSTANCE, JOB];

/// The second argument of `info`, understood.
pub(crate) struct InfoSelector {
    /// Conditions on the info metric's name. All hold.
    name: Vec<Matcher>,
    /// Conditions on data labels. Their names are the labels that are taken over; without any,
    /// all are.
    data: Vec<Matcher>,
}

impl InfoSelector {
    /// From the second argument, if there is one.
    pub fn new(arg: Option<&Expr>) -> Self {
        let matchers: &[Matcher] = match arg.map(|arg| &arg.unwrapped().kind) {
            Some(ExprKind::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (mut name, data): (Vec<_>, Vec<_>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let is_positive =
            |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        if name.is_empty() {
            name.push(Matcher::equal(METRIC_NAME, DEFAULT_INFO_METRIC));
        } else if !name.iter().any(is_positive) {
            let any_info = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info");
            name.push(any_info.expect("a valid regex"));
        }
        Self { name, data }
    }

    /// Whether a series is an info metric itself, which is not enriched.
    pub fn is_info_metric(&self, labels: &Labels) -> bool {
        let name = labels.metric_name().unwrap_or("");
        self.name.iter().all(|matcher| matcher.matches(name))
    }

    /// Whether a series that nothing enriches stays.
    pub fn keeps_unmatched(&self) -> bool {
        self.data.iter().all(Matcher::matches_empty)
    }

    /// The conditions on info series that can enrich one of `vector`.
    pub fn matchers<'v>(
        &self,
        vector: impl Iterator<Item = &'v Labels> + Clone,
    ) -> Result<Vec<Matcher>, InvalidRegex> {
        let mut matchers: Vec<Matcher> = self.name.iter().chain(&self.data).cloned().collect();
        for label in IDENTIFYING {
            let mut values: Vec<&str> = vector.clone().map(|labels| labels.value(label)).collect();
            values.sort_unstable();
            values.dedup();
            let escaped: Vec<String> = values.iter().map(|value| escape(value)).collect();
            matchers.push(Matcher::new(MatchOp::Regex, label, escaped.join("|"))?);
        }
        Ok(matchers)
    }

    /// What identifies the target of a series; `None` if it says nothing.
    pub fn target(labels: &Labels) -> Option<Labels> {
        let target = labels.filtered(|name| IDENTIFYING.contains(&name));
        (!target.is_empty()).then_some(target)
    }

    /// Adds the data labels of info series to `base`, which keeps what it has. Fails if two info
    /// series disagree.
    pub fn enrich<'i>(
        &self,
        base: &Labels,
        infos: impl Iterator<Item = &'i Labels>,
    ) -> Result<Labels, EvalError> {
        let mut builder = base.to_builder();
        for info in infos {
            for (name, value) in info.iter().filter(|(name, _)| self.takes(name)) {
                if base.get(name).is_some() {
                    continue;
                }
                let known = builder.value(name);
                if !known.is_empty() && known != value {
                    return Err(EvalError::Match(format!("conflicting label: {name}")));
                }
                builder.set(name, value);
            }
        }
        Ok(builder.build())
    }

    fn takes(&self, name: &str) -> bool {
        let is_data = !IDENTIFYING.contains(&name) && !crate::eval::NAME_LABELS.contains(&name);
        is_data && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == name))
    }
}

/// Escapes what means something in a regex.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if r"\.+*?()|[]{}^$".contains(char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
