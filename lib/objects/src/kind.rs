//! The kinds of objects.

use std::fmt;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Where other objects are, with labels that selectors look at.
    Namespace,
    /// Texts that are never shown.
    Secret,
    /// Texts.
    ConfigMap,
    /// Inventory: a name for what endpoints offer.
    Service,
    /// Inventory: where a service is.
    Endpoints,
    /// Inventory: where a service is, in parts.
    EndpointSlice,
    /// Inventory: containers with an address.
    Pod,
    /// Inventory: a machine.
    Node,
    /// Inventory: what is reached from outside.
    Ingress,
    /// Selects what is scraped and evaluated.
    Prometheus,
    /// Selects how alerts are sent.
    Alertmanager,
    /// Scrapes what services offer.
    ServiceMonitor,
    /// Scrapes pods.
    PodMonitor,
    /// Scrapes what a prober says of targets.
    Probe,
    /// Scrapes whatever a scrape configuration can.
    ScrapeConfig,
    /// Rule groups.
    PrometheusRule,
    /// Routes and receivers of alerts.
    AlertmanagerConfig,
}

/// What a kind is called.
struct Names {
    kind: Kind,
    name: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    group: &'static str,
    versions: &'static [&'static str],
    is_namespaced: bool,
}

const MONITORING: &str = "monitoring.coreos.com";

const fn core(
    kind: Kind,
    name: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
) -> Names {
    Names { kind, name, plural, short, group: "", versions: &["v1"], is_namespaced: true }
}

const fn monitoring(
    kind: Kind,
    name: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
) -> Names {
    Names { group: MONITORING, ..core(kind, name, plural, short) }
}

static NAMES: [Names; 17] = [
    Names { is_namespaced: false, ..core(Kind::Namespace, "Namespace", "namespaces", &["ns"]) },
    core(Kind::Secret, "Secret", "secrets", &[]),
    core(Kind::ConfigMap, "ConfigMap", "configmaps", &["cm"]),
    core(Kind::Service, "Service", "services", &["svc"]),
    core(Kind::Endpoints, "Endpoints", "endpoints", &["ep"]),
    Names {
        group: "discovery.k8s.io",
        ..core(Kind::EndpointSlice, "EndpointSlice", "endpointslices", &[])
    },
    core(Kind::Pod, "Pod", "pods", &["po"]),
    Names { is_namespaced: false, ..core(Kind::Node, "Node", "nodes", &["no"]) },
    Names { group: "networking.k8s.io", ..core(Kind::Ingress, "Ingress", "ingresses", &["ing"]) },
    monitoring(Kind::Prometheus, "Prometheus", "prometheuses", &["prom"]),
    monitoring(Kind::Alertmanager, "Alertmanager", "alertmanagers", &["am"]),
    monitoring(Kind::ServiceMonitor, "ServiceMonitor", "servicemonitors", &["smon"]),
    monitoring(Kind::PodMonitor, "PodMonitor", "podmonitors", &["pmon"]),
    monitoring(Kind::Probe, "Probe", "probes", &["prb"]),
    Names {
        versions: &["v1alpha1"],
        ..monitoring(Kind::ScrapeConfig, "ScrapeConfig", "scrapeconfigs", &["scfg"])
    },
    monitoring(Kind::PrometheusRule, "PrometheusRule", "prometheusrules", &["promrule"]),
    Names {
        versions: &["v1alpha1", "v1beta1"],
        ..monitoring(
            Kind::AlertmanagerConfig,
            "AlertmanagerConfig",
            "alertmanagerconfigs",
            &["amcfg"],
        )
    },
];

/// A word that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKind {
    /// Use one of the kinds there are.
    #[error("there is no kind {0:?}, only {known}", known = all_names())]
    Unknown(String),
    /// Use what takes its place.
    #[error("kind {kind} is not supported: {instead}")]
    Unsupported {
        /// The kind.
        kind: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Use a version there is.
    #[error("there is no {kind} of {api_version:?}, only of {known}")]
    Version {
        /// The kind.
        kind: Kind,
        /// What was asked for.
        api_version: String,
        /// What there is.
        known: String,
    },
}

impl Kind {
    /// All kinds, in the order in which they are best applied.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|names| names.kind)
    }

    /// The kind of an object with these fields.
    pub fn of_object(api_version: &str, kind: &str) -> Result<Self, UnknownKind> {
        unsupported(kind)?;
        let found = NAMES.iter().find(|names| names.name == kind);
        let names = found.ok_or_else(|| UnknownKind::Unknown(kind.to_owned()))?;
        let known = names.kind.api_versions();
        if known.iter().any(|known| known == api_version) {
            return Ok(names.kind);
        }
        let (kind, api_version) = (names.kind, api_version.to_owned());
        Err(UnknownKind::Version { kind, api_version, known: known.join(", ") })
    }

    /// The kind that a user means: its name, its plural or a short form, in any case, with or
    /// without its group behind it.
    pub fn of_word(word: &str) -> Result<Self, UnknownKind> {
        let lower = word.to_lowercase();
        let (name, group) = lower.split_once('.').unwrap_or((&lower, ""));
        let is_it = |names: &&Names| {
            let is_named = names.name.to_lowercase() == name
                || names.plural == name
                || names.short.contains(&name);
            is_named && (group.is_empty() || group == names.group)
        };
        unsupported(word)?;
        let found = NAMES.iter().find(is_it);
        found.map(|names| names.kind).ok_or_else(|| UnknownKind::Unknown(word.to_owned()))
    }

    /// The kind of a stored object.
    pub fn of_stored(group: &str, kind: &str) -> Option<Self> {
        let found = NAMES.iter().find(|names| names.name == kind && names.group == group);
        found.map(|names| names.kind)
    }

    fn names(self) -> &'static Names {
        NAMES.iter().find(|names| names.kind == self).expect("every kind is listed")
    }

    /// Such as `ServiceMonitor`.
    pub fn name(self) -> &'static str {
        self.names().name
    }

    /// Such as `servicemonitors`.
    pub fn plural(self) -> &'static str {
        self.names().plural
    }

    /// Such as `smon`; empty where there is none.
    pub fn short_name(self) -> &'static str {
        self.names().short.first().copied().unwrap_or_default()
    }

    /// Such as `monitoring.coreos.com`; empty for Kubernetes's core.
    pub fn group(self) -> &'static str {
        self.names().group
    }

    /// Whether its objects are in a namespace.
    pub fn is_namespaced(self) -> bool {
        self.names().is_namespaced
    }

    /// Such as `monitoring.coreos.com/v1`.
    pub fn api_versions(self) -> Vec<String> {
        let names = self.names();
        let version = |version: &&str| match names.group {
            "" => (*version).to_owned(),
            group => format!("{group}/{version}"),
        };
        names.versions.iter().map(version).collect()
    }

    /// As kubectl names an object: `servicemonitor.monitoring.coreos.com/NAME`.
    pub fn object_name(self, name: &str) -> String {
        let kind = self.name().to_lowercase();
        match self.group() {
            "" => format!("{kind}/{name}"),
            group => format!("{kind}.{group}/{name}"),
        }
    }

    /// Whether its status is part of what is applied: what inventory says is not worked out here.
    pub fn keeps_status(self) -> bool {
        matches!(self, Self::Service | Self::Pod | Self::Node | Self::Ingress | Self::Namespace)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kinds of the Operator that have no place here.
fn unsupported(word: &str) -> Result<(), UnknownKind> {
    let refused = |kind, instead| Err(UnknownKind::Unsupported { kind, instead });
    match word.to_lowercase().as_str() {
        "prometheusagent" | "prometheusagents" | "promagent" => refused(
            "PrometheusAgent",
            "the cluster stores what it scrapes; use a Prometheus with the same selectors",
        ),
        "thanosruler" | "thanosrulers" | "ruler" => refused(
            "ThanosRuler",
            "rules see the whole cluster; select them with a Prometheus's ruleSelector",
        ),
        _ => Ok(()),
    }
}

fn all_names() -> String {
    NAMES.iter().map(|names| names.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_many_words() {
        for word in [
            "smon",
            "ServiceMonitor",
            "servicemonitors",
            "servicemonitor.monitoring.coreos.com",
            "SERVICEMONITORS",
        ] {
            assert_eq!(Kind::of_word(word), Ok(Kind::ServiceMonitor), "{word}");
        }
        assert_eq!(Kind::of_word("svc"), Ok(Kind::Service));
        let error = Kind::of_word("servicemonitor.apps").expect_err("another group");
        assert!(error.to_string().starts_with("there is no kind \"servicemonitor.apps\", only "));
        assert_eq!(Kind::ServiceMonitor.object_name("a"), "servicemonitor.monitoring.coreos.com/a");
        assert_eq!(Kind::Secret.object_name("a"), "secret/a");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let error = Kind::of_object("monitoring.coreos.com/v1alpha1", "PrometheusAgent");
        let error = error.expect_err("unsupported").to_string();
        assert!(error.starts_with("kind PrometheusAgent is not supported: "), "{error}");
        let error = Kind::of_object("monitoring.coreos.com/v1", "ScrapeConfig").expect_err("v1");
        assert_eq!(
            error.to_string(),
            "there is no ScrapeConfig of \"monitoring.coreos.com/v1\", only of \
             monitoring.coreos.com/v1alpha1"
        );
    }

    #[test]
    fn every_kind_is_found_again() {
        for kind in Kind::all() {
            assert_eq!(Kind::of_stored(kind.group(), kind.name()), Some(kind));
            assert_eq!(Kind::of_word(kind.plural()), Ok(kind));
            for version in kind.api_versions() {
                assert_eq!(Kind::of_object(&version, kind.name()), Ok(kind));
            }
        }
    }
}
