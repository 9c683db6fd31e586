//! A node: the process that hosts replicas of shards and of the control group.

pub mod config;
pub mod exposition;
pub mod identity;
pub mod relabel;
