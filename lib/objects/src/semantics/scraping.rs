//! Monitors, probes, scrape configurations and what selects them.

use std::time::Duration;

use narthex_model::duration;
use serde_json::Value;

use super::{Findings, relabeling};
use crate::types::{
    Client, Endpoint, MonitorSpec, NotInForce, ProbeSpec, PrometheusSpec, ScrapeConfigSpec,
    TlsConfig,
};

/// The one text format that is read.
const TEXT_PROTOCOL: &str = "PrometheusText0.0.4";
/// What is refused because leaving it out would change what is scraped.
const NOT_IN_FORCE: &str = "not in force in this version of Narthex; remove it";
/// Discoveries of a `ScrapeConfig` that are in force.
const DISCOVERIES: &[&str] = &["staticConfigs", "fileSDConfigs", "kubernetesSDConfigs"];

/// A `ServiceMonitor` or a `PodMonitor`.
pub(super) fn monitor(findings: &mut Findings, spec: &MonitorSpec, of_pods: bool) {
    findings.selector("selector", &spec.selector);
    protocols(findings, &spec.scrape_protocols, &spec.fallback_scrape_protocol);
    not_in_force(findings, &spec.not_in_force);
    let part = if of_pods { "podMetricsEndpoints" } else { "endpoints" };
    findings.each(part, &spec.endpoints, endpoint);
}

fn endpoint(findings: &mut Findings, endpoint: &Endpoint) {
    timing(findings, ["interval", "scrapeTimeout"], &endpoint.interval, &endpoint.scrape_timeout);
    client(findings, &endpoint.client);
    relabeling::rules(findings, "relabelings", &endpoint.relabelings);
    relabeling::rules(findings, "metricRelabelings", &endpoint.metric_relabelings);
}

/// A `Probe`.
pub(super) fn probe(findings: &mut Findings, spec: &ProbeSpec) {
    timing(findings, ["interval", "scrapeTimeout"], &spec.interval, &spec.scrape_timeout);
    client(findings, &spec.client);
    protocols(findings, &spec.scrape_protocols, &spec.fallback_scrape_protocol);
    not_in_force(findings, &spec.not_in_force);
    relabeling::rules(findings, "metricRelabelings", &spec.metric_relabelings);
    findings.at("prober", |findings| {
        if !spec.prober.proxy_url.is_empty() {
            findings.wrong_at("proxyUrl", NOT_IN_FORCE);
        }
        if spec.prober.url.is_empty() {
            findings.wrong_at("url", "a probe needs its prober's address");
        } else if spec.prober.url.contains('/') {
            let url = &spec.prober.url;
            let message = format!("want HOST:PORT, without scheme and path, got {url:?}");
            findings.wrong_at("url", message);
        }
    });
    findings.at("targets", |findings| match (&spec.targets.static_config, &spec.targets.ingress) {
        (Some(listed), _) => findings.at("staticConfig", |findings| {
            relabeling::rules(findings, "relabelingConfigs", &listed.relabeling_configs);
        }),
        (None, Some(ingress)) => findings.at("ingress", |findings| {
            findings.selector("selector", &ingress.selector);
            relabeling::rules(findings, "relabelingConfigs", &ingress.relabeling_configs);
        }),
        (None, None) => findings.wrong("a probe needs staticConfig or ingress"),
    });
}

/// A `ScrapeConfig`.
pub(super) fn scrape_config(findings: &mut Findings, spec: &ScrapeConfigSpec) {
    let names = ["scrapeInterval", "scrapeTimeout"];
    timing(findings, names, &spec.scrape_interval, &spec.scrape_timeout);
    client(findings, &spec.client);
    protocols(findings, &spec.scrape_protocols, &spec.fallback_scrape_protocol);
    not_in_force(findings, &spec.not_in_force);
    relabeling::rules(findings, "relabelings", &spec.relabelings);
    relabeling::rules(findings, "metricRelabelings", &spec.metric_relabelings);
    findings.each("kubernetesSDConfigs", &spec.kubernetes_sd_configs, |findings, discovery| {
        if !discovery.api_server.is_empty() {
            findings.wrong_at("apiServer", "objects of this cluster are looked at, no API server");
        }
        if discovery.selectors.is_some() {
            findings.wrong_at("selectors", NOT_IN_FORCE);
        }
    });
    findings.each("fileSDConfigs", &spec.file_sd_configs, |findings, files| {
        findings.each("files", &files.files, |findings, path| {
            if !path.starts_with('/') {
                findings.wrong(format!("want an absolute path, got {path:?}"));
            }
        });
    });
}

/// Discoveries that would find nothing are refused by name.
pub(super) fn discoveries(findings: &mut Findings, spec: &Value) {
    for (name, value) in spec.as_object().into_iter().flatten() {
        let is_asked_for = value.as_array().is_some_and(|items| !items.is_empty());
        if name.ends_with("SDConfigs") && is_asked_for && !DISCOVERIES.contains(&name.as_str()) {
            findings.wrong_at(name, NOT_IN_FORCE);
        }
    }
}

/// A `Prometheus`.
pub(super) fn prometheus(findings: &mut Findings, spec: &PrometheusSpec) {
    let names = ["scrapeInterval", "scrapeTimeout"];
    timing(findings, names, &spec.scrape_interval, &spec.scrape_timeout);
    let selectors = [
        ("serviceMonitorSelector", &spec.service_monitor_selector),
        ("serviceMonitorNamespaceSelector", &spec.service_monitor_namespace_selector),
        ("podMonitorSelector", &spec.pod_monitor_selector),
        ("podMonitorNamespaceSelector", &spec.pod_monitor_namespace_selector),
        ("probeSelector", &spec.probe_selector),
        ("probeNamespaceSelector", &spec.probe_namespace_selector),
        ("scrapeConfigSelector", &spec.scrape_config_selector),
        ("scrapeConfigNamespaceSelector", &spec.scrape_config_namespace_selector),
        ("ruleSelector", &spec.rule_selector),
        ("ruleNamespaceSelector", &spec.rule_namespace_selector),
    ];
    for (name, selector) in selectors {
        if let Some(selector) = selector {
            findings.selector(name, selector);
        }
    }
    if spec.scrape_classes.iter().filter(|class| class.default).count() > 1 {
        findings.wrong_at("scrapeClasses", "more than one of them is the default");
    }
    findings.each("scrapeClasses", &spec.scrape_classes, |findings, class| {
        relabeling::rules(findings, "relabelings", &class.relabelings);
        relabeling::rules(findings, "metricRelabelings", &class.metric_relabelings);
        if let Some(config) = &class.tls_config {
            findings.at("tlsConfig", |findings| tls(findings, config));
        }
        protocols(findings, &[], &class.fallback_scrape_protocol);
    });
}

/// A timeout is no longer than its interval, and neither is nothing.
fn timing(findings: &mut Findings, names: [&str; 2], interval: &str, timeout: &str) {
    let read = |text: &str| duration::parse(text).ok();
    let (read_interval, read_timeout) = (read(interval), read(timeout));
    for (name, read) in names.into_iter().zip([read_interval, read_timeout]) {
        if read == Some(Duration::ZERO) {
            findings.wrong_at(name, "it must be longer than 0");
        }
    }
    if let (Some(interval_), Some(timeout_)) = (read_interval, read_timeout)
        && timeout_ > interval_
    {
        let message = format!("{timeout} is longer than the {} {interval}", names[0]);
        findings.wrong_at(names[1], message);
    }
}

fn client(findings: &mut Findings, client: &Client) {
    let refused = [
        ("oauth2", client.oauth2.is_some()),
        ("proxyUrl", !client.proxy_url.is_empty()),
        ("noProxy", !client.no_proxy.is_empty()),
        ("proxyConnectHeader", client.proxy_connect_header.is_some()),
        ("proxyFromEnvironment", client.proxy_from_environment),
    ];
    for (name, _) in refused.iter().filter(|(_, is_given)| *is_given) {
        findings.wrong_at(name, NOT_IN_FORCE);
    }
    let has_bearer = !client.bearer_token_file.is_empty()
        || client.bearer_token_secret.as_ref().is_some_and(|key| !key.key.is_empty());
    let given = [
        ("basicAuth", client.basic_auth.is_some()),
        ("authorization", client.authorization.is_some()),
        ("bearerToken", has_bearer),
    ];
    let given: Vec<&str> =
        given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
    if given.len() > 1 {
        findings.wrong(format!("at most one of {} can be given", given.join(" and ")));
    }
    if let Some(authorization) = &client.authorization
        && authorization.scheme.trim().eq_ignore_ascii_case("basic")
    {
        findings.wrong_at("authorization.type", "it cannot be \"basic\"; use basicAuth");
    }
    if let Some(config) = &client.tls_config {
        findings.at("tlsConfig", |findings| tls(findings, config));
    }
}

fn tls(findings: &mut Findings, config: &TlsConfig) {
    let has = |source: &crate::types::SecretOrConfigMap| {
        source.secret.is_some() || source.config_map.is_some()
    };
    for (name, source) in [("ca", &config.ca), ("cert", &config.cert)] {
        if source.secret.is_some() && source.config_map.is_some() {
            findings.wrong_at(name, "at most one of secret and configMap can be given");
        }
    }
    let files = [
        ("caFile", has(&config.ca) && !config.ca_file.is_empty()),
        ("certFile", has(&config.cert) && !config.cert_file.is_empty()),
        ("keyFile", config.key_secret.is_some() && !config.key_file.is_empty()),
    ];
    for (name, _) in files.iter().filter(|(_, is_doubled)| *is_doubled) {
        findings.wrong_at(name, "it is given as a reference, too");
    }
    let has_cert = has(&config.cert) || !config.cert_file.is_empty();
    let has_key = config.key_secret.is_some() || !config.key_file.is_empty();
    if has_cert != has_key {
        findings.wrong("a client's certificate and its key come together");
    }
    for (name, version) in
        [("minVersion", &config.min_version), ("maxVersion", &config.max_version)]
    {
        if matches!(version.as_str(), "TLS10" | "TLS11") {
            let message = format!("{version} is broken and not offered; use TLS12 or TLS13");
            findings.wrong_at(name, message);
        }
    }
}

fn protocols(findings: &mut Findings, protocols: &[String], fallback: &str) {
    if !protocols.is_empty() && !protocols.iter().any(|protocol| protocol == TEXT_PROTOCOL) {
        let message = format!("not in force in this version of Narthex without {TEXT_PROTOCOL}");
        findings.wrong_at("scrapeProtocols", message);
    }
    if !fallback.is_empty() && fallback != TEXT_PROTOCOL {
        let message = format!("not in force in this version of Narthex but as {TEXT_PROTOCOL}");
        findings.wrong_at("fallbackScrapeProtocol", message);
    }
}

fn not_in_force(findings: &mut Findings, given: &NotInForce) {
    let given = [
        ("scrapeNativeHistograms", given.scrape_native_histograms),
        ("scrapeClassicHistograms", given.scrape_classic_histograms),
        ("convertClassicHistogramsToNHCB", given.convert_classic_histograms),
        ("nativeHistogramBucketLimit", given.native_histogram_bucket_limit > 0),
        ("nativeHistogramMinBucketFactor", given.native_histogram_min_bucket_factor.is_some()),
    ];
    for (name, _) in given.iter().filter(|(_, is_given)| *is_given) {
        findings.wrong_at(name, NOT_IN_FORCE);
    }
}
