//! Targets: what discovery found, relabelled into something to scrape.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use narthex_model::{INSTANCE, JOB, Labels, LabelsBuilder, duration};
use xxhash_rust::xxh3::Xxh3;

use super::escape;
use crate::{
    config::{SOURCES_LABEL, ScrapeConfig, TargetGroup},
    relabel::Rules,
};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
/// Labels that begin so are not part of a series.
const RESERVED_PREFIX: &str = "__";

/// Names a target on every node: a hash of its job, labels and URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u128);

impl TargetId {
    fn new(job: &str, labels: &Labels, url: &str) -> Self {
        let mut hash = Xxh3::new();
        for part in [job.as_bytes(), labels.as_bytes(), url.as_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.digest128())
    }

    /// How far the target's slots are shifted, in `[0, interval)`.
    pub fn phase_millis(self, interval_millis: i64) -> i64 {
        let interval = i128::from(interval_millis.max(1));
        // The low half is hash enough, and fits.
        let phase = i128::from(self.0 as u64) % interval;
        i64::try_from(phase).expect("less than the interval")
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Something to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name among nodes and in its shard's state.
    pub id: TargetId,
    /// The job of the configuration that it belongs to.
    pub job_name: String,
    /// Labels that its series get; `job` and `instance` among them say which shard it is on.
    pub labels: Labels,
    /// Labels before relabelling.
    pub discovered: Labels,
    /// Where its page is.
    pub url: String,
    /// Where it is fetched from, in the order to try: `url`, unless several nodes have the page.
    pub sources: Vec<String>,
    /// Pause between two scrapes.
    pub interval: Duration,
    /// How long a scrape may take; never above the interval.
    pub timeout: Duration,
}

impl Target {
    /// The label `job`, which relabelling may have changed.
    pub fn job(&self) -> &str {
        self.labels.value(JOB)
    }

    /// The label `instance`.
    pub fn instance(&self) -> &str {
        self.labels.value(INSTANCE)
    }
}

/// A target that relabelling dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedTarget {
    /// Its job.
    pub job_name: String,
    /// Labels before relabelling.
    pub discovered: Labels,
}

/// What became of a job's groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobTargets {
    /// To be scraped, each once.
    pub active: Vec<Target>,
    /// Dropped, at most as many as the configuration keeps.
    pub dropped: Vec<DroppedTarget>,
    /// All that were dropped.
    pub dropped_total: usize,
    /// Why targets are neither: they cannot be scraped.
    pub problems: Vec<String>,
    /// Set if `target_limit` is exceeded: then every scrape fails with it.
    pub limit_exceeded: Option<String>,
}

/// Relabels the targets of a job.
pub fn targets_of(job: &ScrapeConfig, rules: &Rules, groups: &[TargetGroup]) -> JobTargets {
    let mut targets = JobTargets::default();
    let mut seen = HashSet::new();
    let keep = usize::try_from(job.limits.keep_dropped_targets).unwrap_or(usize::MAX);
    for group in groups {
        for (at, own) in group.targets.iter().enumerate() {
            let discovered = discovered(job, own, &group.labels);
            match target(job, rules, &discovered) {
                Ok(Some(target)) => {
                    if seen.insert(target.id) {
                        targets.active.push(target);
                    }
                }
                Ok(None) => {
                    targets.dropped_total += 1;
                    if keep == 0 || targets.dropped.len() < keep {
                        let job_name = job.job_name.clone();
                        targets.dropped.push(DroppedTarget { job_name, discovered });
                    }
                }
                Err(problem) => targets
                    .problems
                    .push(format!("instance {at} in group {}: {problem}", group.source)),
            }
        }
    }
    let limit = job.limits.target_limit;
    if limit > 0 && targets.active.len() as u64 > limit {
        let count = targets.active.len();
        targets.limit_exceeded =
            Some(format!("target_limit exceeded (number of targets: {count}, limit: {limit})"));
    }
    targets
}

/// The labels that relabelling starts with.
fn discovered(
    job: &ScrapeConfig,
    own: &BTreeMap<String, String>,
    shared: &BTreeMap<String, String>,
) -> Labels {
    let mut labels = LabelsBuilder::new();
    for (name, value) in shared.iter().chain(own) {
        labels.set(name, value.as_str());
    }
    let mut default = |name: &str, value: &str| {
        if labels.value(name).is_empty() {
            labels.set(name, value);
        }
    };
    default(JOB, &job.job_name);
    default(SCRAPE_INTERVAL, &duration::format(job.scrape_interval));
    default(SCRAPE_TIMEOUT, &duration::format(job.scrape_timeout));
    default(METRICS_PATH, &job.metrics_path);
    default(SCHEME, &job.scheme);
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM_PREFIX}{name}"), first);
        }
    }
    labels.build()
}

/// The target that relabelling makes; nothing where it is dropped.
fn target(
    job: &ScrapeConfig,
    rules: &Rules,
    discovered: &Labels,
) -> Result<Option<Target>, String> {
    let mut labels = discovered.to_builder();
    if !rules.apply(&mut labels) {
        return Ok(None);
    }
    let address = labels.value(ADDRESS).to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let (interval, timeout) = timing(&labels)?;
    labels.retain(|name, _| !name.starts_with(META_PREFIX));
    if labels.value(INSTANCE).is_empty() {
        labels.set(INSTANCE, address.as_str());
    }
    let url = url(job, &labels);
    let sources = match labels.value(SOURCES_LABEL) {
        "" => vec![url.clone()],
        addresses => addresses
            .split(',')
            .map(|address| self::url(job, labels.clone().set(ADDRESS, address)))
            .collect(),
    };
    let public = labels.retain(|name, _| !name.starts_with(RESERVED_PREFIX)).build();
    Ok(Some(Target {
        id: TargetId::new(&job.job_name, &public, &url),
        job_name: job.job_name.clone(),
        labels: public,
        discovered: discovered.clone(),
        url,
        sources,
        interval,
        timeout,
    }))
}

fn timing(labels: &LabelsBuilder) -> Result<(Duration, Duration), String> {
    let read = |label: &str, what: &str| {
        let period = duration::parse(labels.value(label))
            .map_err(|error| format!("error parsing scrape {what}: {error}"))?;
        match period.is_zero() {
            true => Err(format!("scrape {what} cannot be 0")),
            false => Ok(period),
        }
    };
    let interval = read(SCRAPE_INTERVAL, "interval")?;
    let timeout = read(SCRAPE_TIMEOUT, "timeout")?;
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
            duration::format(timeout),
            duration::format(interval)
        ));
    }
    Ok((interval, timeout))
}

fn url(job: &ScrapeConfig, labels: &LabelsBuilder) -> String {
    let mut params = job.params.clone();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix(PARAM_PREFIX) else { continue };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    let pairs: Vec<String> = params
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
        .map(|(name, value)| format!("{}={}", escape::query(name), escape::query(value)))
        .collect();
    let path = labels.value(METRICS_PATH);
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    let query = if pairs.is_empty() { "" } else { "?" };
    format!(
        "{}://{}{slash}{}{query}{}",
        labels.value(SCHEME),
        labels.value(ADDRESS),
        escape::path(path),
        pairs.join("&")
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn targets(text: &str) -> JobTargets {
        let config = config::parse(text, Path::new("/")).expect(text);
        let job = &config.scrape_configs[0];
        let rules = Rules::compile(&job.relabel_configs).expect("rules");
        targets_of(job, &rules, &job.static_configs)
    }

    #[test]
    fn a_plain_target() {
        let found = targets(
            "scrape_configs: [{job_name: api, static_configs: [{targets: ['a:80', 'b'], labels: {zone: eu}}]}]",
        );
        let [a, b] = &found.active[..] else { panic!("two targets") };
        assert_eq!(a.url, "http://a:80/metrics");
        assert_eq!(b.url, "http://b/metrics", "no port is made up");
        assert_eq!(a.labels.to_string(), r#"{instance="a:80", job="api", zone="eu"}"#);
        assert_eq!((a.job(), b.instance()), ("api", "b"));
        assert_eq!(a.discovered.value("__scrape_interval__"), "1m");
        assert_eq!((a.interval, a.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
        assert_ne!(a.id, b.id);
    }

    #[test]
    fn relabelling_changes_address_parameters_and_timing() {
        let found = targets(
            "scrape_configs:
- job_name: blackbox
  metrics_path: probe
  params: {module: [http_2xx, second], 'a b': ['ö']}
  static_configs: [{targets: ['https://example.com/a']}]
  relabel_configs:
  - {source_labels: [__address__], target_label: __param_target}
  - {source_labels: [__param_target], target_label: instance}
  - {target_label: __address__, replacement: 'prober:9115'}
  - {target_label: __scrape_interval__, replacement: 5s}
  - {target_label: __scrape_timeout__, replacement: 2s}
  - {target_label: __tmp_x, replacement: y}",
        );
        let target = &found.active[0];
        assert_eq!(
            target.url,
            "http://prober:9115/probe?a+b=%C3%B6&module=http_2xx&module=second&target=https%3A%2F%2Fexample.com%2Fa"
        );
        let labels = r#"{instance="https://example.com/a", job="blackbox"}"#;
        assert_eq!(target.labels.to_string(), labels);
        assert_eq!(
            (target.interval, target.timeout),
            (Duration::from_secs(5), Duration::from_secs(2))
        );
    }

    #[test]
    fn dropped_doubled_and_broken_targets() {
        let found = targets(
            "scrape_configs:
- job_name: api
  keep_dropped_targets: 1
  target_limit: 1
  static_configs: [{targets: ['a', 'b', 'a', 'drop1', 'drop2', 'x', 'bad']}]
  relabel_configs:
  - {source_labels: [__address__], regex: 'drop.*', action: drop}
  - {source_labels: [__address__], regex: x, target_label: __address__, replacement: ''}
  - {source_labels: [__address__], regex: bad, target_label: __scrape_timeout__, replacement: 2h}",
        );
        assert_eq!(found.active.len(), 2, "a only once");
        assert_eq!((found.dropped.len(), found.dropped_total), (1, 2));
        assert_eq!(found.dropped[0].discovered.value("__address__"), "drop1");
        assert_eq!(
            found.problems,
            [
                "instance 5 in group static/0: no address",
                "instance 6 in group static/0: scrape timeout cannot be greater than scrape interval (\"2h\" > \"1m\")",
            ]
        );
        assert_eq!(
            found.limit_exceeded.as_deref(),
            Some("target_limit exceeded (number of targets: 2, limit: 1)")
        );
    }

    #[test]
    fn who_has_the_page_does_not_change_who_the_target_is() {
        let target = |sources: &[&str]| {
            let sources = sources.iter().map(|source| (*source).to_owned()).collect();
            let (host_name, address) = ("vm".to_owned(), "a:1".to_owned());
            let host = config::BuiltinHost { host_name, address, sources };
            let config = config::Config::builtin(&[], &[host]);
            let job = config.job(config::NODE_JOB).expect("built in");
            let rules = Rules::compile(&[]).expect("no rules");
            targets_of(job, &rules, &job.static_configs).active.remove(0)
        };
        let (first, second) = (target(&["a:1", "b:2"]), target(&["b:2", "a:1"]));
        assert_eq!((first.id, &first.labels, &first.url), (second.id, &second.labels, &second.url));
        assert_eq!(first.labels.to_string(), r#"{instance="vm", job="node"}"#);
        assert_eq!(second.sources, ["http://b:2/metrics/node", "http://a:1/metrics/node"]);
    }

    #[test]
    fn an_id_depends_on_job_labels_and_url() {
        let id = |text: &str| targets(text).active[0].id;
        let base = "scrape_configs: [{job_name: api, static_configs: [{targets: ['a:80']}]}]";
        assert_eq!(id(base), id(base));
        assert_ne!(id(base), id(&base.replace("api", "web")));
        assert_ne!(id(base), id(&base.replace("]}]}]", "], labels: {x: y}}]}]")));
        assert_ne!(id(base), id(&base.replace("job_name", "metrics_path: /m, job_name")));
        assert_eq!(
            id(base),
            id(&base.replace("job_name", "scrape_interval: 7s, scrape_timeout: 7s, job_name"))
        );
    }
}
