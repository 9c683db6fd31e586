//! What all processes of a cluster must agree on: who is a member, where shards lie, which shard
//! a sample belongs to, what is scraped, which objects are in force, and who may ask for what.
//!
//! The control group replicates a log of [`Request`]s; every process applies it to a
//! [`ClusterState`] with [`ClusterState::apply`], or follows a stream of states, and then routes
//! by [`ClusterState::shard_of`].
//!
//! Invariants
//! * equal requests in equal order give equal states, byte for byte, on every machine;
//! * a (series, timestamp) has one shard for ever, whatever is applied later (R1).
//!
//! There is no I/O here, no clock, no randomness and nothing asynchronous: times and ids come in
//! with the request.

#![forbid(unsafe_code)]

mod apply;
mod balance;
mod changes;
mod codec;
mod command;
mod epoch;
mod id;
mod member;
mod objects;
mod pairs;
mod placement;
mod retention;
mod ring;
pub mod routing;
mod settings;
mod state;
mod summary;
mod version;

pub use apply::{EPOCHS_MAX, SHARDS_MAX};
pub use balance::{Decided, Observed, ShardLoad, decide};
pub use changes::Changes;
pub use codec::DecodeError;
pub use command::{
    AddMember, ChangeRing, Command, Drain, EndMove, Found, Founder, ImportScrapeConfig,
    MoveProblem, MoveReplica, Outcome, Preference, Refusal, Request, RequestId, StartMember,
};
pub use epoch::{EPOCH_LEAD_MILLIS_MIN, Epoch};
pub use id::{ClusterId, Incarnation, InvalidId, NodeId, ShardId, TenantId};
pub use member::{Addresses, Binary, FailureDomain, Member, MemberState};
pub use objects::{
    ChangeObjects, DeleteObject, Expected, OBJECT_BYTES_MAX, OBJECT_CHANGES_MAX,
    OBJECTS_BYTES_DEFAULT, OBJECTS_BYTES_MAX, Object, ObjectAction, ObjectChange, ObjectKey,
    ObjectOutcome, ObjectProblem, ObjectRevision, Objects, PutObject,
};
pub use pairs::{HeardReplica, PAIRS_MAX, Pair, REPORT_MILLIS, SILENCE_MILLIS};
pub use placement::{Move, Placement};
pub use retention::{
    RETENTION_DAYS_MAX, RETENTION_MATCHERS_MAX, RETENTION_RULES_MAX, RETENTION_TEXT_BYTES_MAX,
    RetentionRule, RuleMatcher, RuleProblem,
};
pub use ring::{Ring, VIRTUAL_NODES_PER_SHARD};
pub use settings::{OUT_OF_ORDER_WINDOW_MILLIS_MAX, Settings, SettingsChange};
pub use state::{ClusterState, Owner, ScrapeConfig};
pub use summary::{MemberSummary, ShardSummary, Summary};
pub use version::{ClusterVersion, Gate};
