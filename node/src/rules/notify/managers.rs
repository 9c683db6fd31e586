//! Which Alertmanagers there are: what discovery finds, relabelled.

use std::collections::BTreeMap;

use narthex_model::{InvalidRegex, LabelsBuilder};

use crate::{
    config::{AlertmanagerConfig, TargetGroup},
    relabel::Rules,
    scrape::escape,
};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const ALERTS_PATH: &str = "__alerts_path__";
/// Behind the prefix.
const API_PATH: &str = "/api/v2/alerts";

/// Alertmanagers by where alerts are posted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managers {
    /// Alerts go there.
    pub active: Vec<String>,
    /// Dropped by relabelling.
    pub dropped: Vec<String>,
}

/// The Alertmanagers of these target groups, and what is wrong with those that are none.
pub(super) fn managers_of(
    config: &AlertmanagerConfig,
    groups: &[TargetGroup],
) -> Result<(Managers, Vec<String>), InvalidRegex> {
    let rules = Rules::compile(&config.relabel_configs)?;
    let (mut managers, mut problems) = (Managers::default(), Vec::new());
    for group in groups {
        for own in &group.targets {
            let mut labels = discovered(config, own, &group.labels);
            let before = url(&labels);
            if !rules.apply(&mut labels) {
                managers.dropped.push(before);
                continue;
            }
            let address = labels.value(ADDRESS);
            if address.is_empty() || address.contains('/') {
                problems.push(format!("{address:?} is not a valid hostname"));
                continue;
            }
            let url = url(&labels);
            if !managers.active.contains(&url) {
                managers.active.push(url);
            }
        }
    }
    Ok((managers, problems))
}

fn discovered(
    config: &AlertmanagerConfig,
    own: &BTreeMap<String, String>,
    shared: &BTreeMap<String, String>,
) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    for (name, value) in shared.iter().chain(own) {
        labels.set(name, value.as_str());
    }
    if labels.value(SCHEME).is_empty() {
        labels.set(SCHEME, config.scheme.as_str());
    }
    let prefix = config.path_prefix.trim_matches('/');
    let path = if prefix.is_empty() { API_PATH.to_owned() } else { format!("/{prefix}{API_PATH}") };
    labels.set(ALERTS_PATH, path);
    labels
}

fn url(labels: &LabelsBuilder) -> String {
    let path = labels.value(ALERTS_PATH);
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{}://{}{slash}{}", labels.value(SCHEME), labels.value(ADDRESS), escape::path(path))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn addresses_become_urls_and_relabelling_may_drop_or_move_them() {
        let text = "alerting: {alertmanagers: [{scheme: https, path_prefix: /am/, \
                    static_configs: [{targets: ['a:9093', 'b:9093', 'c:1', 'a:9093']}], \
                    relabel_configs: [{source_labels: [__address__], regex: 'b.*', action: drop}, \
                    {source_labels: [__address__], regex: 'c.*', target_label: __alerts_path__, \
                    replacement: x/v2}, {source_labels: [__address__], regex: 'c.*', \
                    target_label: __scheme__, replacement: http}]}]}";
        let config = config::parse(text, Path::new("/")).expect(text);
        let manager = &config.alerting.alertmanagers[0];
        let (managers, problems) = managers_of(manager, &manager.static_configs).expect("valid");
        assert!(problems.is_empty());
        let active = ["https://a:9093/am/api/v2/alerts", "http://c:1/x/v2"];
        assert_eq!(managers.active, active);
        assert_eq!(managers.dropped, ["https://b:9093/am/api/v2/alerts"]);
    }
}
