//! The parts of objects that something is made of, as they are read once the tables have agreed.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Defines plain records in Kubernetes's spelling, in which everything may be left out.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $of:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(crate) struct $name {
            $($(#[$attribute])* pub $field: $of,)*
        })*
    };
}

/// A number or a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum IntOrText {
    Int(i64),
    Text(String),
}

records! {
    /// Selects by labels.
    LabelSelector {
        match_labels: BTreeMap<String, String>,
        match_expressions: Vec<MatchExpression>,
    }
    MatchExpression {
        key: String,
        operator: String,
        values: Vec<String>,
    }
    /// Which namespaces a monitor looks into.
    NamespaceSelector {
        any: bool,
        match_names: Vec<String>,
    }
    /// A key of a Secret or ConfigMap.
    KeyReference {
        name: String,
        key: String,
        optional: bool,
    }
    SecretOrConfigMap {
        secret: Option<KeyReference>,
        config_map: Option<KeyReference>,
    }
    TlsConfig {
        ca: SecretOrConfigMap,
        ca_file: String,
        cert: SecretOrConfigMap,
        cert_file: String,
        key_secret: Option<KeyReference>,
        key_file: String,
        server_name: String,
        insecure_skip_verify: bool,
        min_version: String,
        max_version: String,
    }
    BasicAuth {
        username: Option<KeyReference>,
        password: Option<KeyReference>,
    }
    Authorization {
        #[serde(rename = "type")]
        scheme: String,
        credentials: Option<KeyReference>,
        credentials_file: String,
    }
    /// How to speak to targets.
    Client {
        basic_auth: Option<BasicAuth>,
        authorization: Option<Authorization>,
        bearer_token_file: String,
        bearer_token_secret: Option<KeyReference>,
        tls_config: Option<TlsConfig>,
        follow_redirects: Option<bool>,
        #[serde(alias = "enableHTTP2")]
        enable_http2: Option<bool>,
        oauth2: Option<serde_json::Value>,
        proxy_url: String,
        proxy_from_environment: bool,
        proxy_connect_header: Option<serde_json::Value>,
        no_proxy: String,
    }
    Relabeling {
        source_labels: Vec<String>,
        separator: Option<String>,
        target_label: String,
        regex: String,
        modulus: u64,
        replacement: Option<String>,
        action: String,
    }
    /// An endpoint of a service or of a pod.
    Endpoint {
        port: String,
        port_number: Option<i64>,
        target_port: Option<IntOrText>,
        path: String,
        scheme: String,
        params: BTreeMap<String, Vec<String>>,
        interval: String,
        scrape_timeout: String,
        honor_labels: bool,
        honor_timestamps: Option<bool>,
        track_timestamps_staleness: bool,
        relabelings: Vec<Relabeling>,
        metric_relabelings: Vec<Relabeling>,
        filter_running: Option<bool>,
        #[serde(flatten)]
        client: Client,
    }
    /// Limits of a scrape and of a job.
    Limits {
        sample_limit: Option<u64>,
        target_limit: Option<u64>,
        label_limit: Option<u64>,
        label_name_length_limit: Option<u64>,
        label_value_length_limit: Option<u64>,
        keep_dropped_targets: Option<u64>,
        body_size_limit: String,
    }
    /// What is valid for a scrape and not in force.
    NotInForce {
        scrape_native_histograms: bool,
        scrape_classic_histograms: bool,
        #[serde(rename = "convertClassicHistogramsToNHCB")]
        convert_classic_histograms: bool,
        native_histogram_bucket_limit: u64,
        native_histogram_min_bucket_factor: Option<serde_json::Value>,
    }
    AttachMetadata {
        node: bool,
    }
    /// What monitors of services and of pods share.
    MonitorSpec {
        selector: LabelSelector,
        namespace_selector: NamespaceSelector,
        #[serde(alias = "podMetricsEndpoints")]
        endpoints: Vec<Endpoint>,
        job_label: String,
        target_labels: Vec<String>,
        pod_target_labels: Vec<String>,
        attach_metadata: Option<AttachMetadata>,
        scrape_class: String,
        selector_mechanism: String,
        service_discovery_role: String,
        fallback_scrape_protocol: String,
        scrape_protocols: Vec<String>,
        #[serde(flatten)]
        limits: Limits,
        #[serde(flatten)]
        not_in_force: NotInForce,
    }
    ProbeSpec {
        job_name: String,
        prober: Prober,
        module: String,
        params: Vec<ProbeParam>,
        targets: ProbeTargets,
        interval: String,
        scrape_timeout: String,
        scrape_class: String,
        metric_relabelings: Vec<Relabeling>,
        fallback_scrape_protocol: String,
        scrape_protocols: Vec<String>,
        #[serde(flatten)]
        client: Client,
        #[serde(flatten)]
        limits: Limits,
        #[serde(flatten)]
        not_in_force: NotInForce,
    }
    Prober {
        url: String,
        scheme: String,
        path: String,
        proxy_url: String,
    }
    ProbeParam {
        name: String,
        values: Vec<String>,
    }
    ProbeTargets {
        static_config: Option<ProbeStatic>,
        ingress: Option<ProbeIngress>,
    }
    ProbeStatic {
        #[serde(rename = "static")]
        targets: Vec<String>,
        labels: BTreeMap<String, String>,
        relabeling_configs: Vec<Relabeling>,
    }
    ProbeIngress {
        selector: LabelSelector,
        namespace_selector: NamespaceSelector,
        relabeling_configs: Vec<Relabeling>,
    }
    ScrapeConfigSpec {
        job_name: String,
        static_configs: Vec<StaticConfig>,
        #[serde(rename = "fileSDConfigs")]
        file_sd_configs: Vec<FileDiscovery>,
        #[serde(rename = "kubernetesSDConfigs")]
        kubernetes_sd_configs: Vec<KubernetesDiscovery>,
        relabelings: Vec<Relabeling>,
        metric_relabelings: Vec<Relabeling>,
        metrics_path: String,
        scheme: String,
        params: BTreeMap<String, Vec<String>>,
        scrape_interval: String,
        scrape_timeout: String,
        honor_labels: Option<bool>,
        honor_timestamps: Option<bool>,
        track_timestamps_staleness: bool,
        enable_compression: Option<bool>,
        scrape_class: String,
        fallback_scrape_protocol: String,
        scrape_protocols: Vec<String>,
        #[serde(flatten)]
        client: Client,
        #[serde(flatten)]
        limits: Limits,
        #[serde(flatten)]
        not_in_force: NotInForce,
    }
    StaticConfig {
        targets: Vec<String>,
        labels: BTreeMap<String, String>,
    }
    FileDiscovery {
        files: Vec<String>,
        refresh_interval: String,
    }
    KubernetesDiscovery {
        role: String,
        namespaces: KubernetesNamespaces,
        selectors: Option<serde_json::Value>,
        attach_metadata: AttachMetadata,
        api_server: String,
    }
    KubernetesNamespaces {
        own_namespace: bool,
        names: Vec<String>,
    }
    ScrapeClass {
        name: String,
        default: bool,
        tls_config: Option<TlsConfig>,
        authorization: Option<Authorization>,
        relabelings: Vec<Relabeling>,
        metric_relabelings: Vec<Relabeling>,
        attach_metadata: Option<AttachMetadata>,
        fallback_scrape_protocol: String,
    }
    ArbitraryFiles {
        deny: bool,
    }
    Excluded {
        resource: String,
        namespace: String,
        name: String,
    }
    ExcludedRule {
        rule_namespace: String,
        rule_name: String,
    }
    PrometheusSpec {
        service_monitor_selector: Option<LabelSelector>,
        service_monitor_namespace_selector: Option<LabelSelector>,
        pod_monitor_selector: Option<LabelSelector>,
        pod_monitor_namespace_selector: Option<LabelSelector>,
        probe_selector: Option<LabelSelector>,
        probe_namespace_selector: Option<LabelSelector>,
        scrape_config_selector: Option<LabelSelector>,
        scrape_config_namespace_selector: Option<LabelSelector>,
        rule_selector: Option<LabelSelector>,
        rule_namespace_selector: Option<LabelSelector>,
        ignore_namespace_selectors: bool,
        scrape_interval: String,
        scrape_timeout: String,
        service_discovery_role: String,
        pod_target_labels: Vec<String>,
        scrape_classes: Vec<ScrapeClass>,
        additional_scrape_configs: Option<KeyReference>,
        override_honor_labels: bool,
        override_honor_timestamps: bool,
        #[serde(rename = "arbitraryFSAccessThroughSMs")]
        arbitrary_files: ArbitraryFiles,
        enforced_namespace_label: String,
        excluded_from_enforcement: Vec<Excluded>,
        prometheus_rules_excluded_from_enforce: Vec<ExcludedRule>,
        #[serde(flatten)]
        limits: Limits,
        enforced_sample_limit: Option<u64>,
        enforced_target_limit: Option<u64>,
        enforced_label_limit: Option<u64>,
        enforced_label_name_length_limit: Option<u64>,
        enforced_label_value_length_limit: Option<u64>,
        enforced_keep_dropped_targets: Option<u64>,
        enforced_body_size_limit: String,
    }
}
