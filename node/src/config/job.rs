//! An entry of `scrape_configs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use narthex_model::duration;
use narthex_yaml::{Fields, Kind, Node, Problem, decode};

use super::{
    FileDiscoveryConfig, GlobalConfig, ScrapeConfig, ScrapeLimits, Surroundings, TargetGroup,
    client,
    global::{limits, protocol},
    relabel,
};

const GO_TYPE: &str = "config.plain";

/// Keys that Prometheus knows and that have no effect yet.
const NOT_IN_FORCE: &[&str] = &[
    "oauth2",
    "proxy_url",
    "no_proxy",
    "proxy_connect_header",
    "http_headers",
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "http_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// Keys of which only these values are in force; files that a tool wrote name them too.
const ONLY_AS: &[(&str, &[&str])] = &[
    ("scrape_native_histograms", &["false"]),
    ("convert_classic_histograms_to_nhcb", &["false"]),
    ("always_scrape_classic_histograms", &["false"]),
    ("extra_scrape_metrics", &["false"]),
    ("scrape_failure_log_file", &[""]),
    ("track_timestamps_staleness", &["false"]),
    ("native_histogram_bucket_limit", &["0"]),
    ("native_histogram_min_bucket_factor", &["0"]),
    ("metric_name_validation_scheme", &["utf8", ""]),
    ("metric_name_escaping_scheme", &["allow-utf-8", ""]),
    ("proxy_from_environment", &["false"]),
];

/// The one text format that is read. Others in a list of protocols are not asked for.
pub(super) const TEXT_PROTOCOL: &str = "PrometheusText0.0.4";

const FILE_REFRESH: Duration = Duration::from_secs(300);

/// Reads a job and fills in what it inherits.
pub(super) fn read(
    node: &Node,
    global: &GlobalConfig,
    surroundings: &Surroundings<'_>,
) -> Result<ScrapeConfig, Problem> {
    if node.kind == Kind::Null {
        return Err(Problem::at(node.line, "empty or null scrape config section"));
    }
    let mut fields = Fields::open(node, GO_TYPE)?;
    let job_name = fields.read("job_name", decode::text)?.unwrap_or_default();
    if job_name.is_empty() {
        return Err(Problem::at(node.line, "job_name is empty"));
    }
    let (scrape_interval, scrape_timeout) = timing(&mut fields, global, &job_name)?;
    let job = ScrapeConfig {
        scrape_interval,
        scrape_timeout,
        metrics_path: text_or(&mut fields, "metrics_path", "/metrics")?,
        scheme: text_or(&mut fields, "scheme", "http")?,
        params: params(&mut fields)?,
        honor_labels: fields.read("honor_labels", decode::truth)?.unwrap_or(false),
        honor_timestamps: fields.read("honor_timestamps", decode::truth)?.unwrap_or(true),
        falls_back_to_text: falls_back_to_text(&mut fields, &job_name)?,
        enable_compression: fields.read("enable_compression", decode::truth)?.unwrap_or(true),
        client: client::read(&mut fields, surroundings)?,
        limits: inherited(limits(&mut fields)?, &global.limits),
        static_configs: static_configs(&mut fields)?,
        file_sd_configs: file_sd_configs(&mut fields, surroundings)?,
        relabel_configs: relabel::read(&mut fields, "relabel_configs")?,
        metric_relabel_configs: relabel::read(&mut fields, "metric_relabel_configs")?,
        job_name,
    };
    // With rules URLs may stand there: the way to probe one is to move it into a parameter.
    if job.relabel_configs.is_empty() {
        check_addresses(&job.static_configs, node.line)?;
    }
    let owner = format!("scrape job {:?}", job.job_name);
    refuse_other_values(&mut fields, &owner)?;
    refuse_what_is_not_in_force(&fields, &owner)?;
    fields.finish()?;
    Ok(job)
}

/// Refuses values of a job, or of what all jobs inherit, that would change what is scraped.
pub(super) fn refuse_other_values(fields: &mut Fields<'_>, owner: &str) -> Result<(), Problem> {
    for (key, in_force) in ONLY_AS {
        let Some(node) = fields.take(key) else { continue };
        let text = decode::text(node)?;
        if !in_force.contains(&text.as_str()) {
            let only = in_force[0];
            return Err(Problem::at(
                node.line,
                format!(
                    "{owner}: key {key:?} is not in force in this version of Narthex but as \
                     {only:?}; remove it"
                ),
            ));
        }
    }
    let Some(node) = fields.take("scrape_protocols") else { return Ok(()) };
    let protocols = decode::list(node, protocol)?;
    check_protocols(&protocols).map_err(|message| Problem::at(node.line, message))?;
    if protocols.iter().any(|protocol| protocol == TEXT_PROTOCOL) {
        return Ok(());
    }
    Err(Problem::at(
        node.line,
        format!(
            "{owner}: key \"scrape_protocols\" is not in force in this version of Narthex without \
             {TEXT_PROTOCOL:?}; add it"
        ),
    ))
}

fn check_protocols(protocols: &[String]) -> Result<(), String> {
    if protocols.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    let mut seen = BTreeSet::new();
    match protocols.iter().all(|protocol| seen.insert(protocol)) {
        true => Ok(()),
        false => {
            Err(format!("duplicated protocol in scrape_protocols, got [{}]", protocols.join(" ")))
        }
    }
}

pub(super) fn refuse_what_is_not_in_force(fields: &Fields<'_>, owner: &str) -> Result<(), Problem> {
    match fields.untaken() {
        Some(entry) if NOT_IN_FORCE.contains(&entry.key.as_str()) => Err(Problem::at(
            entry.line,
            format!(
                "{owner}: key {:?} is not in force in this version of Narthex; remove it",
                entry.key
            ),
        )),
        _ => Ok(()),
    }
}

fn falls_back_to_text(fields: &mut Fields<'_>, job_name: &str) -> Result<bool, Problem> {
    let Some(node) = fields.take("fallback_scrape_protocol") else { return Ok(false) };
    if decode::text(node)?.is_empty() {
        return Ok(false);
    }
    match protocol(node)?.as_str() {
        TEXT_PROTOCOL => Ok(true),
        _ => Err(Problem::at(
            node.line,
            format!(
                "scrape job {job_name:?}: key \"fallback_scrape_protocol\" is not in force in this \
                 version of Narthex but as {TEXT_PROTOCOL:?}; remove it"
            ),
        )),
    }
}

pub(super) fn text_or(
    fields: &mut Fields<'_>,
    key: &str,
    default: &str,
) -> Result<String, Problem> {
    let text = fields.read(key, decode::text)?;
    Ok(text.filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned()))
}

fn timing(
    fields: &mut Fields<'_>,
    global: &GlobalConfig,
    job_name: &str,
) -> Result<(Duration, Duration), Problem> {
    let line = fields.line;
    let mut given = |key| -> Result<Option<Duration>, Problem> {
        Ok(fields.read(key, decode::period)?.filter(|period| !period.is_zero()))
    };
    let interval = given("scrape_interval")?.unwrap_or(global.scrape_interval);
    let timeout = given("scrape_timeout")?;
    if timeout.is_some_and(|timeout| timeout > interval) {
        return Err(Problem::at(
            line,
            format!(
                "scrape timeout greater than scrape interval for scrape config with job name \
                 {job_name:?}"
            ),
        ));
    }
    Ok((interval, timeout.unwrap_or(global.scrape_timeout.min(interval))))
}

fn inherited(own: ScrapeLimits, global: &ScrapeLimits) -> ScrapeLimits {
    let or = |own: u64, global: u64| if own == 0 { global } else { own };
    ScrapeLimits {
        body_size_limit: or(own.body_size_limit, global.body_size_limit),
        sample_limit: or(own.sample_limit, global.sample_limit),
        target_limit: or(own.target_limit, global.target_limit),
        label_limit: or(own.label_limit, global.label_limit),
        label_name_length_limit: or(own.label_name_length_limit, global.label_name_length_limit),
        label_value_length_limit: or(own.label_value_length_limit, global.label_value_length_limit),
        keep_dropped_targets: or(own.keep_dropped_targets, global.keep_dropped_targets),
    }
}

fn params(fields: &mut Fields<'_>) -> Result<BTreeMap<String, Vec<String>>, Problem> {
    let params =
        fields.read("params", |node| decode::map(node, |node| decode::list(node, decode::text)))?;
    Ok(params.unwrap_or_default().into_iter().collect())
}

pub(super) fn static_configs(fields: &mut Fields<'_>) -> Result<Vec<TargetGroup>, Problem> {
    let groups = fields.read("static_configs", |node| decode::list(node, target_group))?;
    let mut groups = groups.unwrap_or_default();
    for (at, group) in groups.iter_mut().enumerate() {
        group.source = format!("static/{at}");
    }
    Ok(groups)
}

/// Refuses URLs where addresses are wanted.
pub(super) fn check_addresses(groups: &[TargetGroup], line: usize) -> Result<(), Problem> {
    let targets = groups.iter().flat_map(|group| &group.targets);
    let mut addresses = targets.filter_map(|target| target.get("__address__"));
    match addresses.find(|address| address.contains('/')) {
        Some(url) => Err(Problem::at(line, format!("{url:?} is not a valid hostname"))),
        None => Ok(()),
    }
}

/// Reads `{targets: […], labels: {…}}`, the form of `static_configs` and of discovery files.
pub fn target_group(node: &Node) -> Result<TargetGroup, Problem> {
    let mut fields = Fields::open(node, "struct { Targets []string; Labels model.LabelSet }")?;
    let mut group = TargetGroup::default();
    let addresses = fields.read("targets", |node| decode::list(node, decode::text))?;
    for address in addresses.unwrap_or_default() {
        group.targets.push(BTreeMap::from([("__address__".to_owned(), address)]));
    }
    let labels = fields.read("labels", |node| decode::map(node, decode::text))?;
    for (name, value) in labels.unwrap_or_default() {
        if name.is_empty() {
            return Err(Problem::at(node.line, format!("{name:?} is not a valid label name")));
        }
        group.labels.insert(name, value);
    }
    fields.finish()?;
    Ok(group)
}

pub(super) fn file_sd_configs(
    fields: &mut Fields<'_>,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<FileDiscoveryConfig>, Problem> {
    let read = |node| file_sd_config(node, surroundings);
    Ok(fields.read("file_sd_configs", |node| decode::list(node, read))?.unwrap_or_default())
}

fn file_sd_config(
    node: &Node,
    surroundings: &Surroundings<'_>,
) -> Result<FileDiscoveryConfig, Problem> {
    let mut fields = Fields::open(node, "file.plain")?;
    let files = fields.read("files", |node| decode::list(node, decode::text))?.unwrap_or_default();
    let refresh = fields.read("refresh_interval", decode::period)?;
    fields.finish()?;
    if files.is_empty() {
        return Err(Problem::at(
            node.line,
            "file service discovery config must contain at least one path name",
        ));
    }
    if let Some(path) = files.iter().find(|path| !is_discovery_path(path)) {
        return Err(Problem::at(
            node.line,
            format!("path name {path:?} is not valid for file discovery"),
        ));
    }
    if let Some(zero) = refresh.filter(Duration::is_zero) {
        let zero = duration::format(zero);
        return Err(Problem::at(node.line, format!("refresh_interval {zero} must be positive")));
    }
    Ok(FileDiscoveryConfig {
        files: files.iter().map(|path| surroundings.absolute(path)).collect(),
        refresh_interval: refresh.unwrap_or(FILE_REFRESH),
    })
}

/// A path that ends in a known suffix, with at most one `*`, in its last element.
fn is_discovery_path(path: &str) -> bool {
    let suffixes = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    let Some(stem) = suffixes.iter().find_map(|suffix| path.strip_suffix(suffix)) else {
        return false;
    };
    stem.split_once('*').is_none_or(|(_, behind)| !behind.contains('/'))
}
