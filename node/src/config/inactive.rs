//! Sections that are valid but not in force yet: their keys are checked, their values are not.

use narthex_yaml::{Kind, Node, Problem, decode::unknown_field};

use super::relabel;

/// The sections, as they are named in a file.
pub(super) const SECTIONS: &[&str] =
    &["remote_write", "remote_read", "otlp", "tracing", "storage", "runtime"];

/// Keys of an HTTP client, which several sections have.
const CLIENT: &[&str] = &[
    "basic_auth",
    "authorization",
    "oauth2",
    "bearer_token",
    "bearer_token_file",
    "tls_config",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "follow_redirects",
    "enable_http2",
    "http_headers",
];

const REMOTE_WRITE: &[&str] = &[
    "url",
    "protobuf_message",
    "remote_timeout",
    "headers",
    "write_relabel_configs",
    "name",
    "send_exemplars",
    "send_native_histograms",
    "round_robin_dns",
    "sigv4",
    "azuread",
    "google_iam",
    "queue_config",
    "metadata_config",
];

const REMOTE_READ: &[&str] = &[
    "url",
    "name",
    "required_matchers",
    "remote_timeout",
    "headers",
    "read_recent",
    "filter_external_labels",
];

const OTLP: &[&str] = &[
    "promote_resource_attributes",
    "promote_all_resource_attributes",
    "ignore_resource_attributes",
    "translation_strategy",
    "keep_identifying_resource_attributes",
    "convert_histograms_to_nhcb",
    "promote_scope_metadata",
    "label_name_underscore_sanitization",
    "label_name_preserve_multiple_underscores",
];

const TRACING: &[&str] = &[
    "client_type",
    "endpoint",
    "sampling_fraction",
    "insecure",
    "headers",
    "compression",
    "timeout",
    "tls_config",
];

const STORAGE_TSDB: &[&str] = &[
    "out_of_order_time_window",
    "stale_series_compaction_threshold",
    "chunk_encoding",
    "retention",
];

/// Mappings inside sections whose keys are the same wherever they stand.
const INNER: &[(&str, &str, &[&str])] = &[
    (
        "basic_auth",
        "config.BasicAuth",
        &["username", "username_file", "username_ref", "password", "password_file", "password_ref"],
    ),
    (
        "authorization",
        "config.Authorization",
        &["type", "credentials", "credentials_file", "credentials_ref"],
    ),
    (
        "tls_config",
        "config.plain",
        &[
            "ca",
            "cert",
            "key",
            "ca_file",
            "cert_file",
            "key_file",
            "ca_ref",
            "cert_ref",
            "key_ref",
            "server_name",
            "insecure_skip_verify",
            "min_version",
            "max_version",
        ],
    ),
    (
        "queue_config",
        "config.QueueConfig",
        &[
            "capacity",
            "max_shards",
            "min_shards",
            "max_samples_per_send",
            "batch_send_deadline",
            "min_backoff",
            "max_backoff",
            "retry_on_http_429",
            "sample_age_limit",
        ],
    ),
    (
        "metadata_config",
        "config.MetadataConfig",
        &["send", "send_interval", "max_samples_per_send"],
    ),
    ("retention", "config.TSDBRetentionConfig", &["time", "size", "percentage"]),
];

/// Checks the keys of `section`.
pub(super) fn check(section: &str, node: &Node) -> Result<(), Problem> {
    match section {
        "remote_write" => remote(node, section, REMOTE_WRITE),
        "remote_read" => remote(node, section, REMOTE_READ),
        "otlp" => keys(node, "config.plain", &[OTLP]),
        "tracing" => keys(node, "config.plain", &[TRACING]),
        "storage" => storage(node),
        "runtime" => keys(node, "config.RuntimeConfig", &[&["gogc"]]),
        _ => Ok(()),
    }
}

fn keys(node: &Node, go_type: &str, known: &[&[&str]]) -> Result<(), Problem> {
    let Kind::Mapping(entries) = &node.kind else {
        return match node.kind {
            Kind::Null => Ok(()),
            _ => Err(Problem::at(node.line, format!("cannot unmarshal into {go_type}"))),
        };
    };
    let is_known = |key: &str| known.iter().any(|keys| keys.contains(&key));
    match entries.iter().find(|entry| !is_known(&entry.key)) {
        Some(entry) => Err(unknown_field(entry, go_type)),
        None => inner(node),
    }
}

/// Checks the keys of what stands in a mapping.
fn inner(node: &Node) -> Result<(), Problem> {
    for (key, go_type, known) in INNER {
        if let Some(node) = value(node, key) {
            keys(node, go_type, &[known])?;
        }
    }
    Ok(())
}

fn value<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Kind::Mapping(entries) = &node.kind else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.kind) {
        Some(Kind::Sequence(items)) => items,
        _ => &[],
    }
}

fn rules(node: &Node, key: &str) -> Result<(), Problem> {
    items(value(node, key)).iter().try_for_each(|rule| relabel::rule(rule).map(drop))
}

fn remote(node: &Node, section: &str, known: &[&str]) -> Result<(), Problem> {
    for endpoint in items(Some(node)) {
        keys(endpoint, "config.plain", &[known, CLIENT])?;
        if value(endpoint, "url").is_none() {
            return Err(Problem::at(endpoint.line, format!("url for {section} is empty")));
        }
        rules(endpoint, "write_relabel_configs")?;
    }
    Ok(())
}

fn storage(node: &Node) -> Result<(), Problem> {
    keys(node, "config.plain", &[&["tsdb", "exemplars"]])?;
    if let Some(tsdb) = value(node, "tsdb") {
        keys(tsdb, "config.plain", &[STORAGE_TSDB])?;
    }
    match value(node, "exemplars") {
        Some(exemplars) => keys(exemplars, "config.ExemplarsConfig", &[&["max_exemplars"]]),
        None => Ok(()),
    }
}
