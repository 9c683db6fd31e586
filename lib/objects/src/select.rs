//! Which objects a selector means.

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{Object, Objects};

use crate::{
    Kind,
    types::{LabelSelector, NamespaceSelector},
};

/// The label that every namespace has in Kubernetes: its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

impl LabelSelector {
    /// Whether it means what has these labels. The empty selector means everything.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(name, value): (&String, &String)| labels.get(name) == Some(value);
        self.match_labels.iter().all(has)
            && self.match_expressions.iter().all(|expression| {
                let value = labels.get(&expression.key);
                let is_in = || value.is_some_and(|value| expression.values.contains(value));
                match expression.operator.as_str() {
                    "In" => is_in(),
                    "NotIn" => !is_in(),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
    }
}

/// The labels of all namespaces that are known: by an object, or by what is in them.
#[derive(Debug)]
pub(crate) struct Namespaces(BTreeMap<String, BTreeMap<String, String>>);

impl Namespaces {
    pub(crate) fn of(objects: &Objects) -> Self {
        let mut namespaces = BTreeMap::<String, BTreeMap<String, String>>::new();
        for object in objects.iter() {
            if object.key.kind == Kind::Namespace.name() {
                namespaces.insert(object.key.name.clone(), object.labels.clone());
            } else if !object.key.namespace.is_empty() {
                namespaces.entry(object.key.namespace.clone()).or_default();
            }
        }
        for (name, labels) in &mut namespaces {
            labels.insert(NAMESPACE_NAME.to_owned(), name.clone());
        }
        Self(namespaces)
    }

    /// Whether a workload in `own` that selects namespaces so looks into `namespace`: without a
    /// selector only into its own.
    pub(crate) fn selected(
        &self,
        selector: Option<&LabelSelector>,
        own: &str,
        namespace: &str,
    ) -> bool {
        match selector {
            None => namespace == own,
            Some(selector) => self.0.get(namespace).is_some_and(|labels| selector.matches(labels)),
        }
    }
}

/// Whether a workload selects an object of the kind that `selector` is about: none of them where
/// there is no selector.
pub(crate) fn is_selected(
    namespaces: &Namespaces,
    (selector, namespace_selector): (Option<&LabelSelector>, Option<&LabelSelector>),
    own: &str,
    object: &Object,
) -> bool {
    selector.is_some_and(|selector| selector.matches(&object.labels))
        && namespaces.selected(namespace_selector, own, &object.key.namespace)
}

/// Where a monitor looks for its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Only(BTreeSet<String>),
}

impl Scope {
    /// What a monitor in `own` means by its selector.
    pub(crate) fn of(selector: &NamespaceSelector, own: &str, only_own: bool) -> Self {
        match selector {
            _ if only_own => Self::Only([own.to_owned()].into()),
            NamespaceSelector { any: true, .. } => Self::All,
            NamespaceSelector { match_names, .. } if match_names.is_empty() => {
                Self::Only([own.to_owned()].into())
            }
            NamespaceSelector { match_names, .. } => {
                Self::Only(match_names.iter().cloned().collect())
            }
        }
    }

    pub(crate) fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selector(value: Value) -> LabelSelector {
        serde_json::from_value(value).expect("a selector")
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn expressions_and_labels_must_all_hold() {
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "a"}}), true),
            (json!({"matchLabels": {"app": "a", "tier": "x"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["b", "a"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}),
                true,
            ),
            (json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), false),
        ];
        for (value, expected) in cases {
            let matches = selector(value.clone()).matches(&labels(&[("app", "a")]));
            assert_eq!(matches, expected, "{value}");
        }
    }

    #[test]
    fn nothing_null_and_a_selector_differ() {
        let namespaces = Namespaces(
            [("a", "x"), ("b", "y")]
                .map(|(name, team)| (name.to_owned(), labels(&[("team", team)])))
                .into(),
        );
        let all = selector(json!({}));
        let team = selector(json!({"matchLabels": {"team": "y"}}));
        assert!(namespaces.selected(None, "a", "a") && !namespaces.selected(None, "a", "b"));
        assert!(namespaces.selected(Some(&all), "a", "b"));
        assert!(namespaces.selected(Some(&team), "a", "b"));
        assert!(!namespaces.selected(Some(&team), "a", "a"));
        let none = NamespaceSelector::default();
        assert_eq!(Scope::of(&none, "a", false), Scope::Only(["a".to_owned()].into()));
        let any = NamespaceSelector { any: true, ..NamespaceSelector::default() };
        assert_eq!(Scope::of(&any, "a", false), Scope::All);
        assert_eq!(Scope::of(&any, "a", true), Scope::Only(["a".to_owned()].into()));
    }
}
