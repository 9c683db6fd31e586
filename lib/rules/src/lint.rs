//! What is valid in a rule file and probably not meant.

use std::collections::BTreeMap;

use narthex_model::Labels;

use crate::RuleGroup;

/// Rules that write, or raise, the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The metric or alert.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// Names and labels that more than one rule of the groups has, in order.
pub fn duplicates(groups: &[RuleGroup]) -> Vec<Duplicate> {
    let mut counts: BTreeMap<(&str, Labels), usize> = BTreeMap::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let labels = Labels::from_pairs(&rule.labels).expect("a checked rule has valid labels");
        *counts.entry((rule.name.as_str(), labels)).or_default() += 1;
    }
    let repeated = counts.into_iter().filter(|(_, count)| *count > 1);
    repeated.map(|((name, labels), _)| Duplicate { name: name.to_owned(), labels }).collect()
}

#[cfg(test)]
mod tests {
    use narthex_promql::ParseOptions;

    use super::*;
    use crate::RuleFile;

    #[test]
    fn rules_of_one_name_differ_by_their_labels() {
        let text = "
groups:
- name: a
  labels: {x: '1'}
  rules:
  - {record: b, expr: up}
  - {record: b, expr: up, labels: {x: '2'}}
  - {record: a, expr: up}
- name: b
  rules:
  - {record: b, expr: down, labels: {x: '1'}}
  - {record: b, expr: down, labels: {x: '1'}}
";
        let file = RuleFile::parse(text, &ParseOptions::default()).expect("a valid file");
        let labels = Labels::from_pairs([("x", "1")]).expect("valid labels");
        assert_eq!(duplicates(&file.groups), [Duplicate { name: "b".to_owned(), labels }]);
    }
}
