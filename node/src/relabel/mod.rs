//! Relabelling: rules that rewrite a label set or drop it, with the meaning Prometheus gives them.
//!
//! Regular expressions and their replacements follow Go. A label set is rewritten rule by rule,
//! each rule seeing what the ones before it left.
//!
//! There is no knowledge here of what the labels belong to: targets and samples use the same
//! rules.

use md5::{Digest as _, Md5};
use narthex_model::{InvalidRegex, LabelsBuilder, Regex};

use crate::config::{RelabelAction, RelabelConfig};

/// Compiled rules, in order.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    config: RelabelConfig,
    regex: Regex,
    /// The rule writes a fixed text for an empty source, whatever the regex: no match is needed.
    is_constant: bool,
}

impl Rules {
    /// Compiles the regular expressions.
    pub fn compile(configs: &[RelabelConfig]) -> Result<Self, InvalidRegex> {
        configs.iter().map(Rule::compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Rewrites `labels`. False means that they are dropped, with some rules applied.
    #[must_use]
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        self.0.iter().all(|rule| rule.apply(labels))
    }
}

impl Rule {
    fn compile(config: &RelabelConfig) -> Result<Self, InvalidRegex> {
        let has_variable = |template: &str| template.contains('$');
        Ok(Self {
            regex: Regex::new(&config.regex)?,
            is_constant: config.regex == RelabelConfig::default().regex
                && !has_variable(&config.target_label)
                && !has_variable(&config.replacement),
            config: config.clone(),
        })
    }

    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let config = &self.config;
        match config.action {
            RelabelAction::Replace => self.replace(labels),
            RelabelAction::Keep => return self.regex.is_match(&self.source(labels)),
            RelabelAction::Drop => return !self.regex.is_match(&self.source(labels)),
            RelabelAction::KeepEqual => {
                return labels.value(&config.target_label) == self.source(labels);
            }
            RelabelAction::DropEqual => {
                return labels.value(&config.target_label) != self.source(labels);
            }
            RelabelAction::HashMod => {
                let hash = hash_modulo(&self.source(labels), config.modulus);
                labels.set(&config.target_label, hash.to_string());
            }
            RelabelAction::LabelMap => self.map_names(labels),
            RelabelAction::LabelDrop => {
                labels.retain(|name, _| !self.regex.is_match(name));
            }
            RelabelAction::LabelKeep => {
                labels.retain(|name, _| self.regex.is_match(name));
            }
            RelabelAction::Lowercase => {
                let text = self.source(labels).chars().map(to_lower).collect::<String>();
                labels.set(&config.target_label, text);
            }
            RelabelAction::Uppercase => {
                let text = self.source(labels).chars().map(to_upper).collect::<String>();
                labels.set(&config.target_label, text);
            }
        }
        true
    }

    /// The values of the source labels with the separator between them.
    fn source(&self, labels: &LabelsBuilder) -> String {
        let mut joined = String::new();
        for (at, name) in self.config.source_labels.iter().enumerate() {
            if at > 0 {
                joined.push_str(&self.config.separator);
            }
            joined.push_str(labels.value(name));
        }
        joined
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let config = &self.config;
        let source = self.source(labels);
        if self.is_constant && source.is_empty() {
            labels.set(&config.target_label, config.replacement.as_str());
            return;
        }
        let Some(target) = self.regex.expand(&config.target_label, &source) else { return };
        if target.is_empty() {
            return;
        }
        if let Some(value) = self.regex.expand(&config.replacement, &source) {
            labels.set(&target, value);
        }
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter_map(|(name, value)| {
                let to = self.regex.expand(&self.config.replacement, name)?;
                Some((to, value.to_owned()))
            })
            .collect();
        for (name, value) in mapped {
            labels.set(&name, value);
        }
    }
}

/// The last eight bytes of MD5, modulo: equal to what Prometheus computes, so that a fleet can be
/// divided between both.
fn hash_modulo(text: &str, modulus: u64) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    let mut last = [0; 8];
    last.copy_from_slice(&digest[8..]);
    u64::from_be_bytes(last).checked_rem(modulus).unwrap_or(0)
}

/// Go maps one character to one character; Rust's full mapping may give several.
fn to_lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        // U+0130, the only one with two: its simple mapping is the plain letter.
        (Some(first), Some(_)) => first,
        (None, _) => c,
    }
}

/// See [`to_lower`].
fn to_upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => match c {
            // Greek vowels with iota below have a single capital as their simple mapping.
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
                char::from_u32(c as u32 + 8).unwrap_or(c)
            }
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(c as u32 + 9).unwrap_or(c),
            _ => c,
        },
    }
}

#[cfg(test)]
mod tests;
