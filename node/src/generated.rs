//! Scrape jobs and rules that follow from config objects, in the form of this node's own
//! configuration.
//!
//! What cannot be used here is left out and told of; the others stay in force.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use narthex_cluster::ClusterState;
use narthex_objects::{Generated, Group, Job, NamedRuleFile, generate, rule_files};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::config::{self, Config, RuleFileText, ScrapeConfig, TargetGroup};

/// The configuration that a state asks for, without its objects.
pub(crate) type OwnConfig = dyn Fn(&ClusterState) -> Config + Send + Sync;

/// What was made of the objects of a state.
struct Made {
    state: Arc<ClusterState>,
    jobs: Vec<ScrapeConfig>,
    rule_files: Vec<RuleFileText>,
}

impl Made {
    fn of(state: Arc<ClusterState>) -> Self {
        Self { jobs: jobs_of(&state), rule_files: rules_of(&state), state }
    }

    /// The configuration with what was made of objects.
    fn joined(&self, own: &OwnConfig) -> Config {
        let mut config = joined(own(&self.state), &self.jobs);
        config.rule_files.extend(self.rule_files.iter().cloned());
        config
    }
}

/// Follows what is in force: `own` of the state, and behind it what follows from its objects.
pub(crate) fn follow(
    mut state: watch::Receiver<Arc<ClusterState>>,
    own: Arc<OwnConfig>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> watch::Receiver<Arc<Config>> {
    let first = state.borrow_and_update().clone();
    let mut made = Made::of(first);
    let (sender, receiver) = watch::channel(Arc::new(made.joined(own.as_ref())));
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = state.changed() => if changed.is_err() { return },
            }
            let current = state.borrow_and_update().clone();
            if made.state.objects().is_same(current.objects()) {
                made.state = current;
            } else {
                // Thousands of objects take longer than a runtime's thread should.
                let made_of = tokio::task::spawn_blocking(move || Made::of(current)).await;
                let Ok(new) = made_of else { return };
                made = new;
            }
            let config = made.joined(own.as_ref());
            sender.send_if_modified(|present| {
                let is_other = **present != config;
                if is_other {
                    *present = Arc::new(config);
                    info!("scrape configuration changed");
                }
                is_other
            });
        }
    });
    receiver
}

fn joined(mut config: Config, jobs: &[ScrapeConfig]) -> Config {
    let taken: BTreeSet<String> =
        config.scrape_configs.iter().map(|job| job.job_name.clone()).collect();
    for job in jobs {
        match taken.contains(&job.job_name) {
            true => {
                warn!(job = ?job.job_name, "the configuration file has a job of this name, too")
            }
            false => config.scrape_configs.push(job.clone()),
        }
    }
    config
}

/// The jobs of a state's objects.
fn jobs_of(state: &ClusterState) -> Vec<ScrapeConfig> {
    let Generated { jobs, rejected } = generate(state.objects());
    for rejected in rejected {
        let (object, by) = (rejected.object.to_string(), rejected.by.to_string());
        warn!(%object, %by, reason = ?rejected.reason, "object is not in force");
    }
    let read = jobs.into_iter().filter_map(|job| {
        let name = job.name.clone();
        match read(job) {
            Ok(job) => Some(job),
            Err(problem) => {
                warn!(job = ?name, %problem, "job of an object is not in force");
                None
            }
        }
    });
    read.collect()
}

/// The rules of a state's objects.
fn rules_of(state: &ClusterState) -> Vec<RuleFileText> {
    let (files, rejected) = rule_files(state.objects());
    for rejected in rejected {
        let (object, by) = (rejected.object.to_string(), rejected.by.to_string());
        warn!(%object, %by, reason = ?rejected.reason, "rules of an object are not in force");
    }
    let text = |file: NamedRuleFile| RuleFileText { path: file.name, text: file.text };
    files.into_iter().map(text).collect()
}

/// A generated job, checked as one of a file is.
fn read(job: Job) -> Result<ScrapeConfig, config::Problem> {
    let text = serde_json::json!({ "scrape_configs": [job.config] }).to_string();
    let mut config = config::parse(&text, Path::new("/"))?;
    let mut read = config.scrape_configs.pop().ok_or_else(|| config::Problem::new("no job"))?;
    read.static_configs.extend(job.groups.into_iter().map(target_group));
    Ok(read)
}

fn target_group(group: Group) -> TargetGroup {
    TargetGroup { targets: group.targets, labels: group.labels, source: group.source }
}

#[cfg(test)]
mod tests {
    use narthex_objects::Kind;

    use super::*;

    fn job(config: serde_json::Value) -> Job {
        let object = narthex_cluster::ObjectKey {
            group: Kind::ServiceMonitor.group().to_owned(),
            kind: Kind::ServiceMonitor.name().to_owned(),
            namespace: "web".to_owned(),
            name: "a".to_owned(),
        };
        let target = [("__address__".to_owned(), "a:80".to_owned())].into();
        let labels = [("__meta_kubernetes_namespace".to_owned(), "web".to_owned())].into();
        let group = Group { source: "svc/web/a".to_owned(), labels, targets: vec![target] };
        Job { name: "serviceMonitor/web/a/0".to_owned(), object, config, groups: vec![group] }
    }

    #[test]
    fn a_generated_job_is_one_of_the_configuration() {
        let config = serde_json::json!({
            "job_name": "serviceMonitor/web/a/0",
            "scrape_interval": "30s",
            "sample_limit": 7,
            "basic_auth": { "username": "u", "password": "hunter2" },
            "relabel_configs": [
                { "source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace" },
            ],
        });
        let read = read(job(config)).expect("valid");
        assert_eq!(read.limits.sample_limit, 7);
        assert_eq!(read.static_configs[0].targets[0]["__address__"], "a:80");
        assert_eq!(read.relabel_configs[0].target_label, "namespace");
        let both = joined(Config::default(), &[read.clone(), read.clone()]);
        assert_eq!(both.scrape_configs.len(), 2, "names were made unique before");
        let file = Config { scrape_configs: vec![read.clone()], ..Config::default() };
        assert_eq!(joined(file, &[read]).scrape_configs.len(), 1, "the file's job wins");
    }

    #[test]
    fn what_is_not_in_force_is_named() {
        let config = serde_json::json!({ "job_name": "x", "proxy_url": "http://p" });
        let error = super::read(job(config)).expect_err("refused").to_string();
        assert!(error.contains("key \"proxy_url\" is not in force"), "{error}");
    }
}
