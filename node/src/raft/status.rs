//! How a group is doing, for metrics and `cluster status`.

use std::{sync::atomic::Ordering, time::Duration};

use openraft::async_runtime::{Instant as _, WatchReceiver};

use super::{
    group::{Core, Leadership},
    types::{GroupId, LogPosition, NodeId},
};

/// A group at one moment, as its replica here sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupStatus {
    /// Which group.
    pub group: GroupId,
    /// Who leads.
    pub leadership: Leadership,
    /// The voters.
    pub voters: Vec<NodeId>,
    /// Members without a vote.
    pub learners: Vec<NodeId>,
    /// Whether these members are committed, and not on the way from others: until then the voters
    /// of before count, too.
    pub members_settled: bool,
    /// Index of the newest entry in the log.
    pub last_index: Option<u64>,
    /// The newest entry known to be committed.
    pub committed: Option<LogPosition>,
    /// The newest entry applied.
    pub applied: Option<LogPosition>,
    /// The newest entry covered by a checkpoint on disk.
    pub persisted: Option<LogPosition>,
    /// The newest entry purged.
    pub purged: Option<LogPosition>,
    /// On the leader, the others.
    pub followers: Vec<FollowerStatus>,
    /// Bytes of entries held in memory.
    pub tail_bytes: usize,
    /// Bytes of entries above the purge point, to about a megabyte.
    pub log_bytes: u64,
    /// How often the group was reopened after its core had ended.
    pub reopenings: u64,
    /// No leader, or a leader that hears no majority, or a replica that is not open.
    pub stalled: bool,
    /// The replica is lost until the node restarts, and why.
    pub failure: Option<String>,
}

/// A follower or learner, as the leader sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Which node.
    pub node: NodeId,
    /// The newest entry it is known to have.
    pub matched: Option<LogPosition>,
    /// Entries it lacks.
    pub lag_entries: u64,
    /// Index after the last entry it has persisted, if it has said so.
    pub persisted_end: Option<u64>,
    /// It lacks entries that were purged, and must be filled before it can go on.
    pub is_cut_off: bool,
    /// How long ago it was heard last; `None`: not since this leader leads.
    pub silent_for: Option<Duration>,
}

/// A follower that was not heard for so long is dead or cut off: some heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(1);

impl FollowerStatus {
    /// Whether it was heard just now.
    pub fn is_heard(&self) -> bool {
        self.silent_for.is_some_and(|silence| silence < SILENCE_MAX)
    }

    /// Whether it was heard just now and lacks no more entries than these. One that is dead lacks few,
    /// too, where little is written.
    pub fn is_up_to_date(&self, lag_entries_max: u64) -> bool {
        let has_all = self.matched.is_some() && self.lag_entries <= lag_entries_max;
        self.is_heard() && has_all && !self.is_cut_off
    }
}

impl GroupStatus {
    /// Of a group that nothing is known of.
    pub fn empty(group: GroupId) -> Self {
        Self {
            group,
            leadership: Leadership::default(),
            voters: Vec::new(),
            learners: Vec::new(),
            members_settled: false,
            last_index: None,
            committed: None,
            applied: None,
            persisted: None,
            purged: None,
            followers: Vec::new(),
            tail_bytes: 0,
            log_bytes: 0,
            reopenings: 0,
            stalled: false,
            failure: None,
        }
    }

    pub(super) fn of(core: &Core) -> Self {
        let mut status = Self {
            leadership: *core.leadership.borrow(),
            applied: *core.machine.progress().borrow(),
            persisted: core.persisted.lock().position,
            tail_bytes: core.log.tail_bytes(),
            log_bytes: core.log.bytes(),
            reopenings: core.reopenings.load(Ordering::Relaxed),
            stalled: core.stalled.load(Ordering::Relaxed),
            failure: core.machine.failure().map(|failure| failure.to_string()),
            ..Self::empty(core.config.group)
        };
        if let Some(raft) = core.raft() {
            status.read(core, &raft.metrics().borrow_watched());
        }
        status
    }

    fn read(&mut self, core: &Core, metrics: &openraft::RaftMetrics<super::types::TypeConfig>) {
        let members = metrics.membership_config.membership();
        self.voters = members.voter_ids().collect();
        self.learners = members.learner_ids().collect();
        let committed = metrics.committed_membership_config.log_id();
        self.members_settled = members.get_joint_config().len() == 1
            && metrics.membership_config.log_id() == committed;
        self.last_index = metrics.last_log_index;
        self.committed = metrics.local_committed.map(LogPosition::from);
        self.purged = metrics.purged.map(LogPosition::from);
        let end = metrics.last_log_index.map_or(0, |last| last + 1);
        let (peers_persisted, cut_off) = (core.peers_persisted.lock(), core.cut_off.lock());
        let heard = |node: NodeId| {
            let at = metrics.heartbeat.as_ref()?.get(&node)?.as_ref()?;
            Some(at.elapsed())
        };
        let others = metrics.replication.iter().flatten().filter(|(node, _)| **node != core.node);
        let follower = |(&node, matched): (&NodeId, &Option<super::types::LogId>)| FollowerStatus {
            node,
            matched: matched.map(LogPosition::from),
            lag_entries: end.saturating_sub(matched.map_or(0, |matched| matched.index + 1)),
            persisted_end: peers_persisted.get(&node).copied(),
            is_cut_off: cut_off.contains(&node),
            silent_for: heard(node),
        };
        self.followers = others.map(follower).collect();
    }
}
