//! How requests change the state: decisions only, each checked whole before anything changes.
//!
//! Invariants
//! * a refused request changes nothing but the state's time;
//! * a request that is repeated while it is remembered gets its first outcome;
//! * shards and epochs are only ever added, and an epoch's beginning and ring never change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use narthex_model::Timestamp;

use crate::{
    AddMember, ChangeRing, ClusterState, ClusterVersion, Command, Drain, EndMove, Epoch, Found,
    ImportScrapeConfig, Incarnation, Member, MemberState, Move, MoveProblem, MoveReplica, NodeId,
    ObjectOutcome, Outcome, Placement, Preference, Refusal, Request, Ring, ScrapeConfig,
    SettingsChange, ShardId, StartMember, codec::CONTENT_BYTES_MAX, epoch, placement,
    state::Answered,
};

/// The most shards a cluster can have: beyond it idle groups cost more than they carry.
pub const SHARDS_MAX: u64 = 1024;
/// The most epochs that can be known: a change of the ring every week for 78 years.
pub const EPOCHS_MAX: usize = 4096;
/// How many requests are remembered. A client repeats at once or never.
const ANSWERED_MAX: usize = 1024;

/// What an accepted request did.
enum Effect {
    Nothing,
    Change,
    MemberAdded(NodeId),
    EpochAdded(u64, Timestamp),
    Objects(Vec<ObjectOutcome>),
}

impl ClusterState {
    /// Applies one committed request.
    pub fn apply(&mut self, request: &Request) -> Outcome {
        if let Some(outcome) = self.answer(request.id) {
            return outcome.clone();
        }
        self.time = self.time.max(request.at);
        let outcome = match self.apply_command(&request.command) {
            Ok(effect) => self.accept(effect),
            Err(refusal) => return Outcome::Refused(refusal),
        };
        if self.answered.len() == ANSWERED_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back(Answered { id: request.id, outcome: outcome.clone() });
        outcome
    }

    fn accept(&mut self, effect: Effect) -> Outcome {
        let revision = self.revision + 1;
        let outcome = match effect {
            Effect::Nothing => return Outcome::Unchanged,
            Effect::Change => Outcome::Changed { revision },
            Effect::MemberAdded(node) => Outcome::MemberAdded { revision, node },
            Effect::EpochAdded(epoch, from) => Outcome::EpochAdded { revision, epoch, from },
            Effect::Objects(outcomes) => {
                use ObjectOutcome::{Refused, Unchanged};
                let stays = |outcome: &ObjectOutcome| matches!(outcome, Unchanged | Refused(_));
                if outcomes.iter().all(stays) {
                    return Outcome::Objects { revision: self.revision, outcomes };
                }
                Outcome::Objects { revision, outcomes }
            }
        };
        self.revision = revision;
        outcome
    }

    fn apply_command(&mut self, command: &Command) -> Result<Effect, Refusal> {
        match (command, self.cluster) {
            (Command::Found(found), None) => return self.found(found),
            (Command::Found(_), Some(cluster)) => return Err(Refusal::AlreadyFounded { cluster }),
            (_, None) => return Err(Refusal::NotFounded),
            (_, Some(_)) => {}
        }
        match command {
            Command::Found(_) => unreachable!("BUG: handled above"),
            Command::StartMember(start) => self.start_member(start),
            Command::AddMember(member) => self.add_member(member),
            Command::Drain(drain) => self.drain(drain),
            Command::RemoveMember(node) => self.remove_member(*node),
            Command::StartMove(change) => self.start_move(change),
            Command::FinishMove(end) => self.end_move(*end, Placement::finished),
            Command::CancelMove(end) => self.end_move(*end, |old| old.replicas.clone()),
            Command::SetPreference(preference) => self.set_preference(preference),
            Command::ChangeRing(change) => self.change_ring(change),
            Command::SetReplicationFactor(factor) => self.set_replication_factor(*factor),
            Command::ChangeSettings(change) => self.change_settings(change),
            Command::RaiseVersion(version) => self.raise_version(*version),
            Command::ImportScrapeConfig(import) => self.import_scrape_config(import),
            Command::HearReplicas(heard) => Ok(match self.hear_replicas(heard)? {
                true => Effect::Change,
                false => Effect::Nothing,
            }),
            Command::SetRetention(rules) => Ok(match self.set_retention(rules)? {
                true => Effect::Change,
                false => Effect::Nothing,
            }),
            Command::ChangeObjects(request) => self.change_objects(request).map(Effect::Objects),
            Command::LimitObjects(bytes) => Ok(match self.limit_objects(*bytes)? {
                true => Effect::Change,
                false => Effect::Nothing,
            }),
        }
    }

    fn found(&mut self, found: &Found) -> Result<Effect, Refusal> {
        let ids: BTreeSet<NodeId> = found.members.iter().map(|founder| founder.node).collect();
        let names: BTreeSet<&str> = found.members.iter().map(|it| it.name.as_str()).collect();
        let distinct = ids.len() == found.members.len() && names.len() == ids.len();
        let named = !ids.is_empty() && !ids.contains(&NodeId(0)) && !names.contains("");
        if !distinct || !named || found.cluster.is_nil() {
            return Err(Refusal::InvalidFounders);
        }
        check_shard_count(u64::from(found.shards))?;
        check_replication_factor(found.replication_factor, ids.len())?;
        self.cluster = Some(found.cluster);
        self.replication_factor = found.replication_factor;
        self.members = founding_members(found, self.time);
        self.version = self.lowest_level();
        let shards: BTreeSet<ShardId> = (0..found.shards).map(ShardId).collect();
        self.place(shards.iter().copied());
        let ring = Arc::new(Ring::new(shards));
        let from = Timestamp::MIN;
        self.epochs.push(Epoch { number: 0, from, ring, spread_jobs: BTreeSet::new() });
        Ok(Effect::Change)
    }

    fn start_member(&mut self, start: &StartMember) -> Result<Effect, Refusal> {
        let StartMember { node, incarnation, addresses, zone, binary } = start;
        let (node, got) = (*node, *incarnation);
        let (current_version, time) = (self.version, self.time);
        let member = self.members.get_mut(&node).ok_or(Refusal::UnknownMember { node })?;
        check_level(binary.level, current_version)?;
        let current = member.incarnation;
        // Each opening of a folder counts up: the same count again is a copy of the folder.
        if got <= current {
            return Err(Refusal::StaleIncarnation { node, got, current });
        }
        member.incarnation = got;
        member.addresses.clone_from(addresses);
        member.zone.clone_from(zone);
        member.binary.clone_from(binary);
        member.started = time;
        Ok(Effect::Change)
    }

    fn add_member(&mut self, add: &AddMember) -> Result<Effect, Refusal> {
        check_level(add.binary.level, self.version)?;
        if let Some(taken) = self.members.values().find(|member| member.name == add.name) {
            return Err(Refusal::NameTaken { node: taken.id });
        }
        let id = add.node.unwrap_or_else(|| self.next_node_id());
        if id == NodeId(0) || self.members.contains_key(&id) || self.retired.contains(&id) {
            return Err(Refusal::NodeIdUsed { node: id });
        }
        let member = Member {
            id,
            name: add.name.clone(),
            addresses: add.addresses.clone(),
            zone: add.zone.clone(),
            binary: add.binary.clone(),
            incarnation: Incarnation(0),
            state: MemberState::Active,
            started: self.time,
        };
        self.members.insert(id, member);
        Ok(Effect::MemberAdded(id))
    }

    /// Above all ids that were ever given.
    fn next_node_id(&self) -> NodeId {
        let highest = self.members.keys().next_back().max(self.retired.last());
        NodeId(highest.map_or(1, |id| id.0.saturating_add(1)))
    }

    fn drain(&mut self, drain: &Drain) -> Result<Effect, Refusal> {
        let node = drain.node;
        let member = self.members.get_mut(&node).ok_or(Refusal::UnknownMember { node })?;
        let wanted = if drain.draining { MemberState::Draining } else { MemberState::Active };
        if member.state == wanted {
            return Ok(Effect::Nothing);
        }
        member.state = wanted;
        Ok(Effect::Change)
    }

    fn remove_member(&mut self, node: NodeId) -> Result<Effect, Refusal> {
        if !self.members.contains_key(&node) {
            return Err(Refusal::UnknownMember { node });
        }
        let holds = |placement: &&Placement| placement.nodes().any(|holder| holder == node);
        let replicas = self.shards.values().filter(holds).count() as u64;
        if replicas > 0 {
            return Err(Refusal::MemberInUse { node, replicas });
        }
        self.members.remove(&node);
        self.retired.insert(node);
        Ok(Effect::Change)
    }

    fn start_move(&mut self, start: &MoveReplica) -> Result<Effect, Refusal> {
        let MoveReplica { shard, change, ref lost } = *start;
        let placement = self.shards.get(&shard).ok_or(Refusal::UnknownShard { shard })?;
        if placement.moving.is_some() {
            return Err(Refusal::MoveInProgress { shard });
        }
        let moved = self
            .moved(placement, change, lost)
            .map_err(|problem| Refusal::InvalidMove { shard, problem })?;
        self.shards.insert(shard, moved);
        Ok(Effect::Change)
    }

    /// A placement of which nothing moves, with a move that may begin. Two replicas come into one
    /// zone only where those without `lost` members do not suffice.
    pub(crate) fn moved(
        &self,
        placement: &Placement,
        change: Move,
        lost: &BTreeSet<NodeId>,
    ) -> Result<Placement, MoveProblem> {
        let moved = Placement { replicas: placement.replicas.clone(), moving: Some(change) };
        let is_active = |id| {
            let is_active = self.member(id).is_some_and(|it| it.state == MemberState::Active);
            is_active && !lost.contains(&id)
        };
        let after = moved.finished();
        match change {
            Move { add: None, remove: None } => return Err(MoveProblem::Empty),
            Move { add: Some(new), .. } if moved.replicas.contains(&new) => {
                return Err(MoveProblem::AlreadyThere);
            }
            Move { add: Some(new), .. } if !is_active(new) => {
                return Err(MoveProblem::InactiveTarget);
            }
            Move { remove: Some(old), .. } if !moved.replicas.contains(&old) => {
                return Err(MoveProblem::NotThere);
            }
            Move { add: None, .. } if after.len() < usize::from(self.replication_factor) => {
                return Err(MoveProblem::TooFewLeft);
            }
            _ => {}
        }
        let is_spread = |nodes: &[NodeId]| placement::is_spread(nodes, &self.members, lost);
        match is_spread(&moved.replicas) && !is_spread(&after) {
            true => Err(MoveProblem::SharedZone),
            false => Ok(moved),
        }
    }

    fn end_move(
        &mut self,
        EndMove { shard, change }: EndMove,
        replicas: impl Fn(&Placement) -> Vec<NodeId>,
    ) -> Result<Effect, Refusal> {
        let placement = self.shards.get_mut(&shard).ok_or(Refusal::UnknownShard { shard })?;
        if placement.moving != Some(change) {
            return Err(Refusal::NoMove { shard });
        }
        *placement = Placement { replicas: replicas(placement), moving: None };
        Ok(Effect::Change)
    }

    fn set_preference(&mut self, preference: &Preference) -> Result<Effect, Refusal> {
        let shard = preference.shard;
        let placement = self.shards.get_mut(&shard).ok_or(Refusal::UnknownShard { shard })?;
        let sorted = |nodes: &[NodeId]| {
            let mut nodes = nodes.to_vec();
            nodes.sort();
            nodes
        };
        if placement.replicas == preference.order {
            return Ok(Effect::Nothing);
        }
        if sorted(&placement.replicas) != sorted(&preference.order) {
            let problem = MoveProblem::OtherReplicas;
            return Err(Refusal::InvalidMove { shard, problem });
        }
        placement.replicas.clone_from(&preference.order);
        Ok(Effect::Change)
    }

    fn change_ring(&mut self, change: &ChangeRing) -> Result<Effect, Refusal> {
        let last = self.epochs.last().expect("a founded cluster has an epoch").clone();
        let spread_jobs = change.spread_jobs.as_ref().unwrap_or(&last.spread_jobs).clone();
        let present = self.shards.len() as u32;
        let shards = if change.shards == 0 { present } else { change.shards };
        if shards < present {
            let (shards, present) = (shards.into(), present.into());
            return Err(Refusal::FewerShards { shards, present });
        }
        if shards == present && spread_jobs == last.spread_jobs {
            return Ok(Effect::Nothing);
        }
        if self.epochs.len() >= EPOCHS_MAX {
            return Err(Refusal::TooManyEpochs { epochs: self.epochs.len() as u64 });
        }
        check_shard_count(shards.into())?;
        let ring = if shards == present {
            Arc::clone(&last.ring)
        } else {
            check_replication_factor(self.replication_factor, self.active_members())?;
            let added = (present..shards).map(ShardId);
            self.place(added.clone());
            Arc::new(Ring::new(last.ring.shards().iter().copied().chain(added)))
        };
        let window = self.settings.out_of_order_window_millis;
        let from = epoch::start_after(self.time, window, last.from);
        let number = last.number + 1;
        self.epochs.push(Epoch { number, from, ring, spread_jobs });
        Ok(Effect::EpochAdded(number, from))
    }

    fn set_replication_factor(&mut self, factor: u8) -> Result<Effect, Refusal> {
        if factor == self.replication_factor {
            return Ok(Effect::Nothing);
        }
        check_replication_factor(factor, self.active_members())?;
        self.replication_factor = factor;
        Ok(Effect::Change)
    }

    fn change_settings(&mut self, change: &SettingsChange) -> Result<Effect, Refusal> {
        let settings = change.apply(self.settings)?;
        if settings == self.settings {
            return Ok(Effect::Nothing);
        }
        self.settings = settings;
        Ok(Effect::Change)
    }

    fn raise_version(&mut self, to: ClusterVersion) -> Result<Effect, Refusal> {
        let (current, lowest) = (self.version, self.lowest_level());
        if to == current {
            return Ok(Effect::Nothing);
        }
        if to < current || to > lowest {
            return Err(Refusal::VersionNotReached { to, current, lowest });
        }
        self.version = to;
        Ok(Effect::Change)
    }

    fn import_scrape_config(&mut self, import: &ImportScrapeConfig) -> Result<Effect, Refusal> {
        let bytes = import.content.len();
        if bytes > CONTENT_BYTES_MAX {
            let max = CONTENT_BYTES_MAX as u64;
            return Err(Refusal::TooLarge { bytes: bytes as u64, max });
        }
        let digest = ScrapeConfig::digest_of(&import.content);
        match &self.scrape_config {
            Some(present) if present.owner != import.owner => {
                return Err(Refusal::OwnedBy { owner: present.owner.clone() });
            }
            Some(present) if present.digest == digest => return Ok(Effect::Nothing),
            _ => {}
        }
        self.scrape_config = Some(ScrapeConfig {
            owner: import.owner.clone(),
            digest,
            content: Arc::clone(&import.content),
            revision: self.revision + 1,
            imported: self.time,
        });
        Ok(Effect::Change)
    }

    fn active_members(&self) -> usize {
        self.members.values().filter(|it| it.state == MemberState::Active).count()
    }

    fn place(&mut self, shards: impl IntoIterator<Item = ShardId>) {
        let factor = usize::from(self.replication_factor);
        let placed = placement::place(shards, &self.members, &self.shards, factor);
        self.shards.extend(placed);
    }
}

fn founding_members(found: &Found, time: Timestamp) -> BTreeMap<NodeId, Member> {
    let member = |founder: &crate::Founder| Member {
        id: founder.node,
        name: founder.name.clone(),
        addresses: founder.addresses.clone(),
        zone: founder.zone.clone(),
        binary: founder.binary.clone(),
        incarnation: Incarnation(0),
        state: MemberState::Active,
        started: time,
    };
    found.members.iter().map(|founder| (founder.node, member(founder))).collect()
}

fn check_level(level: ClusterVersion, current: ClusterVersion) -> Result<(), Refusal> {
    match level < current {
        true => Err(Refusal::BinaryTooOld { level, current }),
        false => Ok(()),
    }
}

fn check_shard_count(shards: u64) -> Result<(), Refusal> {
    match (1..=SHARDS_MAX).contains(&shards) {
        true => Ok(()),
        false => Err(Refusal::InvalidShardCount { shards, max: SHARDS_MAX }),
    }
}

fn check_replication_factor(factor: u8, active: usize) -> Result<(), Refusal> {
    if factor.is_multiple_of(2) {
        return Err(Refusal::EvenReplicationFactor { factor });
    }
    match usize::from(factor) > active {
        true => Err(Refusal::TooFewMembers { factor, members: active as u64 }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
