//! Keeps one group open: follows its core, purges its log, and reopens it when the core ends.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::{
    RaftMetrics, ServerState, async_runtime::WatchReceiver, metrics::RaftServerMetrics,
};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    adapter::Adapter,
    group::{Core, Leadership, RaftHandle, Role},
    runtime::interval_on_grid,
    types::{LogId, NodeId, TypeConfig},
};
use crate::planted::{Planted, is_planted};

type LogFailure = watch::Receiver<Option<Arc<io::Error>>>;

/// Pause before a reopening: doubles from the first to the last, and begins anew once the group
/// has stayed open for a while.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(10);
const TICKS_UNTIL_HEALTHY: u32 = 60;

/// Pause between looks at what can be purged and whether the group stalls.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between looks at what of the log is still needed in memory, and at whether a leader still
/// hears a majority, for which a timer is set anew each time: no message says that it does not.
/// Short beside the lease.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Ticks without a leader, or without a majority behind this one, after which a group counts as
/// stalled: longer than an election.
const TICKS_UNTIL_STALLED: u32 = 5;

/// Runs until stopped. `opened` learns how the first opening went; if it failed, the task ends.
pub(super) async fn run(
    core: Arc<Core>,
    log_failure: LogFailure,
    stop: CancellationToken,
    opened: oneshot::Sender<Result<(), String>>,
) {
    let mut raft = match open(&core).await {
        Ok(raft) => raft,
        Err(problem) => {
            opened.send(Err(problem)).ok();
            return;
        }
    };
    opened.send(Ok(())).ok();
    let mut backoff = BACKOFF_FIRST;
    loop {
        let ticks = follow(&core, &raft, &stop).await;
        close(&core, &raft).await;
        if stop.is_cancelled() {
            return;
        }
        if ticks >= TICKS_UNTIL_HEALTHY {
            backoff = BACKOFF_FIRST;
        }
        core.stalled.store(true, Ordering::Relaxed);
        raft = loop {
            if core.machine.failure().is_some() || log_failure.borrow().is_some() {
                tracing::error!(group = %core.config.group, "replica is lost until restart");
                return stop.cancelled().await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_LAST);
            core.count_reopening();
            match open(&core).await {
                Ok(raft) => break raft,
                Err(problem) => {
                    tracing::error!(group = %core.config.group, problem, "reopening failed");
                }
            }
        };
    }
}

async fn open(core: &Arc<Core>) -> Result<RaftHandle, String> {
    let config = core.config.timing.config().validate().map_err(|error| error.to_string())?;
    let used = core.log.is_used();
    let adapter = Adapter::new(core.machine.clone(), core.persisted.clone());
    let network = core.network.factory(core);
    let raft =
        RaftHandle::new(core.node, Arc::new(config), network, core.log.clone(), adapter).await;
    let raft = raft.map_err(|error| error.to_string())?;
    // Asked of the core itself: its metrics begin with nothing, as if there were no other voter.
    let node = core.node;
    let alone = raft
        .with_raft_state(move |state| {
            let members = state.membership_state.effective().membership();
            members.voter_ids().all(|voter| voter == node)
        })
        .await
        .map_err(|error| error.to_string())?;
    let wait = used && !alone;
    core.votes.store(!wait, Ordering::Relaxed);
    // Openraft forgets at a restart which lease it granted. The leader may still answer reads under
    // it, so this replica helps to elect nobody before it must be over.
    *core.raft.write() = Some(raft.clone());
    core.let_campaign();
    Ok(raft)
}

async fn close(core: &Core, raft: &RaftHandle) {
    *core.raft.write() = None;
    core.leadership.send_modify(|leadership| {
        *leadership = Leadership { term: leadership.term, ..Leadership::default() };
    });
    if let Err(error) = raft.shutdown().await {
        tracing::error!(group = %core.config.group, %error, "core of a raft group ended badly");
    }
    // What it has handed over is applied before anything else happens to the state.
    core.machine.applied().await.ok();
}

/// Follows a core until it ends or is stopped; gives the ticks that took.
async fn follow(core: &Core, raft: &RaftHandle, stop: &CancellationToken) -> u32 {
    // Each commit changes the metrics several times. What matters here changes with the server's
    // state, which openraft publishes a moment earlier; only until a new leader is ready does it
    // hang on what was applied.
    let (mut server, mut metrics) = (raft.server_metrics(), raft.metrics());
    let mut progress = core.machine.progress();
    let (mut tick, mut look) = (interval_on_grid(TICK_INTERVAL), interval_on_grid(LOOK_INTERVAL));
    let lease = sleep(core.config.timing.lease());
    tokio::pin!(lease);
    let alone = sleep(core.config.timing.lease());
    tokio::pin!(alone);
    let (mut ticks, mut silent_ticks, mut leased) = (0u32, 0u32, false);
    let (mut unsettled, mut owns) = (true, false);
    loop {
        let lives = tokio::select! {
            biased;
            () = stop.cancelled() => return ticks,
            () = &mut lease, if !leased => {
                leased = true;
                core.votes.store(true, Ordering::Relaxed);
                core.let_campaign();
                true
            }
            () = &mut alone, if owns => true,
            () = core.machine.failed() => return ticks,
            changed = server.changed() => changed.is_ok(),
            changed = metrics.changed(), if unsettled => changed.is_ok(),
            changed = progress.changed(), if unsettled => changed.is_ok(),
            _ = look.tick() => {
                core.log.release(needed_from(&metrics.borrow_watched()));
                true
            }
            _ = tick.tick() => {
                ticks = ticks.saturating_add(1);
                let seen = metrics.borrow_watched().clone();
                silent_ticks = if is_led(core, &seen) { 0 } else { silent_ticks.saturating_add(1) };
                core.stalled.store(silent_ticks >= TICKS_UNTIL_STALLED, Ordering::Relaxed);
                purge(core, raft, &seen).await;
                true
            }
        };
        let seen = metrics.borrow_watched().clone();
        if !lives || seen.running_state.is_err() {
            return ticks;
        }
        // Before it is looked at whether this is ready: who is ready without it has heard more since.
        let heard_for = heard_for(core, &seen);
        let now = leadership(core, &seen);
        let behind = server.borrow_watched().state != seen.state
            || server.borrow_watched().vote != seen.vote
            || server.borrow_watched().current_leader != seen.current_leader;
        unsettled = behind || (now.role == Role::Leader && !now.ready);
        owns = now.ready && !heard_for.is_zero() && !is_alone(core, &seen);
        if owns {
            alone.set(sleep(heard_for));
        }
        raft.runtime_config().tick(needs_ticks(core, &server.borrow_watched()));
        publish(core, now);
    }
}

fn publish(core: &Core, now: Leadership) {
    let group = core.config.group;
    core.leadership.send_if_modified(|before| {
        let changed = *before != now;
        if now.role == Role::Leader && before.role != Role::Leader {
            // What was said to an earlier leadership may be of an earlier life.
            core.peers_persisted.lock().clear();
        }
        if (before.role, before.term, before.leader) != (now.role, now.term, now.leader) {
            // Told once for each leadership, by who has it.
            if [before.role, now.role].contains(&Role::Leader) {
                tracing::info!(%group, role = ?now.role, term = now.term, "raft leadership changed");
            } else {
                let (role, leader) = (now.role, now.leader);
                tracing::debug!(%group, ?role, term = now.term, ?leader, "raft leader changed");
            }
        }
        *before = now;
        changed
    });
}

fn leadership(core: &Core, metrics: &RaftMetrics<TypeConfig>) -> Leadership {
    let role = match metrics.state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
    };
    let applied_term = core.machine.progress().borrow().map(|applied| applied.term);
    Leadership {
        role,
        term: metrics.current_term,
        leader: metrics.current_leader,
        ready: role == Role::Leader
            && (applied_term == Some(metrics.current_term)
                || is_planted(Planted::ReadyBeforeApply))
            && (hears_majority(core, metrics) || is_planted(Planted::ReadyAlone)),
    }
}

/// Whether the group has a leader that a majority hears, as far as this replica can tell.
fn is_led(core: &Core, metrics: &RaftMetrics<TypeConfig>) -> bool {
    let members = metrics.membership_config.membership();
    if members.voter_ids().next().is_none() {
        // Not founded yet: nothing to stall.
        return true;
    }
    if metrics.state != ServerState::Leader {
        return metrics.current_leader.is_some();
    }
    hears_majority(core, metrics)
}

/// Whether a majority has lately answered this leader. Who answered helps to elect another one only
/// once this says no: each grants the leader a lease with its answer.
fn hears_majority(core: &Core, metrics: &RaftMetrics<TypeConfig>) -> bool {
    !heard_for(core, metrics).is_zero() || is_alone(core, metrics)
}

/// How long this leader may rely on what a majority answered last.
fn heard_for(core: &Core, metrics: &RaftMetrics<TypeConfig>) -> Duration {
    let lease = core.config.timing.lease();
    let led_at = core.led_at(metrics, metrics.current_term);
    led_at.map_or(Duration::ZERO, |at| lease.saturating_sub(at.elapsed()))
}

/// Whether there is no other voter.
fn is_alone(core: &Core, metrics: &RaftMetrics<TypeConfig>) -> bool {
    let members = metrics.membership_config.membership();
    members.voter_ids().all(|voter| voter == core.node)
}

/// Whether there is anything to do as time passes. The leader of a group of one has nobody to send
/// heartbeats to and never stands for election: its ticks would only wake a thread.
fn needs_ticks(core: &Core, server: &RaftServerMetrics<TypeConfig>) -> bool {
    let members = server.membership_config.membership();
    server.state != ServerState::Leader || members.nodes().any(|(node, _)| *node != core.node)
}

/// Index of the first entry that has not been handed over to the state machine or, on the leader,
/// that a follower still has to read.
fn needed_from(metrics: &RaftMetrics<TypeConfig>) -> u64 {
    let end = |id: &Option<LogId>| id.map_or(0, |id| id.index + 1);
    let matched = metrics.replication.iter().flatten().map(|(_, matched)| end(matched));
    matched.min().unwrap_or(u64::MAX).min(end(&metrics.last_applied))
}

/// Lets openraft know of the newest checkpoint, and purges what every member has persisted.
async fn purge(core: &Core, raft: &RaftHandle, metrics: &RaftMetrics<TypeConfig>) {
    let own_end = core.persisted_end();
    if metrics.state == ServerState::Leader {
        let members = metrics.membership_config.membership();
        let members: BTreeSet<NodeId> = members.nodes().map(|(node, _)| *node).collect();
        if let Some(end) = everywhere_end(core, &members, own_end) {
            core.purge_end.fetch_max(end, Ordering::Relaxed);
        }
    }
    let snapshot_end = metrics.snapshot.map_or(0, |snapshot| snapshot.index + 1);
    let purged_end = metrics.purged.map_or(0, |purged| purged.index + 1);
    let end = core.purge_end.load(Ordering::Relaxed).max(budget_end(core)).min(own_end);
    if end <= purged_end {
        return;
    }
    let asked = if snapshot_end < end {
        // Openraft purges only below a snapshot; ours is a manifest, ready by the next tick.
        raft.trigger().snapshot().await
    } else {
        raft.trigger().purge_log(end - 1).await
    };
    if let Err(error) = asked {
        tracing::warn!(group = %core.config.group, %error, "purging failed");
    }
}

/// Index below which entries must go for the log to stay within its budget, although a member may
/// lack them. A quarter of it goes at once: what is purged leaves the disk by large ranges.
fn budget_end(core: &Core) -> u64 {
    let max = core.config.log_bytes_max;
    if core.log.bytes() <= max {
        return 0;
    }
    core.log.index_leaving(max - max / 4)
}

/// Index after the last entry that every member has persisted; `None` while one has not said.
fn everywhere_end(core: &Core, members: &BTreeSet<NodeId>, own_end: u64) -> Option<u64> {
    let peers = core.peers_persisted.lock();
    let ends = members.iter().map(|member| match *member == core.node {
        true => Some(own_end),
        false => peers.get(member).copied(),
    });
    ends.collect::<Option<Vec<u64>>>()?.into_iter().min()
}
