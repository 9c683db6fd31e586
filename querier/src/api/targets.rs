//! `/api/v1/targets`: what every node says about the targets it owns.

use std::{collections::BTreeMap, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use narthex_proto::internal::v1::{DroppedTarget, LabelPair, Target};

use crate::{
    Querier,
    answer::{Remarks, success},
    error::ApiError,
    json::Json,
    params::Params,
};

/// How long a node may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How Go prints the time at which nothing has been scraped yet.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The targets of all nodes.
#[derive(Default)]
pub(super) struct Found {
    /// By pool and labels: a target that just changed owners is told once, by whoever scraped last.
    pub(super) active: BTreeMap<(String, Vec<(String, String)>), Target>,
    pub(super) dropped: BTreeMap<(String, Vec<(String, String)>), DroppedTarget>,
    /// Which nodes did not answer.
    pub(super) warnings: Vec<String>,
}

pub(super) async fn targets(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let state = params.value("state").to_lowercase();
    let pool = params.value("scrapePool");
    let (active, dropped) = match state.as_str() {
        "" | "any" => (true, true),
        "active" => (true, false),
        "dropped" => (false, true),
        _ => (false, false),
    };
    let found = look(api).await;
    let in_pool = |name: &str| pool.is_empty() || pool == name;
    Ok(success(&Remarks::warnings(found.warnings.clone()), |json| {
        json.raw("{").name("activeTargets").raw("[");
        for target in found.active.values().filter(|t| active && in_pool(&t.scrape_pool)) {
            write_target(json, target);
        }
        json.raw("]").name("droppedTargets").raw("[");
        for target in found.dropped.values().filter(|t| dropped && in_pool(&t.scrape_pool)) {
            json.element().raw("{").name("discoveredLabels");
            write_labels(json, &target.discovered_labels);
            json.name("scrapePool").text(&target.scrape_pool).raw("}");
        }
        json.raw("]").name("droppedTargetCounts").raw("{");
        for (pool, count) in counts(&found) {
            json.name(pool).integer(count);
        }
        json.raw("}}");
    }))
}

pub(super) async fn look(api: &Querier) -> Found {
    let members = api.cluster.state();
    let asked = members.members().values().map(|member| async move {
        (member.name.clone(), api.cluster.targets(member.id, ANSWER_TIME).await)
    });
    let mut found = Found::default();
    for (node, answer) in join_all(asked).await {
        match answer {
            Ok(targets) => {
                targets.active.into_iter().for_each(|target| found.add(target));
                for target in targets.dropped {
                    let key = (target.scrape_pool.clone(), pairs(&target.discovered_labels));
                    found.dropped.insert(key, target);
                }
            }
            Err(status) => found.warnings.push(format!(
                "node {node} does not answer, its targets may be missing: {}",
                status.message()
            )),
        }
    }
    found
}

impl Found {
    fn add(&mut self, target: Target) {
        let key = (target.scrape_pool.clone(), pairs(&target.labels));
        match self.active.get(&key) {
            Some(known) if known.last_scrape_ms >= target.last_scrape_ms => {}
            _ => drop(self.active.insert(key, target)),
        }
    }
}

/// Dropped targets of every pool that has any target.
fn counts(found: &Found) -> BTreeMap<&str, usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for target in found.active.values() {
        counts.entry(&target.scrape_pool).or_default();
    }
    for target in found.dropped.values() {
        *counts.entry(&target.scrape_pool).or_default() += 1;
    }
    counts
}

fn pairs(labels: &[LabelPair]) -> Vec<(String, String)> {
    labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
}

fn write_target(json: &mut Json<Vec<Bytes>>, target: &Target) {
    json.element().raw("{").name("discoveredLabels");
    write_labels(json, &target.discovered_labels);
    json.name("labels");
    write_labels(json, &target.labels);
    json.name("scrapePool").text(&target.scrape_pool);
    json.name("scrapeUrl").text(&target.scrape_url);
    json.name("globalUrl").text(&target.global_url);
    json.name("lastError").text(&target.last_error);
    json.name("lastScrape").text(&rfc3339(target.last_scrape_ms));
    json.name("lastScrapeDuration").float(target.last_scrape_duration_seconds);
    json.name("health").text(&target.health);
    json.name("scrapeInterval").text(&target.scrape_interval);
    json.name("scrapeTimeout").text(&target.scrape_timeout).raw("}");
}

/// Labels by name.
pub(super) fn label_set(labels: &[LabelPair]) -> BTreeMap<String, String> {
    pairs(labels).into_iter().collect()
}

pub(super) fn write_labels(json: &mut Json<Vec<Bytes>>, labels: &[LabelPair]) {
    json.raw("{");
    for (name, value) in label_set(labels) {
        json.name(&name).text(&value);
    }
    json.raw("}");
}

/// A time as RFC 3339; 0 is never.
pub(super) fn rfc3339(millis: i64) -> String {
    if millis == 0 {
        return NEVER.to_owned();
    }
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}
