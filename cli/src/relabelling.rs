//! What the rules of a scrape job make of labels, as the cluster's configuration has them.

use std::sync::Arc;

use narthex_cluster::ClusterState;
use narthex_model::Labels;
use narthex_node::{
    config::{Config, RelabelConfig},
    relabel::Rules,
};
use narthex_querier::{RelabelRule, RelabelStep, Relabelling};
use tokio::sync::watch;

/// Follows the rules in `state`.
pub fn of(state: watch::Receiver<Arc<ClusterState>>) -> Relabelling {
    Relabelling::new(move |job, labels| {
        let state = state.borrow().clone();
        let config = Config::decode(&state.scrape_config()?.content).ok()?;
        steps(&config.job(job)?.relabel_configs, labels)
    })
}

/// One step for each rule, up to one that drops the labels.
fn steps(rules: &[RelabelConfig], labels: &Labels) -> Option<Vec<RelabelStep>> {
    let mut labels = labels.to_builder();
    let mut steps = Vec::with_capacity(rules.len());
    for config in rules {
        let rule = Rules::compile(std::slice::from_ref(config)).ok()?;
        let is_kept = rule.apply(&mut labels);
        let output = is_kept.then(|| labels.clone().build());
        steps.push(RelabelStep { rule: shown(config), output });
        if !is_kept {
            break;
        }
    }
    Some(steps)
}

fn shown(config: &RelabelConfig) -> RelabelRule {
    RelabelRule {
        source_labels: config.source_labels.clone(),
        separator: config.separator.clone(),
        regex: config.regex.clone(),
        modulus: config.modulus,
        target_label: config.target_label.clone(),
        replacement: config.replacement.clone(),
        action: config.action.name(),
    }
}

#[cfg(test)]
mod tests {
    use narthex_node::config::RelabelAction;

    use super::*;

    #[test]
    fn steps_end_where_labels_are_dropped() {
        let rule = |source: &str, regex: &str, action| RelabelConfig {
            source_labels: vec![source.to_owned()],
            regex: regex.to_owned(),
            target_label: "host".to_owned(),
            action,
            ..RelabelConfig::default()
        };
        let rules = [
            rule("__address__", "(.*):.*", RelabelAction::Replace),
            rule("host", "b", RelabelAction::Drop),
            rule("host", "a", RelabelAction::Drop),
            rule("host", "c", RelabelAction::Replace),
        ];
        let labels = Labels::from_pairs([("__address__", "a:9100")]).expect("valid");
        let steps = steps(&rules, &labels).expect("valid");
        let hosts: Vec<_> =
            steps.iter().map(|step| Some(step.output.as_ref()?.value("host"))).collect();
        assert_eq!(hosts, [Some("a"), Some("a"), None]);
        assert_eq!(steps[0].rule.action, "replace");
    }
}
