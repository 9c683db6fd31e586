//! A node: the process that hosts replicas of shards and of the control group.

pub mod clock;
pub mod config;
pub mod discovery;
pub mod exposition;
pub mod host;
pub mod identity;
pub mod raft;
pub mod relabel;
pub mod scrape;
