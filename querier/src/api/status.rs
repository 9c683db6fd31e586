//! `/api/v1/status/*`.

use std::{fmt::Write as _, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use narthex_cluster::Settings;
use narthex_model::duration;
use narthex_web::metrics::{PROMETHEUS_API_VERSION, VERSION};

use super::targets::rfc3339;
use crate::{
    ConfigStatus, Querier,
    answer::{Remarks, success, unwrapped},
    json::Json,
    status::{ClusterStatus, EpochRow, GroupRow, MovesRow},
};

fn answer(data: impl FnOnce(&mut Json<Vec<Bytes>>)) -> Response {
    success(&Remarks::default(), data)
}

/// `version` is the Prometheus version whose API is served: clients choose features by it.
pub(super) fn build_info() -> Response {
    answer(|json| {
        json.raw("{");
        write_version(json);
        json.name("application").text("narthex");
        json.name("applicationVersion").text(VERSION).raw("}");
    })
}

/// `/version`: as [`build_info`], without an envelope.
pub(super) fn version() -> Response {
    unwrapped(|json| {
        json.raw("{");
        write_version(json);
        json.raw("}");
    })
}

fn write_version(json: &mut Json<Vec<Bytes>>) {
    json.name("version").text(PROMETHEUS_API_VERSION);
    for name in ["revision", "branch", "buildUser", "buildDate", "goVersion"] {
        json.name(name).text("");
    }
}

pub(super) fn runtime_info(api: &Querier) -> Response {
    let uname = rustix::system::uname();
    let folder = std::env::current_dir().unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let config = api.options.config.borrow().clone();
    let retention = retention_text(api.cluster.state().settings());
    answer(|json| {
        json.raw("{").name("startTime").text(&rfc3339(api.started.millis()));
        json.name("CWD").text(&folder.to_string_lossy());
        json.name("hostname").text(&uname.nodename().to_string_lossy());
        json.name("serverTime").text(&rfc3339(api.clock.now().millis()));
        json.name("reloadConfigSuccess").boolean(config.problem.is_empty());
        json.name("lastConfigTime").text(&rfc3339(config.loaded.millis()));
        json.name("corruptionCount").integer(0);
        json.name("goroutineCount").integer(0);
        json.name("GOMAXPROCS").integer(threads);
        json.name("GOMEMLIMIT").integer(0);
        json.name("GOGC").text("").name("GODEBUG").text("");
        json.name("storageRetention").text(&retention).raw("}");
    })
}

/// How long samples are kept, as Prometheus words it: a duration, and bytes in powers of 1024.
fn retention_text(settings: Settings) -> String {
    let millis = u64::try_from(settings.retention_millis).unwrap_or_default();
    let time = duration::format(Duration::from_millis(millis));
    if settings.retention_bytes <= 0 {
        return time;
    }
    let mut rest = settings.retention_bytes;
    let mut size = String::new();
    let units = ["EiB", "PiB", "TiB", "GiB", "MiB", "KiB", "B"];
    for (unit, shift) in units.into_iter().zip((0..7).rev().map(|power| 10 * power)) {
        let count = rest >> shift;
        rest -= count << shift;
        if count > 0 {
            let _ = write!(size, "{count}{unit}");
        }
    }
    format!("{time} or {size}")
}

pub(super) async fn cluster(api: &Querier) -> Response {
    let status = api.board.status().await;
    let config = api.options.config.borrow().clone();
    answer(|json| write_cluster(json, &status, &config))
}

fn write_cluster(json: &mut Json<Vec<Bytes>>, status: &ClusterStatus, config: &ConfigStatus) {
    json.raw("{").name("clusterId").text(&status.cluster_id);
    json.name("revision").integer(status.revision);
    json.name("replicationFactor").integer(status.replication_factor);
    json.name("nodes").raw("[");
    for node in &status.nodes {
        json.element().raw("{").name("id").integer(node.id);
        json.name("name").text(&node.name);
        json.name("address").text(&node.address);
        json.name("webAddress").text(&node.web_address);
        json.name("zone").text(&node.zone);
        json.name("version").text(&node.version);
        json.name("state").text(node.state);
        json.name("reachable").boolean(node.error.is_none());
        json.name("error").text(node.error.as_deref().unwrap_or(""));
        json.name("diskProblem").text(&node.disk_problem).raw("}");
    }
    json.raw("]").name("config").raw("{").name("problem").text(&config.problem);
    json.name("loaded").text(&rfc3339(config.loaded.millis())).name("inactiveSections").raw("[");
    for section in &config.inactive {
        json.element().text(section);
    }
    json.raw("]}").name("control");
    write_group(json, &status.control);
    json.name("shards").raw("[");
    for shard in &status.shards {
        json.element();
        write_group(json, shard);
    }
    json.raw("]").name("ring").raw("[");
    for epoch in &status.ring {
        write_epoch(json, epoch);
    }
    json.raw("]").name("moves");
    write_moves(json, &status.moves);
    json.raw("}");
}

fn write_epoch(json: &mut Json<Vec<Bytes>>, epoch: &EpochRow) {
    json.element().raw("{").name("begins").text(&rfc3339(epoch.begins.millis()));
    json.name("current").boolean(epoch.is_current).name("shares").raw("[");
    for (shard, share) in &epoch.shares {
        json.element().raw("{").name("shard").integer(shard.0);
        json.name("share").float(*share).raw("}");
    }
    json.raw("]}");
}

fn write_moves(json: &mut Json<Vec<Bytes>>, moves: &MovesRow) {
    json.raw("{").name("error").text(moves.error.as_deref().unwrap_or(""));
    json.name("state").text(&moves.state).name("underWay").raw("[");
    for (shard, moving) in &moves.under_way {
        json.element().raw("{").name("shard").integer(shard.0).name("add");
        write_known(json, moving.add.map(|node| node.0));
        json.name("remove");
        write_known(json, moving.remove.map(|node| node.0));
        json.raw("}");
    }
    json.raw("]").name("decided").raw("[");
    for decided in &moves.decided {
        json.element().raw("{").name("time").text(&rfc3339(decided.time_ms));
        json.name("what").text(&decided.what).name("why").text(&decided.why).raw("}");
    }
    json.raw("]}");
}

fn write_group(json: &mut Json<Vec<Bytes>>, group: &GroupRow) {
    json.raw("{").name("id").integer(group.id);
    json.name("leader").integer(group.leader.unwrap_or(0));
    json.name("term").integer(group.term);
    json.name("commitIndex").integer(group.commit_index);
    json.name("activeSeries").integer(group.active_series);
    json.name("replicas").raw("[");
    for replica in &group.replicas {
        json.element().raw("{").name("node").integer(replica.node);
        json.name("matchIndex").integer(replica.match_index);
        json.name("appliedIndex");
        write_known(json, replica.applied_index);
        json.name("lagEntries");
        write_known(json, replica.lag_entries);
        json.raw("}");
    }
    json.raw("]}");
}

fn write_known(json: &mut Json<Vec<Bytes>>, number: Option<u64>) {
    match number {
        Some(number) => json.integer(number),
        None => json.raw("null"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_worded_as_by_prometheus() {
        let text =
            |bytes| retention_text(Settings { retention_bytes: bytes, ..Settings::default() });
        assert_eq!(text(0), "15d");
        assert_eq!(text(512), "15d or 512B");
        assert_eq!(text((3 << 30) + (512 << 20)), "15d or 3GiB512MiB");
        assert_eq!(text(i64::MAX), "15d or 7EiB1023PiB1023TiB1023GiB1023MiB1023KiB1023B");
    }
}
