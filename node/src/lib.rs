//! A node: the process that hosts replicas of shards and of the control group.

mod backup;
pub mod clock;
pub mod clocks;
pub mod config;
pub mod control;
pub mod discovery;
pub mod disk;
pub mod founding;
mod generated;
pub mod host;
pub mod identity;
mod metrics;
pub mod node;
mod owners;
mod peers;
mod planted;
pub mod raft;
pub mod relabel;
pub mod rules;
pub mod scrape;
mod scraping;
pub mod service;
pub mod shard;
mod thread_name;
pub mod tls;
mod waiting;
