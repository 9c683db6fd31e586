//! One shard's series: a deterministic state machine over raft entries, and its store.
//!
//! ```text
//! leader:   EntryWriter + SampleBlock -> bytes -> (raft) -> Shard::apply -> Outcome
//! readers:  Shard::reader -> ShardReader::select -> SeriesHandle::read -> Columns
//! disk:     Shard::freeze -> Frozen::write -> Shard::checkpointed; KeyValue::flush; persisted
//! restart:  Shard::open = the last persisted checkpoint; then the log behind it is applied
//! ```
//!
//! Invariants
//! * apply reads the entry and the shard's own state, nothing else, and changes memory only:
//!   equal entries in equal order give equal states and outcomes on every replica;
//! * what is on disk for a shard is exactly its state at one log position (C1);
//! * whoever reads sees whole entries only;
//! * a format, kind or version that this program does not know is refused by name.
//!
//! There is no network, no raft, no clock, no thread and no async here. Calls that wait for the
//! disk say so; where they run is the caller's choice.

mod apply;
mod bits;
mod bytes;
mod changes;
mod checkpoint;
mod columns;
mod counts;
mod days;
mod delete;
mod digest;
pub mod entry;
mod exemplars;
mod families;
mod head;
mod histogram_run;
mod histogram_values;
mod id;
mod idle;
mod index;
mod keys;
mod kinds;
pub mod kv;
mod numbers;
mod open_page;
mod outcome;
mod packed;
mod page;
mod pins;
mod postings;
mod reader;
mod retention;
mod rewrite;
mod rice;
mod rich;
mod rule_groups;
mod runs;
mod series;
mod settings;
mod shard;
mod targets;
mod tombstones;
pub mod transfer;
mod values;
mod xor;

pub use bytes::Malformed;
pub use checkpoint::{Frozen, OpenError};
pub use columns::Columns;
pub use digest::{Digest, DigestTask};
pub use id::{LogPosition, ReplicaNumber, RetentionClass, RuleGroupId, SeriesId, TargetId};
pub use numbers::ReplicaNumbers;
pub use outcome::{CommandOutcome, Fence, Outcome, Refusal, RefusedSample};
pub use reader::{
    Cardinality, LabelCount, ReadError, RuleGroupState, SelectedSeries, SeriesHandle, SeriesLookup,
    ShardReader, ShardStats, TargetState,
};
pub use retention::RetentionRule;
pub use rewrite::{Part, RewriteError, Rewriter, Rewritten};
pub use settings::Settings;
pub use shard::{ApplyError, Behind, Shard, delete_replica, file_bytes, persisted};
