//! The write front door: remote write in, batches to the leaders of shards out.
//!
//! A request is decoded, its samples are split by the ring, and every shard's part is appended at
//! the same time. It is acknowledged only when every shard has its part. A router keeps no
//! samples: what it could not hand over, the sender still has.
//!
//! There is no storage, no query and no list of shards here; cluster state says where things go.

#![forbid(unsafe_code)]

mod append;
mod decoded;
mod exposition;
pub mod families;
pub mod histogram;
pub mod limits;
pub mod memory;
mod metrics;
mod otlp;
pub mod pairs;
mod payload;
pub mod remote_write;
#[doc(hidden)]
pub mod sender;
pub mod series;
pub mod series_cache;
mod shards;
pub mod split;
mod wire;
mod write;

pub use limits::{InvalidLimits, Limits};
pub use metrics::RouterMetrics;
pub use shards::ShardWrites;
pub use write::{AcceptedMessages, Elections, MESSAGE_1, MESSAGE_2, Pairs, Router, RouterOptions};
